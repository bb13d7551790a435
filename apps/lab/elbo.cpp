// `sfumato lab elbo`: the variational bound taken apart, for networks trained with three weightings of the same loss.
#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <numbers>
#include <string>
#include <vector>

#include "apps/lab/support.h"
#include "autograd/var.h"
#include "diffusion/bound.h"
#include "diffusion/data/batches.h"
#include "diffusion/gaussian.h"
#include "diffusion/generate.h"
#include "diffusion/training/training.h"
#include "tensor/rng.h"

namespace sfumato::apps {
namespace {

using diffusion::NoiseLevel;
using diffusion::Schedule;

constexpr std::int64_t kElboSteps = 50;                    // of the sampler
constexpr std::int64_t kBoundPictures = 128;               // whose bound is computed
constexpr std::int64_t kEnds[] = {1, 10, 100, 500, 1000};  // of the ranges of t in the table

// What ‖v − v̂‖² is multiplied by. With v = a ε − σ x_0, ‖ε − ε̂‖² is a² and ‖x_0 − x̂_0‖² is σ² times it.
struct Weighting {
  const char* name;
  double (*weight)(const NoiseLevel& before, const NoiseLevel& at);  // of t−1 and of t
};
constexpr Weighting kWeightings[] = {
    {"v: 1", [](const NoiseLevel&, const NoiseLevel&) { return 1.0; }},
    {"L_simple: that of eps",
     [](const NoiseLevel&, const NoiseLevel& t) { return t.signal_variance; }},
    {"the bound's own",
     [](const NoiseLevel& s, const NoiseLevel& t) {
       return diffusion::bound_weight(s, t) * t.noise_variance;
     }},
};

// w_0 .. w_{T−1}, of mean 1. The bound's L_0 is no squared error; timestep 0 has the weight of timestep 1.
std::vector<double> weights(const Weighting& weighting, const Schedule& schedule) {
  std::vector<double> w;
  double sum = 0;
  for (std::int64_t t = 0; t < schedule.steps(); ++t) {
    const std::int64_t at = std::max<std::int64_t>(t, 1);
    w.push_back(weighting.weight(schedule.level(at - 1), schedule.level(at)));
    sum += w.back();
  }
  for (double& value : w) value *= static_cast<double>(w.size()) / sum;
  return w;
}

diffusion::VariationalBound test_bound(const diffusion::Pipeline& model, const Schedule& schedule,
                                       const LabSetting& setting) {
  NoGrad no_grad;
  const std::int64_t n = std::min(setting.options.count(kBoundPictures, kBoundPictures, 8),
                                  setting.test.images.dim(0));
  const Tensor labels = setting.test.labels.slice(0, n);
  const auto denoiser = [&](const Tensor& xt, double t) {
    return (*model.network)(xt, Tensor::full({n}, t), labels).value();
  };
  return diffusion::variational_bound(
      schedule, model.scheduler.prediction_type, denoiser,
      data::to_signed(setting.test.images.slice(0, n)),
      {.seed = setting.options.seed, .stride = setting.options.quick ? 16 : 4});
}

// The bound of Gaussian numbers, with their best denoiser, against their exact −log₂ p.
std::string gaussian_finding(const LabOptions& o) {
  constexpr double kMean = 0.3, kVariance = 0.25;
  const std::int64_t numbers = o.count(4000, 4000, 10);
  Tensor x = Rng(o.seed, Purpose::general, 7).normal({numbers, 1}, DType::f64);
  double exact = 0;
  for (double& z : x.values<double>()) {
    exact += 0.5 * (z * z + std::log(2 * std::numbers::pi * kVariance)) / std::numbers::ln2;
    z = kMean + std::sqrt(kVariance) * z;
  }
  const auto bits = [&](const Schedule& schedule) {
    using diffusion::Prediction;
    const auto denoiser =
        diffusion::exact_denoiser(schedule, {{1, {kMean}, {kVariance}}}, Prediction::v);
    return diffusion::variational_bound(schedule, Prediction::v, denoiser, x,
                                        {.last_step = diffusion::LastStep::density, .seed = o.seed})
        .total();
  };
  return fmt::format(
      "{} numbers from N({}, {}) have {:.4f} bits exactly. The bound with their best denoiser says "
      "{:.4f}, {:.4f} and {:.4f} where the log-SNR falls evenly in 100, 1000 and 10000 steps, and "
      "{:.4f} with the cosine schedule of 1000, whose first steps change the SNR by large factors.",
      numbers, kMean, kVariance, exact / static_cast<double>(numbers),
      bits(Schedule::even_log_snr(100)), bits(Schedule::even_log_snr(1000)),
      bits(Schedule::even_log_snr(10000)), bits(Schedule::cosine(1000)));
}

}  // namespace

LabResult lab_elbo(const LabSetting& setting) {
  const LabOptions& o = setting.options;
  LabResult result;
  result.columns = {"weights in training",
                    "L_T",
                    "L_0",
                    "t 1-9",
                    "10-99",
                    "100-499",
                    "500-999",
                    "bits/dim",
                    "agreement %",
                    "+-",
                    kDistanceColumn,
                    kIntervalColumn};
  Stopwatch watch;
  const LabJudge judge(setting, labels_in_turn(setting, o.count(1000, 200, 20)));
  const data::Batches batches(setting.train.images, setting.train.labels, kLabBatch, o.seed);
  std::vector<Tensor> shown{judge.real()};
  result.picture_rows = {"real pictures"};
  for (const Weighting& weighting : kWeightings) {
    diffusion::Pipeline model = lab_model(setting, diffusion::default_scheduler(), o.seed);
    const Schedule schedule = diffusion::make_schedule(model.scheduler);
    diffusion::train_weighted(model, batches, weights(weighting, schedule), o.seed,
                              {.steps = o.count(2000, 500)});
    const diffusion::VariationalBound bound = test_bound(model, schedule, setting);
    const Tensor drawn =
        diffusion::generate(model, {.labels = judge.labels(), .steps = kElboSteps, .seed = o.seed});
    const LabJudge::Verdict v = judge(drawn);
    std::vector<Cell> row = {weighting.name, Number{bound.prior, 5}, Number{bound.last_step, 3}};
    for (std::size_t i = 0; i + 1 < std::size(kEnds); ++i)
      row.emplace_back(Number{bound.bits(kEnds[i], kEnds[i + 1]), 3});
    row.insert(row.end(), {Number{bound.total(), 3}, Number{v.agreement, 1}, Number{v.error, 1},
                           distance_cell(v), interval_cell(v)});
    result.rows.push_back(row);
    shown.push_back(drawn);
    result.picture_rows.emplace_back(weighting.name);
    result.seconds.emplace_back(weighting.name, watch.lap());
  }
  result.picture = picture_of_rows(shown, 10);
  result.findings = {gaussian_finding(o)};
  return result;
}

}  // namespace sfumato::apps
