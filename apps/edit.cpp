// `sfumato edit`: pictures changed by a trained model. The rows of kEdits say which options each edit has.
#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <cstdint>
#include <initializer_list>
#include <memory>
#include <optional>
#include <set>
#include <string>
#include <string_view>
#include <vector>

#include "apps/command_line.h"
#include "apps/drawing.h"
#include "apps/labels.h"
#include "apps/picture_file.h"
#include "diffusion/edit_pictures.h"
#include "tensor/io/image.h"

namespace sfumato::apps {
namespace {

struct EditOptions : DrawingOptions {
  std::string edit, out;
  std::string in, mask, to;  // pictures
  std::optional<std::int64_t> count;
  std::string labels, from_label, to_label;
  std::string size, at;
  std::optional<double> strength;
  diffusion::Jumps jumps;
  std::int64_t refinements = 5;
  std::optional<std::int64_t> to_seed;
};

// What an edit works on: the model, what it is to draw, and the pictures that were read (undefined where none is asked for).
struct Work {
  const EditOptions& asked;
  const diffusion::Pipeline& model;
  diffusion::GenerateOptions options;
  Tensor in, mask, to;
};

// --from-label and --to-label; 0 for an unconditional model.
std::int64_t label_of(const char* flag, const std::string& text, const Work& w) {
  const bool conditional = w.model.conditioning().classes() > 0;
  if (text.empty() == conditional)
    throw Error("edit", fmt::format("{}: expected {}", flag,
                                    conditional ? "a class, the model's pictures have one; got none"
                                                : "none, the model is unconditional"));
  return conditional ? parse_label(flag, text, w.model) : 0;
}

Tensor edit_inpaint(const Work& w) { return diffusion::inpaint(w.model, w.options, w.in, w.mask); }

Tensor edit_repaint(const Work& w) {
  return diffusion::repaint(w.model, w.options, w.in, w.mask, w.asked.jumps);
}

Tensor edit_img2img(const Work& w) {
  return diffusion::image_to_image(w.model, w.options, w.in, w.asked.strength.value_or(0.5));
}

diffusion::Inverted inverted(const Work& w) {
  return {label_of("--from-label", w.asked.from_label, w), w.asked.refinements};
}

Tensor edit_invert(const Work& w) {
  return diffusion::redraw(w.model, w.options, w.in, inverted(w));
}

Tensor edit_variations(const Work& w) {
  return diffusion::redraw(w.model, w.options, w.in, inverted(w), w.asked.strength.value_or(0.3));
}

Tensor edit_interpolate(const Work& w) {
  const EditOptions& o = w.asked;
  if (w.in.defined() != w.to.defined() || w.in.defined() == o.to_seed.has_value())
    throw Error("edit",
                "interpolate: expected two pictures, --in and --to, or two seeds, --seed and "
                "--to-seed");
  const std::int64_t from = label_of("--from-label", o.from_label, w);
  const std::int64_t to = o.to_label.empty() ? from : label_of("--to-label", o.to_label, w);
  return diffusion::interpolate(w.model, w.options, {w.in, o.seed, from},
                                {w.to, static_cast<std::uint64_t>(o.to_seed.value_or(0)), to},
                                o.count.value_or(8), o.refinements);
}

Tensor edit_outpaint(const Work& w) {
  if (!w.in.defined()) return diffusion::outpaint(w.model, w.options, {}, 0, 0);
  std::int64_t top = (w.options.height - w.in.dim(0)) / 2,
               left = (w.options.width - w.in.dim(1)) / 2;
  if (!w.asked.at.empty()) {
    const std::vector<std::string> parts = split_at_commas(w.asked.at);
    const auto row = whole_number(parts.front()), column = whole_number(parts.back());
    if (parts.size() != 2 || !row || !column)
      throw Error("edit", fmt::format("--at: expected ROW,COLUMN, got {}", w.asked.at));
    top = *row, left = *column;
  }
  return diffusion::outpaint(w.model, w.options, w.in, top, left);
}

struct Edit {
  const char *name, *help;
  Tensor (*draw)(const Work& work);
  std::vector<const char*> needs, takes;  // keys of options, beside those that all edits have
  std::int64_t steps = 0;                 // where none are asked for; 0: as many as `sample` takes
  // Walks back to the noise: without guidance, unless it is asked for.
  bool inverts = false;
};

// The options of an edit that walks by any sampler, beside `others`.
std::vector<const char*> sampled(std::vector<const char*> others) {
  others.insert(others.end(), {"sampler", "variance", "eta", "restart"});
  return others;
}

const Edit kEdits[] = {
    {"inpaint",
     "the white pixels of --mask anew, the others stay",
     edit_inpaint,
     {"in", "mask"},
     sampled({"labels"})},
    {"repaint",
     "the same by RePaint's jumps: slower, and at one with what stays",
     edit_repaint,
     {"in", "mask"},
     {"labels", "jump_length", "jump_samples"},
     100},
    {"img2img",
     "--in with noise added and taken away (SDEdit)",
     edit_img2img,
     {"in"},
     sampled({"labels", "strength"})},
    {"invert",
     "--in walked back to its noise, and forth with other classes",
     edit_invert,
     {"in"},
     {"labels", "from_label", "refinements"},
     50,
     true},
    {"variations",
     "the same with the noise turned towards new noise",
     edit_variations,
     {"in"},
     {"labels", "from_label", "strength", "refinements"},
     50,
     true},
    {"interpolate",
     "from --in to --to, or from --seed to --to-seed",
     edit_interpolate,
     {},
     {"in", "to", "to_seed", "from_label", "to_label", "refinements"},
     50,
     true},
    {"outpaint",
     "a canvas of --size around --in, or without one",
     edit_outpaint,
     {"size"},
     sampled({"in", "at", "labels"})},
};

const Edit& find_edit(const std::string& name) {
  std::string names;
  for (const Edit& edit : kEdits) {
    if (name == edit.name) return edit;
    names += (names.empty() ? "" : ", ") + std::string(edit.name);
  }
  throw Error("edit", fmt::format("expected one of {}, got {}", names, io::in_quotes(name)));
}

// Throws Error for an option that the edit needs and has not got, and for one of another edit.
void expect_options(const Edit& edit, const std::set<std::string>& given) {
  for (const char* key : edit.needs)
    if (!given.contains(key))
      throw Error("edit", fmt::format("{}: expected {}, got none", edit.name, flag_of(key)));
  for (const Edit& other : kEdits)
    for (const auto& keys : {other.needs, other.takes})
      for (const char* key : keys) {
        const auto has = [key](const std::vector<const char*>& list) {
          return std::find(list.begin(), list.end(), std::string_view(key)) != list.end();
        };
        if (given.contains(key) && !has(edit.needs) && !has(edit.takes))
          throw Error("edit", fmt::format("{} has no {}, which belongs to {}", edit.name,
                                          flag_of(key), other.name));
      }
}

// The picture of that name, or none; of the model's channels, and of one size unless that is 0 x 0.
Tensor picture_at(const std::string& path, std::int64_t channels, const io::Extent& size) {
  if (path.empty()) return {};
  Tensor picture = io::read_image(path);
  const auto describe = [](std::int64_t c, std::int64_t h, std::int64_t w) {
    return fmt::format("{}, {} x {}", c == 1 ? "grey" : "RGB", h, w);
  };
  const bool any_size = size.height == 0;
  const std::int64_t h = picture.dim(0), w = picture.dim(1);
  if (picture.dim(2) != channels || (!any_size && size != io::Extent{h, w}))
    throw Error(path, fmt::format("expected a picture as the model draws it ({}), got one of {}",
                                  any_size ? (channels == 1 ? "grey" : "RGB")
                                           : describe(channels, size.height, size.width),
                                  describe(picture.dim(2), h, w)));
  return picture;
}

diffusion::GenerateOptions drawing_options(const EditOptions& o, const Edit& edit,
                                           const DrawingModel& m) {
  const diffusion::Pipeline& model = m.model;
  diffusion::GenerateOptions g = generate_options(o, m);
  const std::vector<std::int64_t> labels =
      edit.draw == edit_interpolate ? std::vector<std::int64_t>{}
                                    : parse_labels(o.labels, model, m.classes_of_classifier());
  const std::size_t distinct = labels.size();
  const auto count = static_cast<std::size_t>(
      o.count.value_or(static_cast<std::int64_t>(std::max<std::size_t>(distinct, 1))));
  for (std::size_t i = 0; i < count; ++i) g.labels.push_back(distinct ? labels[i % distinct] : 0);
  if (!o.size.empty()) {
    const io::Extent size = io::parse_extent(o.size);
    g.height = size.height, g.width = size.width;
  }
  if (edit.steps > 0 && !o.steps)
    g.steps = std::min(edit.steps, model.scheduler.num_train_timesteps);
  if (edit.inverts && !o.guidance) g.guidance = g.method.none();
  return g;
}

void write(const std::string& out, PictureFile kind, const Tensor& pictures,
           const GridOptions& grid, const std::vector<std::int64_t>& labels) {
  const std::int64_t n = pictures.dim(0);
  const Shape one{pictures.dim(1), pictures.dim(2), pictures.dim(3)};
  switch (kind) {
    case PictureFile::grid:
      io::write_png(out, n == 1 ? pictures.reshape(one) : make_grid(pictures, grid));
      break;
    case PictureFile::gif:
      io::write_gif(out, pictures, {.delay_ms = 120, .last_delay_ms = 1000});
      break;
    case PictureFile::series:
      for (std::int64_t i = 0; i < n; ++i)
        io::write_png(numbered(out, i), pictures.slice(i, i + 1).reshape(one));
      break;
    case PictureFile::npy:
      write_array(out, pictures);
      break;
    case PictureFile::folder:
      write_folder(out, pictures, labels);
      break;
  }
}

void edit(const EditOptions& o, const std::set<std::string>& given, Device device) {
  const Edit& row = find_edit(o.edit);
  expect_options(row, given);
  const PictureFile kind = kind_of(o.out);
  const DrawingModel drawing = load_drawing_model(o, device);
  const diffusion::Pipeline& model = drawing.model;
  const io::Extent size = row.draw == edit_outpaint ? io::Extent{} : model.network->sample_size;
  const std::int64_t channels = model.network->in_channels;
  Work work{o, model, drawing_options(o, row, drawing), picture_at(o.in, channels, size), {}, {}};
  work.to = picture_at(o.to, channels, size);
  if (!o.mask.empty()) work.mask = picture_at(o.mask, 1, {work.in.dim(0), work.in.dim(1)});
  if (o.size.empty() && size.height == 0 && work.in.defined())
    work.options.height = work.in.dim(0), work.options.width = work.in.dim(1);
  diffusion::expect_drawable(model, work.options);
  const Shape shape = diffusion::picture_shape(model, work.options);
  const GridOptions grid{.columns = std::min<std::int64_t>(shape[0], 10)};
  expect_writable(o.out, kind, shape, grid, shape[0]);
  const Tensor pictures = row.draw(work);
  const bool labelled = model.conditioning().classes() > 0 && row.draw != edit_interpolate;
  write(o.out, kind, pictures, grid, labelled ? work.options.labels : std::vector<std::int64_t>{});
  fmt::print("{} pictures ({}, {} steps) in {}\n", pictures.dim(0), row.name, *work.options.steps,
             o.out);
}

std::string edits_help() {
  std::string help;
  for (const Edit& row : kEdits)
    help += fmt::format("{}{} ({})", help.empty() ? "" : ", ", row.name, row.help);
  return help;
}

}  // namespace

RunSubcommand declare_edit(CommandLine& line) {
  const auto o = std::make_shared<EditOptions>();
  line.positional(o->edit, {"edit", "What to do: " + edits_help()});
  declare_drawing(line, *o,
                  "as for sample; 100 for repaint, 50 for edits that go back to the noise",
                  ": as for sample; 1 for edits that go back to the noise");
  line(o->in, {"in", "The picture, a PNG or JPEG file of the model's size and channels"});
  line(o->out, {"out",
                ".png: the picture, or a grid of several; edit_%03d.png: a series; .gif: one after "
                "the other; .npy: raw u8; a folder: single files"});
  line.required({"edit", "model", "out"});
  line(o->mask, {"mask",
                 "A grey picture of the same size: what is lighter than half grey is drawn anew, "
                 "the rest stays"});
  line(o->to, {"to", "interpolate: the picture at the other end"});
  line(o->to_seed, {"to_seed", "interpolate: the seed at the other end"}, kSeeds);
  line(o->count, {"count", "Number of pictures (default: one for each label; interpolate: 8)"},
       {1, 1 << 16});
  line(o->labels, {"labels",
                   "Classes of the result, by name or number: 7, or cat,dog, or all; "
                   "cycled over the count (default: all)"});
  line(o->from_label, {"from_label", "invert, variations, interpolate: the class of --in"});
  line(o->to_label, {"to_label", "interpolate: the class of --to (default: --from-label)"});
  line(o->strength,
       {"strength",
        "img2img: share of the steps that are walked (default 0.5); variations: share "
        "of new noise (default 0.3)"},
       {0, 1});
  line(o->jumps.length, {"jump_length", "repaint: steps of noise in a jump"}, {1, 1000});
  line(o->jumps.samples, {"jump_samples", "repaint: walks over each part of the way"}, {1, 1000});
  line(o->refinements, {"refinements", "How often each step back to the noise is solved again"},
       {1, 1000});
  line(o->size, {"size", "outpaint: the canvas, N or H,W"});
  line(o->at, {"at", "outpaint: ROW,COLUMN of --in on the canvas (default: its middle)"});
  line.example("sfumato edit inpaint --model runs/mnist --in 7.png --mask mask.png --out new.png");
  return [o, &line](Device device) { edit(*o, line.given(), device); };
}

}  // namespace sfumato::apps
