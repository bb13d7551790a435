#include "apps/doctor.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <initializer_list>
#include <limits>
#include <map>

#include "apps/identity.h"
#include "apps/setup.h"
#include "autograd/non_finite.h"
#include "autograd/ops.h"
#include "diffusion/forward.h"
#include "diffusion/objective.h"
#include "diffusion/reverse_variance.h"
#include "diffusion/self_condition.h"
#include "nn/fit.h"
#include "tensor/rng.h"

namespace sfumato::apps {
namespace {

constexpr std::int64_t kPictures = 128, kRanges = 8;  // of an examination; ranges of t
// The network's loss above that of the best constant by more than this says that it learned nothing there, ...
constexpr double kAboveConstant = 1.05;
// ... on test pictures above that on training pictures by more than this, that it learned those by heart, ...
constexpr double kOverfitting = 1.25;
// ... above its lowest by more than this, that the steps are too large.
constexpr double kRising = 1.3;
// A relative change of all weights in kEvery steps below which nothing is learned.
constexpr double kStill = 1e-3;

data::Batches batches_of(const data::ImageDataset& d, const diffusion::Pipeline& model,
                         std::int64_t batch, std::uint64_t seed) {
  return {d.images, model.conditioning().classes() > 0 ? d.labels : Tensor(), batch, seed};
}

double relative_change(const Tensor& before, const Tensor& after) {
  double change = 0, size = 0;
  const Tensor a = before.to(Device::cpu), b = after.to(Device::cpu);
  for (std::int64_t i = 0; i < a.size(); ++i) {
    const double x = a.data<float>()[i], y = b.data<float>()[i];
    change += (y - x) * (y - x);
    size += x * x;
  }
  return std::sqrt(change / std::max(size, 1e-30));
}

// Of each convolution's output: which channels have the same value in all pixels of all pictures.
struct ConstantChannels : Observer {
  std::map<const void*, std::int64_t> constant;  // by the weight's address; the last layer too
  void see(const char* op, std::initializer_list<Var> inputs, const Tensor& y, double) override {
    if (std::string(op) != "conv2d" || inputs.size() < 2 || y.dtype() == DType::f64) return;
    const Tensor here = y.to(Device::cpu).to(DType::f32);
    const std::int64_t channels = y.dim(-1), pixels = y.size() / channels;
    std::int64_t count = 0;
    for (std::int64_t c = 0; c < channels; ++c) {
      const float* p = here.data<float>() + c;
      std::int64_t i = 1;
      while (i < pixels && p[i * channels] == p[0]) ++i;
      count += i == pixels;
    }
    if (count > 0) constant[inputs.begin()[1].value().address()] = count;
  }
};

}  // namespace

Doctor::Doctor(const diffusion::Pipeline& model, const TrainOptions& o,
               const data::ImageDataset& train, const diffusion::Times& times)
    : model_(model),
      schedule_(diffusion::make_schedule(model.scheduler)),
      times_(times),
      seed_(o.seed),
      train_(batches_of(train, model, kPictures, o.seed)) {
  try {
    data::LoadOptions load = load_options(o.size, o.background);
    load.split = data::Split::test;
    data::ImageDataset test = open_dataset(o.data, load);
    if (o.pad) data::pad_to_multiple(test, model.network->size_multiple);
    data::match_split(test, train);
    // (A file without splits is its own test split.)
    if (!(identify(test) == identify(train))) test_ = batches_of(test, model, kPictures, o.seed);
  } catch (const Error&) {
    // Without a test split there is no word about over-fitting.
  }
}

Doctor::Loss Doctor::loss(const data::Batches& batches, std::int64_t first) const {
  NoGrad no_grad;
  const auto [x0, labels] = batches.at(first);
  const std::int64_t n = x0.dim(0), d = x0.size() / n, T = schedule_.steps();
  Tensor t({n}, DType::i64);
  for (std::int64_t i = 0; i < n; ++i) t.data<std::int64_t>()[i] = (2 * i + 1) * T / (2 * n);
  // Noise of a step that training does not come to.
  const Tensor eps =
      Rng(seed_, Purpose::noise, (std::uint64_t{1} << 47) + static_cast<std::uint64_t>(first))
          .normal(x0.shape());
  const Device device = model_.params->kind().device;
  const Tensor xt = diffusion::q_sample(schedule_, x0, t, eps);
  const Tensor want = diffusion::target(model_.scheduler.prediction_type, schedule_, x0, eps, t);
  const Var output = (*model_.network)(xt.to(device), schedule_.network_time(t).to(device),
                                       labels.defined() ? labels.to(device) : labels);
  const Tensor got = diffusion::answer_in(output, xt.dim(-1)).value().to(Device::cpu);
  Loss result{std::vector<double>(kRanges), std::vector<double>(kRanges)};
  std::vector<double> sum(kRanges), squares(kRanges), count(kRanges);
  for (std::int64_t i = 0; i < n * d; ++i) {
    const auto r = static_cast<std::size_t>(i / d * kRanges / n);
    const double y = want.data<float>()[i], error = got.data<float>()[i] - y;
    result.network[r] += error * error;
    sum[r] += y, squares[r] += y * y, ++count[r];
  }
  for (std::size_t r = 0; r < kRanges; ++r) {
    result.mean += result.network[r] / static_cast<double>(n * d);
    result.network[r] /= std::max(count[r], 1.0);
    result.constant[r] = squares[r] / count[r] - std::pow(sum[r] / count[r], 2);
  }
  return result;
}

std::string Doctor::parameter_at(const void* address) const {
  for (const nn::Params::Entry& e : model_.params->entries())
    if (e.var.value().address() == address) return e.name;
  return "";
}

Doctor::Loss Doctor::training_loss(std::vector<std::string>& lines) const {
  ConstantChannels watch;
  Loss result = loss(train_, examinations_);
  for (const auto& [weight, count] : watch.constant)
    lines.push_back(fmt::format("{} channel{} of {} have one value everywhere: dead", count,
                                count > 1 ? "s" : "", parameter_at(weight)));
  return result;
}

std::vector<std::string> Doctor::examine(std::int64_t step) {
  std::vector<std::string> lines;
  const Loss train = training_loss(lines);
  const double T = static_cast<double>(schedule_.steps());
  for (std::size_t r = 0; r < kRanges && examinations_ > 0; ++r)  // (new weights are above)
    if (train.network[r] > kAboveConstant * train.constant[r])
      lines.push_back(fmt::format(
          "for t in {:.0f}..{:.0f} the loss is {:.3f}, and a constant answer would reach {:.3f}",
          static_cast<double>(r) * T / kRanges, static_cast<double>(r + 1) * T / kRanges - 1,
          train.network[r], train.constant[r]));
  if (test_) {
    const double unseen = loss(*test_, examinations_).mean;
    if (unseen > kOverfitting * train.mean)
      lines.push_back(
          fmt::format("over-fitting: the loss on test pictures is {:.4f}, on training "
                      "pictures {:.4f}",
                      unseen, train.mean));
  }
  if (examinations_ > 0 && train.mean > kRising * lowest_)
    lines.push_back(
        fmt::format("the learning rate is too high: the loss is {:.4f}, and has been {:.4f}",
                    train.mean, lowest_));
  lowest_ = examinations_ > 0 ? std::min(lowest_, train.mean) : train.mean;
  const Tensor now = model_.params->flat_values().clone();
  if (weights_.defined()) {
    const std::int64_t steps = step - step_;
    const double change = relative_change(weights_, now);
    if (change < kStill * static_cast<double>(steps) / kEvery)
      lines.push_back(
          fmt::format("the learning rate is too low: in {} steps the weights changed by "
                      "{:.2g} of their size",
                      steps, change));
  }
  weights_ = now, step_ = step;
  ++examinations_;
  for (std::string& line : lines) line = fmt::format("doctor, step {}: {}", step, line);
  return lines;
}

std::string Doctor::first_non_finite(std::int64_t step, const data::Batches& batches) const {
  for (const std::int64_t k : {step, step - 1})
    if (k >= 0)
      if (std::string line = non_finite_in(k, batches.at(k)); !line.empty()) return line;
  return fmt::format("doctor, step {}: all that the network computes forward is finite", step);
}

std::string Doctor::non_finite_in(std::int64_t step, const data::Batch& batch) const {
  NoGrad no_grad;
  const auto [x0, labels] = batch;
  const Device device = model_.params->kind().device;
  const auto k = static_cast<std::uint64_t>(step);
  const Tensor t = times_.draw(Rng(seed_, Purpose::timestep, k, device), x0.dim(0));
  const Tensor eps = Rng(seed_, Purpose::noise, k, device).normal(x0.shape());
  const Tensor xt = diffusion::q_sample(schedule_, x0, t, eps);
  const Tensor seen = diffusion::seen_in_training(model_, schedule_, xt, t, labels);
  FirstNonFinite watch;
  (*model_.network)(seen, schedule_.network_time(t), labels);
  if (!watch.found()) return "";
  const std::string parameter = parameter_at(watch.second_input());
  return fmt::format(
      "doctor, step {}: the first number that is not finite is {} in the {} output of {}{}, "
      "operation {}{}",
      step, watch.value(), watch.shape().str(), watch.op(),
      parameter.empty() ? "" : " of " + parameter, watch.before() + 1,
      watch.inputs_finite() ? "; its inputs are finite" : "; an input of it is not finite already");
}

std::string find_learning_rate(diffusion::Pipeline& model, const TrainOptions& o,
                               const data::ImageDataset& train) {
  constexpr std::int64_t kTrials = 100;
  constexpr double kFirst = 1e-6, kLast = 1, kGrows = 1.5;
  nn::Params& params = *model.params;
  const Tensor before = params.flat_values().clone();
  const diffusion::Schedule schedule = diffusion::make_schedule(model.scheduler);
  const Device device = params.kind().device;
  // The same pictures, times and noise in each step, so that the loss changes by the weights alone.
  const auto [x0, labels] =
      batches_of(train, model, std::max<std::int64_t>(o.batch, 32), o.seed).at(0);
  const std::int64_t n = x0.dim(0);
  Tensor t({n}, DType::i64);
  for (std::int64_t i = 0; i < n; ++i)
    t.data<std::int64_t>()[i] = (2 * i + 1) * schedule.steps() / (2 * n);
  const Tensor eps = Rng(o.seed, Purpose::noise).normal(x0.shape());
  const Tensor xt = diffusion::q_sample(schedule, x0, t, eps).to(device);
  const Tensor want =
      diffusion::target(model.scheduler.prediction_type, schedule, x0, eps, t).to(device);
  const Tensor time = schedule.network_time(t).to(device);
  const Tensor label = labels.defined() ? labels.to(device) : labels;

  double lowest = std::numeric_limits<double>::infinity(), found = kLast;
  bool growing = false;
  nn::FitOptions fit{.steps = kTrials, .adam = o.adam(), .ema = 0};
  fit.rate = [&](std::int64_t k) {
    return kFirst * std::pow(kLast / kFirst, static_cast<double>(k) / (kTrials - 1));
  };
  fit.on_step = [&](std::int64_t k, double loss) {
    lowest = std::min(lowest, loss);
    if (loss > kGrows * lowest) found = fit.rate(k), growing = true;
  };
  fit.should_continue = [&] { return !growing; };
  nn::fit(params, fit, [&](std::int64_t) {
    return mse(diffusion::answer_in((*model.network)(xt, time, label), xt.dim(-1)), want);
  });
  Tensor(params.flat_values()).copy_from(before);
  params.refresh();
  params.zero_grad();
  return fmt::format(
      "find-lr: the loss grows at a rate of {:.2g}; try a tenth of it, {:.2g} (--lr is {:.2g})",
      found, found / 10, o.lr);
}

}  // namespace sfumato::apps
