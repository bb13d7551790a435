// `sfumato sample`: from noise to pictures.
#include <fmt/format.h>

#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "apps/command_line.h"
#include "apps/drawing.h"
#include "apps/grid.h"
#include "apps/guide.h"
#include "apps/labels.h"
#include "apps/picture_file.h"
#include "diffusion/generate.h"
#include "diffusion/reject.h"
#include "tensor/io/image.h"
#include "tensor/io/text.h"

namespace sfumato::apps {
namespace {

struct SampleOptions : DrawingOptions {
  std::string out;
  std::optional<std::int64_t> count;
  std::string labels;  // "", "all", "7", "0,1,2", "cat,dog"
  std::string size;    // "", "32", "24,32"
  std::string mix;     // a class
  double mix_share = 0.5;
  diffusion::Rejection rejection = {};
  std::string reader;  // "", or a classifier's file
};

// "32" or "24,32" -> height and width; "" leaves the model's.
void parse_size(const std::string& text, diffusion::GenerateOptions& g) {
  if (text.empty()) return;
  const std::vector<std::string> parts = split_at_commas(text);
  const auto height = whole_number(parts.front()), width = whole_number(parts.back());
  if (parts.size() > 2 || !height || !width || *height < 1 || *width < 1)
    throw Error("sample", fmt::format("--size: expected H or H,W, got {}", io::in_quotes(text)));
  g.height = *height;
  g.width = *width;
}

// Grids of equal size -> [F,H,W,C]
Tensor stack(const std::vector<Tensor>& frames) {
  const Shape one = frames.at(0).shape();
  Tensor all({static_cast<std::int64_t>(frames.size()), one[0], one[1], one[2]}, DType::u8);
  for (std::size_t i = 0; i < frames.size(); ++i)
    all.slice(static_cast<std::int64_t>(i), static_cast<std::int64_t>(i) + 1)
        .reshape(one)
        .copy_from(frames[i]);
  return all;
}

diffusion::GenerateOptions generate_options(const SampleOptions& o, const DrawingModel& m,
                                            const std::vector<std::int64_t>& labels) {
  diffusion::GenerateOptions g = generate_options(o, m);
  const auto distinct = static_cast<std::int64_t>(labels.size());
  const std::int64_t count = o.count.value_or(distinct == 0    ? 64
                                              : distinct <= 20 ? 8 * distinct
                                                               : distinct);
  for (std::int64_t i = 0; i < count; ++i) g.labels.push_back(distinct ? labels[i % distinct] : 0);
  parse_size(o.size, g);
  if (!o.mix.empty())
    g.mix.assign(g.labels.size(), {parse_label("--mix", o.mix, m.model), o.mix_share});
  return g;
}

// A column a label where there are few, else eight columns.
GridOptions grid_options(const diffusion::Pipeline& model,
                         const std::vector<std::int64_t>& labels) {
  GridOptions grid;
  if (labels.size() < 2 || labels.size() > 20) return grid;
  grid.columns = static_cast<std::int64_t>(labels.size());
  for (std::int64_t label : labels) grid.headers.push_back(diffusion::class_name(label, model));
  return grid;
}

void write(const SampleOptions& o, PictureFile kind, const Tensor& pictures,
           std::vector<Tensor>& frames, const GridOptions& grid,
           const std::vector<std::int64_t>& labels) {
  if (kind == PictureFile::gif || kind == PictureFile::series)
    frames.push_back(make_grid(pictures, grid));
  switch (kind) {
    case PictureFile::grid:
      io::write_png(o.out, make_grid(pictures, grid));
      break;
    case PictureFile::gif:
      io::write_gif(o.out, stack(frames), {.delay_ms = 120, .last_delay_ms = 2000});
      break;
    case PictureFile::series:
      for (std::size_t i = 0; i < frames.size(); ++i)
        io::write_png(numbered(o.out, static_cast<std::int64_t>(i)), frames[i]);
      break;
    case PictureFile::npy:
      write_array(o.out, pictures);
      break;
    case PictureFile::folder:
      write_folder(o.out, pictures, labels);
      break;
  }
}

std::string guidance_text(const SampleOptions& o, const diffusion::GenerateOptions& g) {
  if (!diffusion::guides(g)) return "";
  const bool plain = g.method == diffusion::Guidance::cfg;
  return fmt::format(
      ", guidance {}{}{}{}", plain ? "" : std::string(g.method.name) + " ", g.guidance,
      g.guide ? " by " + o.guide : "",
      g.method.own_eps ? "" : fmt::format("; --guidance {} for none", g.method.none()));
}

// With --tries, those that a classifier reads as what was asked for.
Tensor drawn(const SampleOptions& o, const diffusion::Pipeline& model,
             const diffusion::GenerateOptions& g,
             const std::optional<diffusion::PictureClassifier>& reader) {
  if (!reader) return diffusion::generate(model, g);
  const diffusion::Read read = diffusion::generate_read(model, g, *reader, o.rejection);
  fmt::print("{} drawn again, {} {} after {}\n", read.drawn_again, read.misread,
             o.rejection.confidence > 0
                 ? fmt::format("read otherwise, or with less than {},", o.rejection.confidence)
                 : "read as another class",
             o.rejection.tries == 1 ? "one try" : fmt::format("{} tries", o.rejection.tries));
  return read.pictures;
}

void sample(const SampleOptions& o, Device device) {
  const PictureFile kind = kind_of(o.out);
  if (kind == PictureFile::series) numbered(o.out, 0);  // throws for a bad pattern, before any work
  const DrawingModel drawing = load_drawing_model(o, device);
  const diffusion::Pipeline& model = drawing.model;
  std::optional<diffusion::PictureClassifier> reader;
  if (o.rejection.tries > 1 || !o.reader.empty())
    reader = load_picture_classifier(o.reader, "--reader", o.model, model, device);
  const std::vector<std::int64_t> labels =
      parse_labels(o.labels, model, reader ? reader->classes : drawing.classes_of_classifier());
  diffusion::GenerateOptions g = generate_options(o, drawing, labels);
  const GridOptions grid = grid_options(model, labels);
  std::vector<Tensor> frames;
  if (kind == PictureFile::gif || kind == PictureFile::series)
    g.on_step = [&](std::int64_t, const Tensor& pictures) {
      frames.push_back(make_grid(pictures, grid));
    };
  diffusion::expect_drawable(model, g);
  expect_writable(o.out, kind, diffusion::picture_shape(model, g), grid, *g.steps);
  const Tensor pictures = drawn(o, model, g, reader);
  write(o, kind, pictures, frames, grid, labels);
  fmt::print("{} pictures ({}, {} steps{}{}) in {}\n", pictures.dim(0), g.sampler.name, *g.steps,
             (g.eta > 0 ? fmt::format(", eta {}", g.eta) : "") + (g.restart ? ", restart" : ""),
             guidance_text(o, g), o.out);
  if (!model.scheduler_found)
    fmt::print(
        stderr,
        "note: {} has no scheduler_config.json; assumed DDPM's: linear schedule, 1000 steps, "
        "epsilon prediction\n",
        o.model);
}

}  // namespace

RunSubcommand declare_sample(CommandLine& line) {
  const auto o = std::make_shared<SampleOptions>();
  declare_drawing(
      line, *o, default_steps_help(),
      ", where the model was trained for it or there is a --guide: " + default_guidance_help());
  line(o->out, {"out",
                ".png: a grid; .gif: the denoising; step_%03d.png: the same as a series; .npy: "
                "raw u8 [n,h,w]; a folder: single files"});
  line.required({"model", "out"});
  line(o->count, {"count", "Number of pictures"}, {1, 1 << 20});
  line(o->labels, {"labels",
                   "Classes by name or number: 7, or cat,dog, or all; cycled over the count "
                   "(default: all)"});
  line(o->size,
       {"size", "Size of the pictures, H or H,W (default: that of the training pictures)"});
  line(o->mix, {"mix", "A second class in each picture: the two answers are averaged"});
  line(o->mix_share, {"mix_share", "Share of the second class"}, {0, 1});
  line.needs("mix_share", "mix");
  line(o->rejection.tries,
       {"tries",
        "Draw a picture up to N times, until a classifier reads its label in it (rejection "
        "sampling)"},
       {1, 1000});
  line(o->reader,
       {"reader",
        "The classifier that reads the pictures: its weights, as `evaluate --classifier` writes "
        "them (default with --tries: those that `evaluate` has kept of the run's data)"});
  line(
      o->rejection.confidence,
      {"confidence", "With --tries: the least probability that the classifier must give the label"},
      {0, 1});
  line.needs("confidence", "tries");
  line.example("sfumato sample --model runs/mnist --out sevens.png --labels 7 --count 16");
  return [o](Device device) { sample(*o, device); };
}

}  // namespace sfumato::apps
