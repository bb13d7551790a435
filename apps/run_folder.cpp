#include "apps/run_folder.h"

#include <fmt/format.h>

#include <cerrno>
#include <cstring>
#include <nlohmann/json.hpp>

#include "apps/machine.h"
#include "tensor/io/json.h"
#include "tensor/io/safetensors.h"

namespace sfumato::apps {
namespace {

namespace fs = std::filesystem;

fs::path record_path(const fs::path& dir) { return dir / "sfumato" / "run.json"; }
fs::path state_path(const fs::path& dir) { return dir / "sfumato" / "state.safetensors"; }

fs::path made(const fs::path& dir) {
  io::make_directories(dir);
  return dir;
}

bool is_there(const fs::path& path) {
  std::error_code ignored;
  return fs::exists(path, ignored);
}

Tensor scalar(double v) { return Tensor::full({1}, v, DType::f64); }
Tensor count(std::int64_t v) { return Tensor::full({1}, static_cast<double>(v), DType::i64); }

}  // namespace

RunFolder::RunFolder(const fs::path& dir)
    : dir_(dir), lock_(std::make_unique<io::DirectoryLock>(made(dir))) {
  for (const char* part : {".", "unet", "scheduler", "sfumato", "samples"})
    io::remove_stale_temporaries(dir / part);
}

RunFolder RunFolder::create(const fs::path& dir, const TrainOptions& options) {
  RunFolder run(dir);
  if (is_there(record_path(dir)))
    throw Error(dir.string(),
                fmt::format("holds a training run already: go on with it by `sfumato train "
                            "--resume {}`, or choose another --out",
                            dir.string()));
  if (is_there(dir / "model_index.json") || is_there(dir / "unet"))
    throw Error(dir.string(), "holds a model already: choose another --out");
  io::make_directories(dir / "sfumato");
  io::make_directories(run.samples());
  io::Json record;
  record["format"] = 1;
  record["options"] = to_json(options);
  record["machine"] = describe_machine();
  io::write_json(record_path(dir), record);
  return run;
}

RunFolder RunFolder::open(const fs::path& dir) {
  if (!is_there(record_path(dir)))
    throw Error(dir.string(), "holds no training run (sfumato/run.json is missing)");
  return RunFolder(dir);
}

TrainOptions RunFolder::options() const {
  const auto record = io::JsonObject::read(record_path(dir_));
  if (const auto format = record.get_int("format"); format != 1)
    throw Error(record.source(), fmt::format("format: expected 1, got {}", format));
  return parse_train_options(record.get_object("options"));
}

bool RunFolder::has_state() const { return is_there(state_path(dir_)); }

void RunFolder::load_state(TrainState& state, diffusion::Pipeline& model, nn::AdamW& adam,
                           nn::Ema& ema) const {
  const io::SafeTensors file(state_path(dir_));
  auto read = [&](const char* name, const Shape& shape, DType dtype) {
    Tensor t = file.tensor(name);
    const std::string what = fmt::format("tensor '{}'", name);
    expect_shape(file.path().c_str(), what.c_str(), t, shape);
    expect_dtype(file.path().c_str(), what.c_str(), t, dtype);
    return t;
  };
  Tensor values = model.params->flat_values();
  const Tensor weights = read("weights", values.shape(), DType::f32);
  const Tensor average = read("ema", values.shape(), DType::f32);
  const Tensor m = read("adam_m", values.shape(), DType::f32);
  const Tensor v = read("adam_v", values.shape(), DType::f32);
  auto number = [&](const char* name) {
    return static_cast<std::int64_t>(read(name, {1}, DType::i64).item());
  };
  state.step = number("step");
  adam.steps = number("adam_steps");
  ema.updates = number("ema_updates");
  if (state.step < 0 || adam.steps < 0 || ema.updates < 0)
    throw Error(file.path().string(), "a step count is negative");
  state.seconds = read("seconds", {1}, DType::f64).item();
  state.smoothed = read("smoothed", {1}, DType::f64).item();
  values.copy_from(weights);
  ema.average.copy_from(average);
  adam.m.copy_from(m);
  adam.v.copy_from(v);
}

void RunFolder::save(const TrainState& state, const diffusion::Pipeline& model,
                     const nn::AdamW& adam, const nn::Ema& ema) const {
  diffusion::save_pipeline_weights(dir_, model, ema.average);
  io::write_safetensors(state_path(dir_), {{"weights", model.params->flat_values()},
                                           {"ema", ema.average},
                                           {"adam_m", adam.m},
                                           {"adam_v", adam.v},
                                           {"step", count(state.step)},
                                           {"adam_steps", count(adam.steps)},
                                           {"ema_updates", count(ema.updates)},
                                           {"seconds", scalar(state.seconds)},
                                           {"smoothed", scalar(state.smoothed)}});
}

void RunFolder::open_metrics(std::int64_t step) {
  const fs::path path = dir_ / "metrics.jsonl";
  std::string kept;
  if (is_there(path)) {
    const std::string text = io::read_file(path, std::uint64_t{1} << 32);
    for (std::size_t at = 0; at < text.size();) {
      const std::size_t end = text.find('\n', at);
      if (end == std::string::npos) break;  // a line cut short by a kill
      const std::string_view line(text.data() + at, end - at);
      at = end + 1;
      try {
        const io::JsonObject entry(io::parse_json(line, "metrics.jsonl"), "metrics.jsonl");
        if (entry.get_int("step") > step) break;
        curve_.push_back(
            {entry.get_number("step"), entry.get_number("loss"), entry.get_number("smoothed")});
      } catch (const Error&) {
        break;  // whatever follows a damaged line is not ours to interpret
      }
      kept.append(line).push_back('\n');
    }
    io::write_file_atomic(path, kept);
  }
  metrics_.open(path, std::ios::app);
  if (!metrics_)
    throw Error(path.string(),
                fmt::format("cannot be opened for writing: {}", std::strerror(errno)));
}

void RunFolder::log(const Metrics& m) {
  io::Json j;
  j["step"] = m.step;
  j["loss"] = m.loss;
  j["smoothed"] = m.smoothed;
  j["lr"] = m.lr;
  j["grad_norm"] = m.grad_norm;
  j["images_per_second"] = m.images_per_second;
  j["seconds"] = m.seconds;
  metrics_ << j.dump() << '\n' << std::flush;
  if (!metrics_)
    throw Error((dir_ / "metrics.jsonl").string(),
                fmt::format("cannot be written: {}", std::strerror(errno)));
  curve_.push_back({static_cast<double>(m.step), m.loss, m.smoothed});
}

void RunFolder::draw_loss_curve() const {
  write_loss_curve(dir_ / "loss.svg", "training loss", curve_);
}

}  // namespace sfumato::apps
