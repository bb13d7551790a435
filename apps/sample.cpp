// `sfumato sample`: from noise to pictures.
#include <fmt/format.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <charconv>
#include <filesystem>
#include <functional>
#include <memory>
#include <optional>
#include <system_error>

#include "apps/command_line.h"
#include "apps/grid.h"
#include "apps/guide.h"
#include "apps/notes.h"
#include "diffusion/generate.h"
#include "nn/precision.h"
#include "tensor/io/file.h"
#include "tensor/io/image.h"
#include "tensor/io/npy.h"

namespace sfumato::apps {
namespace {

struct SampleOptions {
  std::string model, out;
  std::optional<std::int64_t> count;
  std::string labels;  // "", "all", "7", "0,1,2", "cat,dog"
  std::string size;    // "", "32", "24,32"
  std::string clip;    // "", on, diffusers, off
  std::optional<std::int64_t> steps;
  std::optional<diffusion::Sampler> sampler;
  std::string spacing;  // "": as the model's scheduler says
  double eta = 0;
  std::optional<double> guidance;
  std::optional<diffusion::Guidance> method = diffusion::Guidance::cfg;
  std::string guide;  // "", earlier, or a folder
  std::optional<std::int64_t> null_label;
  std::uint64_t seed = 0;
  std::int64_t batch = 64;
  std::optional<nn::Precision> precision = nn::Precision::f32;
};

namespace fs = std::filesystem;

std::vector<std::string> split(const std::string& text) {
  std::vector<std::string> parts;
  for (std::size_t at = 0; at <= text.size();) {
    const std::size_t comma = std::min(text.find(',', at), text.size());
    parts.push_back(text.substr(at, comma - at));
    at = comma + 1;
  }
  return parts;
}

std::optional<std::int64_t> whole_number(const std::string& text) {
  std::int64_t value = 0;
  const char* end = text.data() + text.size();
  const auto parsed = std::from_chars(text.data(), end, value);
  if (parsed.ec != std::errc{} || parsed.ptr != end) return std::nullopt;
  return value;
}

// Whether a class is called by another class's number: then numbers in --labels mean names alone.
bool has_misleading_numbers(const std::vector<std::string>& names) {
  for (std::size_t i = 0; i < names.size(); ++i)
    if (whole_number(names[i]) && names[i] != std::to_string(i)) return true;
  return false;
}

// `text` as the name of a class, or as its number.
std::int64_t parse_label(const std::string& text, const diffusion::Pipeline& model) {
  const std::vector<std::string>& names = model.class_names;
  const auto named = std::find(names.begin(), names.end(), text);
  if (!text.empty() && named != names.end()) return named - names.begin();
  const std::vector<std::int64_t> known = diffusion::drawable_labels(model);
  const auto number = has_misleading_numbers(names) ? std::nullopt : whole_number(text);
  if (number && number == model.conditioning().null_label)
    throw Error("sample", fmt::format("--labels: {} stands for 'no class' in this model", *number));
  if (number && std::find(known.begin(), known.end(), *number) != known.end()) return *number;
  std::string list;
  for (std::size_t i = 0; i < known.size() && i < 20 && !names.empty(); ++i)
    list += (i ? ", " : "") + io::in_quotes(names[static_cast<std::size_t>(known[i])]);
  if (names.empty()) list = fmt::format("0..{}", known.empty() ? 0 : known.back());
  throw Error("sample", fmt::format("--labels: expected all, or some of {}{} separated by commas, "
                                    "got {}",
                                    list, !names.empty() && known.size() > 20 ? ", ..." : "",
                                    io::in_quotes(text)));
}

// "all", "7", "0,1,2" or "cat,dog" -> labels; empty for an unconditional model.
std::vector<std::int64_t> parse_labels(const std::string& text, const diffusion::Pipeline& model) {
  if (model.conditioning().classes() == 0) {
    if (!text.empty()) throw Error("sample", "--labels: the model is unconditional");
    return {};
  }
  if (text.empty() || text == "all") return diffusion::drawable_labels(model);
  std::vector<std::int64_t> labels;
  for (const std::string& part : split(text)) labels.push_back(parse_label(part, model));
  return labels;
}

// "32" or "24,32" -> height and width; "" leaves the model's.
void parse_size(const std::string& text, diffusion::GenerateOptions& g) {
  if (text.empty()) return;
  const std::vector<std::string> parts = split(text);
  const auto height = whole_number(parts.front()), width = whole_number(parts.back());
  if (parts.size() > 2 || !height || !width || *height < 1 || *width < 1)
    throw Error("sample", fmt::format("--size: expected H or H,W, got {}", io::in_quotes(text)));
  g.height = *height;
  g.width = *width;
}

// How a picture file is to be written, by its name.
enum class Kind { grid, gif, series, npy, folder };

Kind kind_of(const std::string& out) {
  const std::string extension = fs::path(out).extension().string();
  if (extension == ".png") return out.find('%') == std::string::npos ? Kind::grid : Kind::series;
  if (extension == ".gif") return Kind::gif;
  if (extension == ".npy") return Kind::npy;
  if (extension.empty()) return Kind::folder;
  throw Error(
      "sample",
      fmt::format("--out {}: expected a name ending in .png, .gif or .npy, a numbered series "
                  "such as step_%03d.png, or a folder",
                  out));
}

// "step_%03d.png" -> "step_007.png"
std::string numbered(const std::string& pattern, std::int64_t i) {
  const std::size_t percent = pattern.find('%'), d = pattern.find('d', percent);
  std::size_t width = 0;
  if (d != std::string::npos && d > percent + 1) {
    const char *begin = pattern.data() + percent + 1, *end = pattern.data() + d;
    const auto parsed = std::from_chars(begin, end, width);
    if (parsed.ec != std::errc{} || parsed.ptr != end || width > 12) width = 13;
  }
  if (d == std::string::npos || width > 12 || pattern.find('%', percent + 1) != std::string::npos)
    throw Error("sample", fmt::format("--out {}: expected one number such as %03d", pattern));
  return fmt::format("{}{:0{}}{}", pattern.substr(0, percent), i, width, pattern.substr(d + 1));
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

void expect_file(const fs::path& out) {
  std::error_code ignored;
  const fs::path parent = out.has_parent_path() ? out.parent_path() : fs::path(".");
  if (fs::is_directory(out, ignored))
    throw Error(out.string(), "cannot write: expected a file name, this is a directory");
  if (!fs::is_directory(parent, ignored))
    throw Error(out.string(),
                fmt::format("cannot write: there is no directory {}", parent.string()));
  if (::access(parent.c_str(), W_OK | X_OK) != 0 && !fs::is_other(out, ignored))
    throw Error(out.string(), fmt::format("cannot write into {}: {}", parent.string(),
                                          std::generic_category().message(errno)));
}

// What cannot be written is said before the work, not after it.
void expect_writable(const std::string& out, Kind kind, const Shape& pictures,
                     const GridOptions& grid, std::int64_t frames) {
  if (kind == Kind::folder) {
    io::make_directories(out);
    expect_file(fs::path(out) / "00000.png");
    return;
  }
  expect_file(kind == Kind::series ? numbered(out, 0) : out);
  if (kind == Kind::npy) return;
  const Shape size = grid_shape(pictures, grid);
  if (size[0] > io::kMaxPixels / size[1])
    throw Error(out,
                fmt::format("a grid of {} pictures would be {} x {} pixels, expected at most {} "
                            "in all: give --count, or a folder for single files",
                            pictures[0], size[0], size[1], io::kMaxPixels));
  if (kind == Kind::gif && std::max(size[0], size[1]) > io::kMaxGifSide)
    throw Error(out, fmt::format("a GIF holds at most {0} x {0} pixels, {1} pictures would take "
                                 "{2} x {3}: give --count",
                                 io::kMaxGifSide, pictures[0], size[0], size[1]));
  constexpr std::int64_t kMaxFilm = std::int64_t{1} << 31;  // bytes of all frames
  if (kind != Kind::grid && size.size() > kMaxFilm / (frames + 1))
    throw Error(out, fmt::format("{} frames of {} x {} pixels are too many: give a smaller --count "
                                 "or --steps",
                                 frames + 1, size[0], size[1]));
}

diffusion::GenerateOptions generate_options(const SampleOptions& o,
                                            const diffusion::Pipeline& model,
                                            const diffusion::Pipeline* guide,
                                            const std::vector<std::int64_t>& labels) {
  diffusion::GenerateOptions g;
  const auto distinct = static_cast<std::int64_t>(labels.size());
  const std::int64_t count = o.count.value_or(distinct == 0    ? 64
                                              : distinct <= 20 ? 8 * distinct
                                                               : distinct);
  for (std::int64_t i = 0; i < count; ++i) g.labels.push_back(distinct ? labels[i % distinct] : 0);
  parse_size(o.size, g);
  if (!o.clip.empty()) g.clip = diffusion::parse_clip(o.clip);
  if (o.sampler) g.sampler = *o.sampler;
  if (!o.spacing.empty()) g.spacing = diffusion::parse_spacing(o.spacing);
  g.steps = o.steps.value_or(diffusion::default_steps(model, g.sampler));
  g.eta = o.eta;
  g.method = *o.method;
  g.guide = guide;
  g.guidance = o.guidance.value_or(diffusion::default_guidance(model, g.method, guide));
  g.seed = o.seed;
  g.batch = o.batch;
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

void write(const SampleOptions& o, Kind kind, const Tensor& pictures, std::vector<Tensor>& frames,
           const GridOptions& grid, const std::vector<std::int64_t>& labels) {
  const std::int64_t n = pictures.dim(0), h = pictures.dim(1), w = pictures.dim(2),
                     c = pictures.dim(3);
  if (kind == Kind::gif || kind == Kind::series) frames.push_back(make_grid(pictures, grid));
  switch (kind) {
    case Kind::grid:
      io::write_png(o.out, make_grid(pictures, grid));
      break;
    case Kind::gif:
      io::write_gif(o.out, stack(frames), {.delay_ms = 120, .last_delay_ms = 2000});
      break;
    case Kind::series:
      for (std::size_t i = 0; i < frames.size(); ++i)
        io::write_png(numbered(o.out, static_cast<std::int64_t>(i)), frames[i]);
      break;
    case Kind::npy:
      io::write_npy(o.out, c == 1 ? pictures.reshape({n, h, w}) : pictures);
      break;
    case Kind::folder:
      for (std::int64_t i = 0; i < n; ++i) {
        const std::string name = labels.empty()
                                     ? fmt::format("{:05}.png", i)
                                     : fmt::format("{:05}_{}.png", i, labels[i % labels.size()]);
        io::write_png(fs::path(o.out) / name, pictures.slice(i, i + 1).reshape({h, w, c}));
      }
      break;
  }
}

// "20; all for ddpm; 5 for dopri5"
std::string default_steps_help() {
  const std::int64_t usual = diffusion::Sampler::ddim.default_steps;
  std::string steps = std::to_string(usual);
  for (const diffusion::Sampler* s : diffusion::Sampler::all)
    if (s->default_steps != usual)
      steps += fmt::format(
          "; {} for {}", s->default_steps > 0 ? std::to_string(s->default_steps) : "all", s->name);
  return steps;
}

// "2, 0.6 for cfgpp, 4 for apg"
std::string default_guidance_help() {
  const double usual = diffusion::Guidance::cfg.default_scale;
  std::string scales = fmt::format("{}", usual);
  for (const diffusion::Guidance* g : diffusion::Guidance::all)
    if (g->default_scale != usual) scales += fmt::format(", {} for {}", g->default_scale, g->name);
  return scales;
}

std::string guidance_text(const SampleOptions& o, const diffusion::GenerateOptions& g) {
  if (!diffusion::guides(g)) return "";
  const bool plain = g.method == diffusion::Guidance::cfg;
  return fmt::format(", guidance {}{}{}{}", plain ? "" : std::string(g.method.name) + " ",
                     g.guidance, o.guide.empty() ? "" : " by " + o.guide,
                     g.method.own_eps ? "" : "; --guidance 1 for none");
}

void sample(const SampleOptions& o, Device device) {
  const Kind kind = kind_of(o.out);
  if (kind == Kind::series) numbered(o.out, 0);  // throws for a bad pattern, before any work
  diffusion::Pipeline model = diffusion::load_pipeline(o.model);
  model.expect_sampling();
  nn::use(*model.params, device, *o.precision);
  print_notes(model.notes);
  if (o.null_label) {
    if (const std::int64_t rows = model.conditioning().rows; *o.null_label >= rows)
      throw Error("sample", fmt::format("--null-label {}: the model's class table has {} rows",
                                        *o.null_label, rows));
    model.network->conditioning.null_label = o.null_label;
  }
  const std::vector<std::int64_t> labels = parse_labels(o.labels, model);
  const std::optional<diffusion::Pipeline> guide =
      load_guide(o.guide, o.model, model, device, *o.precision);
  diffusion::GenerateOptions g = generate_options(o, model, guide ? &*guide : nullptr, labels);
  const GridOptions grid = grid_options(model, labels);
  std::vector<Tensor> frames;
  if (kind == Kind::gif || kind == Kind::series)
    g.on_step = [&](std::int64_t, const Tensor& pictures) {
      frames.push_back(make_grid(pictures, grid));
    };
  diffusion::expect_drawable(model, g);
  expect_writable(o.out, kind, diffusion::picture_shape(model, g), grid, *g.steps);
  const Tensor pictures = diffusion::generate(model, g);
  write(o, kind, pictures, frames, grid, labels);
  fmt::print("{} pictures ({}, {} steps{}{}) in {}\n", pictures.dim(0), g.sampler.name, *g.steps,
             g.eta > 0 ? fmt::format(", eta {}", g.eta) : "", guidance_text(o, g), o.out);
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
  line(o->model, kModelOption);
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
  line(o->steps, {"steps", "Denoising steps (default: " + default_steps_help() + ")"}, kSteps);
  line(o->sampler, {"sampler", "How noise becomes a picture; default ddim"},
       Choices<diffusion::Sampler>(diffusion::Sampler::all));
  line(o->spacing,
       {"spacing", "How the noise levels of the steps are chosen (default: as the model says)"},
       {"leading", "trailing", "linspace", "karras", "log_snr"});
  line(o->eta, {"eta", "Noise in ddim's steps: 0 none, 1 as much as ddpm"}, {0, 1});
  line(o->clip, kClipOption, {"on", "diffusers", "off"});
  line(o->guidance,
       {"guidance",
        "Scale of the guidance; 1 is none (default, where the model was trained for it or there is "
        "a --guide: " +
            default_guidance_help() + ")"},
       kGuidances);
  line(o->method, kGuidanceMethodOption, Choices<diffusion::Guidance>(diffusion::Guidance::all));
  line(o->guide, kGuideOption);
  line(o->null_label, {"null_label", "The label that means 'no class', for models that do not say"},
       {0, 1 << 24});
  line(o->seed, kSeedOption, kSeeds);
  line(o->batch, {"batch", "Pictures at a time"}, {1, 4096});
  line(o->precision, kPrecisionOption, Choices<nn::Precision>(nn::Precision::all));
  line.example("sfumato sample --model runs/mnist --out sevens.png --labels 7 --count 16");
  return [o](Device device) { sample(*o, device); };
}

}  // namespace sfumato::apps
