#include "diffusion/times.h"

#include <cmath>
#include <cstdint>
#include <numbers>

#include "tensor/constant.h"
#include "tensor/for_each.h"

namespace sfumato::diffusion {
namespace {

// Φ, the share of N(0, 1) below z.
double normal_cdf(double z) { return std::erfc(-z / std::numbers::sqrt2) / 2; }

// P_mean and P_std of EDM (Karras 2022), table 1.
constexpr double kLogSigmaMean = -1.2, kLogSigmaDeviation = 1.2;

// The first t with v < cumulative[t], where v is u of image i, or u within the i-th of n parts.
struct FirstAbove {
  const float* u;
  const double* cumulative;
  std::int64_t steps, n;
  bool stratified;
  std::int64_t* t;
  constexpr void operator()(std::int64_t i) const {
    const auto draw = static_cast<double>(u[i]);
    const double v = stratified ? (static_cast<double>(i) + draw) / static_cast<double>(n) : draw;
    std::int64_t low = 0, high = steps - 1;
    while (low < high) {
      const std::int64_t middle = (low + high) / 2;
      if (v < cumulative[middle])
        high = middle;
      else
        low = middle + 1;
    }
    t[i] = low;
  }
};

}  // namespace

const TimeDistribution TimeDistribution::uniform = {.name = "uniform",
                                                    .help = "each timestep equally often"};

// Low-discrepancy times, as variational diffusion models (Kingma 2021), appendix I.1, wants them: the loss of a batch varies less.
const TimeDistribution TimeDistribution::stratified_uniform = {
    .name = "stratified",
    .help = "uniform, image i in the i-th part of time",
    .cumulative =
        [](const Schedule& s) {
          std::vector<double> shares;
          for (std::int64_t t = 0; t < s.steps(); ++t)
            shares.push_back(static_cast<double>(t + 1) / static_cast<double>(s.steps()));
          return shares;
        },
    .stratified = true,
};

// Stable Diffusion 3 (Esser 2024), section 3.1, with m = 0 and s = 1: log(u / (1 − u)) ~ N(0, 1) of the time u = t / T.
const TimeDistribution TimeDistribution::logit_normal = {
    .name = "logit_normal",
    .help = "log(u / (1 - u)) ~ N(0, 1), u = t / T: the middle more often",
    .cumulative =
        [](const Schedule& s) {
          std::vector<double> shares;
          for (std::int64_t t = 0; t < s.steps(); ++t) {
            const double u = static_cast<double>(t + 1) / static_cast<double>(s.steps());
            shares.push_back(normal_cdf(std::log(u / (1 - u))));  // 1 at u = 1
          }
          return shares;
        },
};

// EDM (Karras 2022), table 1: log σ ~ N(−1.2, 1.2²), rounded to the schedule's nearest; σ is that of noise over signal.
const TimeDistribution TimeDistribution::edm = {
    .name = "edm",
    .help = "log(σ / a) ~ N(-1.2, 1.2²)",
    .cumulative =
        [](const Schedule& s) {
          std::vector<double> shares;
          for (std::int64_t t = 0; t + 1 < s.steps(); ++t) {
            const double half_way =
                (std::log(s.level(t).sigma()) + std::log(s.level(t + 1).sigma())) / 2;
            shares.push_back(normal_cdf((half_way - kLogSigmaMean) / kLogSigmaDeviation));
          }
          shares.push_back(1);
          return shares;
        },
};

// Improved DDPM's, by importance sampling.
const TimeDistribution TimeDistribution::loss = {
    .name = "loss",
    .help = "as the root mean square of t's last 10 losses, once each t has 10",
    .by_loss = true,
};

Times::Times(const TimeDistribution& distribution, const Schedule& schedule, Device device)
    : stratified_(distribution.stratified), steps_(schedule.steps()) {
  if (distribution.cumulative)
    cumulative_ = Tensor::from<double>({steps_}, distribution.cumulative(schedule));
  if (distribution.by_loss) history_.emplace(steps_, device);
}

Tensor Times::importance(const Tensor& t) const {
  return history_ ? history_->importance(t) : Tensor();
}

Tensor Times::draw(Rng rng, std::int64_t n) const {
  if (!history_ && !cumulative_.defined()) return rng.randint({n}, steps_);
  const Tensor u = rng.uniform({n});
  const Tensor cumulative = history_ ? history_->cumulative() : constant(cumulative_, rng.device());
  Tensor t({n}, Kind{DType::i64, rng.device()});
  for_each(rng.device(), n,
           FirstAbove{u.data<float>(), cumulative.data<double>(), steps_, n, stratified_,
                      t.data<std::int64_t>()});
  return t;
}

}  // namespace sfumato::diffusion
