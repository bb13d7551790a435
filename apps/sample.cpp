// `sfumato sample`: from noise to pictures.
#include <fmt/format.h>

#include <algorithm>
#include <charconv>
#include <filesystem>

#include "apps/generate.h"
#include "apps/grid.h"
#include "apps/options.h"
#include "tensor/io/file.h"
#include "tensor/io/image.h"
#include "tensor/io/npy.h"

namespace sfumato::apps {
namespace {

namespace fs = std::filesystem;

// "all", "7" or "0,1,2" -> labels; empty for an unconditional model.
std::vector<std::int64_t> parse_labels(const std::string& text, const diffusion::Pipeline& model) {
  std::vector<std::int64_t> labels;
  if (model.classes() == 0) {
    if (!text.empty()) throw Error("sample", "--labels: the model is unconditional");
    return labels;
  }
  const std::int64_t rows = model.unet_config.num_class_embeds;
  if (text.empty() || text == "all") {
    for (std::int64_t k = 0; k < rows; ++k)
      if (k != model.null_label) labels.push_back(k);
    return labels;
  }
  for (std::size_t at = 0; at <= text.size();) {
    const std::size_t comma = std::min(text.find(',', at), text.size());
    std::int64_t label = -1;
    const char *begin = text.data() + at, *end = text.data() + comma;
    const auto parsed = std::from_chars(begin, end, label);
    if (parsed.ec != std::errc{} || parsed.ptr != end)
      throw Error(
          "sample",
          fmt::format("--labels: expected numbers separated by commas, or all, got '{}'", text));
    if (label == model.null_label)
      throw Error("sample", fmt::format("--labels: {} stands for 'no class' in this model", label));
    if (label < 0 || label >= rows)
      throw Error("sample", fmt::format("--labels: {} is not in 0..{}", label,
                                        rows - (model.null_label == rows - 1 ? 2 : 1)));
    labels.push_back(label);
    at = comma + 1;
  }
  return labels;
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

}  // namespace

void sample(const SampleOptions& o) {
  const Kind kind = kind_of(o.out);
  if (kind == Kind::series) numbered(o.out, 0);  // throws for a bad pattern, before any work
  diffusion::Pipeline model = diffusion::load_pipeline(o.model);
  if (o.null_label) {
    if (*o.null_label >= model.unet_config.num_class_embeds)
      throw Error("sample", fmt::format("--null-label {}: the model's class table has {} rows",
                                        *o.null_label, model.unet_config.num_class_embeds));
    model.null_label = o.null_label;
  }

  const std::vector<std::int64_t> labels = parse_labels(o.labels, model);
  const auto distinct = static_cast<std::int64_t>(labels.size());
  const bool in_columns = distinct > 0 && distinct <= 20;  // a column a label
  const std::int64_t count = o.count.value_or(distinct == 0 ? 64
                                              : in_columns  ? 8 * distinct
                                                            : distinct);
  GenerateOptions g;
  for (std::int64_t i = 0; i < count; ++i) g.labels.push_back(distinct ? labels[i % distinct] : 0);
  g.method = o.sampler.value_or(diffusion::Method::ddim);
  const std::int64_t T = model.scheduler.num_train_timesteps;
  g.steps =
      o.steps.value_or(g.method == diffusion::Method::ddim ? std::min<std::int64_t>(20, T) : T);
  g.eta = o.eta;
  g.guidance = o.guidance.value_or(default_guidance(model));
  g.seed = o.seed;
  g.batch = o.batch;

  GridOptions grid;
  grid.columns = in_columns && distinct > 1 ? distinct : 8;
  if (in_columns && distinct > 1)
    for (std::int64_t label : labels) grid.headers.push_back(std::to_string(label));

  std::vector<Tensor> frames;
  if (kind == Kind::gif || kind == Kind::series)
    g.on_step = [&](std::int64_t, const Tensor& pictures) {
      frames.push_back(make_grid(pictures, grid));
    };
  // What cannot be written is said before the work, not after it.
  if (const fs::path parent = fs::path(o.out).parent_path(); kind == Kind::folder) {
    io::make_directories(o.out);
  } else if (std::error_code ignored; !parent.empty() && !fs::is_directory(parent, ignored)) {
    throw Error(o.out, fmt::format("cannot write: there is no directory {}", parent.string()));
  }
  const Tensor pictures = generate(model, g);
  const std::int64_t n = pictures.dim(0), h = pictures.dim(1), w = pictures.dim(2),
                     c = pictures.dim(3);
  switch (kind) {
    case Kind::grid:
      io::write_png(o.out, make_grid(pictures, grid));
      break;
    case Kind::gif:
      frames.push_back(make_grid(pictures, grid));
      io::write_gif(o.out, stack(frames), {.delay_ms = 120, .last_delay_ms = 2000});
      break;
    case Kind::series:
      frames.push_back(make_grid(pictures, grid));
      for (std::size_t i = 0; i < frames.size(); ++i)
        io::write_png(numbered(o.out, static_cast<std::int64_t>(i)), frames[i]);
      break;
    case Kind::npy:
      io::write_npy(o.out, c == 1 ? pictures.reshape({n, h, w}) : pictures);
      break;
    case Kind::folder:
      for (std::int64_t i = 0; i < n; ++i) {
        const std::string name =
            distinct ? fmt::format("{:05}_{}.png", i, g.labels[i]) : fmt::format("{:05}.png", i);
        io::write_png(fs::path(o.out) / name, pictures.slice(i, i + 1).reshape({h, w, c}));
      }
      break;
  }
  fmt::print("{} pictures ({}, {} steps{}{}) in {}\n", n, diffusion::name(g.method), g.steps,
             g.eta > 0 ? fmt::format(", eta {}", g.eta) : "",
             g.guidance != 1 ? fmt::format(", guidance {}; --guidance 1 for none", g.guidance) : "",
             o.out);
  if (!model.scheduler_found)
    fmt::print(
        stderr,
        "note: {} has no scheduler_config.json; assumed DDPM's: linear schedule, 1000 steps, "
        "epsilon prediction\n",
        o.model);
}

}  // namespace sfumato::apps
