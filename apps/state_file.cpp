#include "apps/state_file.h"

#include <fmt/format.h>

#include <cfloat>
#include <optional>

#include "apps/train_options.h"
#include "tensor/io/checksum.h"
#include "tensor/io/safetensors.h"

namespace sfumato::apps {
namespace {

constexpr const char *kTimeLosses = "time_losses", *kTimesSeen = "times_seen";

Tensor scalar(double v) { return Tensor::full({1}, v, DType::f64); }
Tensor count(std::int64_t v) { return Tensor::full({1}, static_cast<double>(v), DType::i64); }

// Reads the tensors of one state file; every error names the file and the tensor.
class StateReader {
 public:
  explicit StateReader(const std::filesystem::path& path) : file_(path) {
    io::verify_checksum(file_);
  }

  // Finite numbers of at least `low`.
  Tensor numbers(const char* name, const Shape& shape, float low = -FLT_MAX) const {
    Tensor t = read(name, shape, DType::f32);
    for (const float v : t.values<float>())
      if (!(v >= low && v <= FLT_MAX))  // NaN is neither
        fail(name, low < 0 ? "finite numbers" : "finite numbers >= 0", v);
    return t;
  }
  double number(const char* name) const {
    const double v = read(name, {1}, DType::f64).item();
    if (!(v >= 0 && v <= DBL_MAX)) fail(name, "a finite number >= 0", v);
    return v;
  }
  std::int64_t step_count(const char* name) const {
    const std::int64_t v = *read(name, {1}, DType::i64).data<std::int64_t>();
    if (v < 0 || v > kMaxSteps) fail(name, fmt::format("a number in 0..{}", kMaxSteps), v);
    return v;
  }
  // The losses of each t; none in the file of a run that did not draw times by them.
  std::optional<diffusion::LossHistory> time_losses(const diffusion::LossHistory& like) const {
    if (!file_.contains(kTimeLosses)) return std::nullopt;
    diffusion::LossHistory h = like;
    h.losses = numbers(kTimeLosses, like.losses.shape());
    h.seen = read(kTimesSeen, like.seen.shape(), DType::i64);
    for (const std::int64_t n : h.seen.values<std::int64_t>())
      if (n < 0 || n > kMaxSteps) fail(kTimesSeen, fmt::format("numbers in 0..{}", kMaxSteps), n);
    return h;
  }
  // The optimiser and the moving average have done as many steps as the run.
  std::int64_t same_count(const char* name, std::int64_t step) const {
    const std::int64_t v = step_count(name);
    if (v != step) fail(name, fmt::format("{} as in 'step'", step), v);
    return v;
  }

 private:
  Tensor read(const char* name, const Shape& shape, DType dtype) const {
    const std::string where = file_.path().string(), what = fmt::format("tensor '{}'", name);
    // The header first: a tensor of another size need not be read.
    if (!(file_.shape(name) == shape))
      throw Error(where, fmt::format("{} has shape {}, expected {}", what, file_.shape(name).str(),
                                     shape.str()));
    Tensor t = file_.tensor(name);
    expect_dtype(where.c_str(), what.c_str(), t, dtype);
    return t;
  }
  template <class T>
  [[noreturn]] void fail(const char* name, const std::string& expected, T got) const {
    throw Error(file_.path().string(),
                fmt::format("tensor '{}': expected {}, got {}", name, expected, got));
  }

  io::SafeTensors file_;
};

}  // namespace

void read_state(const std::filesystem::path& path, TrainState& state, diffusion::Pipeline& model,
                nn::AdamW& adam, nn::Ema& ema) {
  const StateReader file(path);
  Tensor values = model.params->flat_values();
  const Tensor weights = file.numbers("weights", values.shape());
  const Tensor average = file.numbers("ema", values.shape());
  const Tensor m = file.numbers("adam_m", values.shape());
  const Tensor v = file.numbers("adam_v", values.shape(), 0);
  const std::int64_t step = file.step_count("step");
  const std::int64_t adam_steps = file.same_count("adam_steps", step);
  const std::int64_t updates = file.same_count("ema_updates", step);
  const double seconds = file.number("seconds"), smoothed = file.number("smoothed");
  if (state.time_losses)
    if (const auto read = file.time_losses(*state.time_losses)) {
      state.time_losses->losses.copy_from(read->losses);
      state.time_losses->seen.copy_from(read->seen);
    }
  state.step = step, state.seconds = seconds, state.smoothed = smoothed;
  adam.steps = adam_steps;
  ema.updates = updates;
  model.params->from_order(weights, values);
  model.params->refresh();
  model.params->from_order(average, ema.average);
  model.params->from_order(m, adam.m);
  model.params->from_order(v, adam.v);
}

void write_state(const std::filesystem::path& path, const TrainState& state,
                 const diffusion::Pipeline& model, const nn::AdamW& adam, const nn::Ema& ema) {
  std::vector<std::pair<std::string, Tensor>> tensors = {
      {"weights", model.params->in_order(model.params->flat_values())},
      {"ema", model.params->in_order(ema.average)},
      {"adam_m", model.params->in_order(adam.m)},
      {"adam_v", model.params->in_order(adam.v)},
      {"step", count(state.step)},
      {"adam_steps", count(adam.steps)},
      {"ema_updates", count(ema.updates)},
      {"seconds", scalar(state.seconds)},
      {"smoothed", scalar(state.smoothed)}};
  if (state.time_losses) {
    tensors.emplace_back(kTimeLosses, state.time_losses->losses.to(Device::cpu));
    tensors.emplace_back(kTimesSeen, state.time_losses->seen.to(Device::cpu));
  }
  io::write_safetensors(path, tensors, {{io::kChecksumKey, io::checksum_text(tensors)}});
}

std::optional<std::int64_t> step_of_state(const std::filesystem::path& path) {
  try {
    return StateReader(path).step_count("step");
  } catch (const Error&) {
    return std::nullopt;
  }
}

}  // namespace sfumato::apps
