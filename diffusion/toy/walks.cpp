#include "diffusion/toy/walks.h"

#include <cmath>

namespace sfumato::diffusion::toy {

Chain chain_to_first_level(const Schedule& schedule, const SampleOptions& options,
                           const Denoiser& denoiser) {
  SampleOptions one_more = options;
  ++one_more.steps;
  Chain chain = make_chain(schedule, one_more, denoiser);
  chain.times.pop_back();
  chain.levels.pop_back();
  chain.levels.back() = schedule.level(0);
  return chain;
}

Tensor exact_flow(const Chain& chain, const Tensor& x) {
  constexpr std::int64_t kSteps = 2000;
  const double from = Path::variance_preserving.time(chain.levels.front());
  const double to = Path::variance_preserving.time(chain.levels.back());
  Chain fine = chain;
  fine.config.sampler = parse_sampler("rk4");
  fine.on_step = {};
  fine.levels = {chain.levels.front()};
  fine.times = {chain.times.front()};
  for (std::int64_t i = 1; i <= kSteps; ++i) {
    const double angle = from * std::pow(to / from, static_cast<double>(i) / kSteps);
    fine.levels.push_back(i == kSteps
                              ? chain.levels.back()
                              : chain.path->with_snr_of(Path::variance_preserving.at_time(angle)));
    if (i < kSteps) fine.times.push_back(chain.time_at(fine.levels.back()));
  }
  return walk(fine, x);
}

double mean_distance(const Tensor& x, const Tensor& want) {
  expect_shape("mean_distance", "want", want, x.shape());
  const Tensor a = x.to(DType::f64), b = want.to(DType::f64);
  double sum = 0;
  for (std::int64_t i = 0; i < a.size(); i += 2)
    sum += std::hypot(a.data<double>()[i] - b.data<double>()[i],
                      a.data<double>()[i + 1] - b.data<double>()[i + 1]);
  return sum / static_cast<double>(x.dim(0));
}

double slope(std::span<const double> steps, std::span<const double> errors) {
  const std::size_t n = steps.size();
  if (n < 2 || errors.size() != n)
    throw Error("slope", "expected two numbers of steps or more, with an error each");
  return std::log(errors[n - 2] / errors[n - 1]) / std::log(steps[n - 1] / steps[n - 2]);
}

Denoiser counted(const Denoiser& denoiser, std::int64_t& points) {
  return [denoiser, &points](const Tensor& xt, double t) {
    points += xt.dim(0);
    return denoiser(xt, t);
  };
}

}  // namespace sfumato::diffusion::toy
