#include "diffusion/editing.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <utility>

#include "diffusion/expect.h"
#include "diffusion/forward.h"
#include "tensor/arithmetic.h"

namespace sfumato::diffusion {
namespace {

struct WhereKnown {
  template <class T>
  constexpr T operator()(T mask, T known, T other) const {
    return mask != T(0) ? known : other;
  }
};

// x0 where it is known, elsewhere the other one.
Tensor where_known(const Tensor& mask, const Tensor& known, const Tensor& other) {
  expect_alike("inpaint", {"x", other}, {"the known x_0", known});
  return dispatch_float("inpaint", other.dtype(),
                        [&]<class T>() { return map<T>(WhereKnown{}, mask, known, other); });
}

void expect_known(const Known& known, const Tensor& x_T) {
  expect_alike("inpaint", {"x_T", x_T}, {"the known x_0", known.x0});
  expect_alike("inpaint", {"x_T", x_T}, {"the mask", known.mask});
}

// q(x_t | x_0) at one level.
Tensor noisy(const NoiseLevel& level, const Tensor& x0, const Tensor& eps) {
  return level.signal() * x0 + level.noise() * eps;
}

}  // namespace

Tensor inpaint(const Schedule& schedule, const SampleOptions& options, const Denoiser& denoiser,
               const Known& known, const Tensor& x_T) {
  expect_known(known, x_T);
  const auto& [x0, mask] = known;
  SampleOptions o = options;
  o.correct = [&known](const NoiseLevel& level, const Tensor& x, Estimate& e) {
    e.x0 = where_known(known.mask, known.x0, e.x0);
    e.eps = where_known(known.mask, eps_of_x0(level, x, known.x0), e.eps);
  };
  const Chain chain = make_chain(schedule, o, denoiser);
  const Tensor x = where_known(mask, noisy(chain.levels.front(), x0, x_T), start(chain, x_T));
  return where_known(mask, x0, walk(chain, x));
}

std::vector<std::int64_t> jump_schedule(std::int64_t T, const Jumps& jumps) {
  const auto [length, samples, single] = jumps;
  if (T < 1 || length < 1 || samples < 1 || single < 1)
    throw Error("repaint",
                fmt::format("expected at least 1 step, and jumps whose length and numbers are at "
                            "least 1, got {} steps, length {}, {} and {} walks",
                            T, length, samples, single));
  if (samples > 1 && length >= T)
    throw Error("repaint",
                fmt::format("expected jumps shorter than the walk of {} steps, got {}", T, length));
  constexpr std::int64_t kMost = (std::int64_t{1} << 19) - 1;
  if (samples > kMost || single > kMost || T * (2 * (samples + single) - 3) > kMost)
    throw Error("repaint", fmt::format("expected at most {} moves, got {} steps walked {} times",
                                       kMost, T, samples + single - 1));
  std::vector<std::int64_t> left(static_cast<std::size_t>(T)), times;  // jumps left at each t
  for (std::int64_t t = 0; t < T - length; t += length)
    left[static_cast<std::size_t>(t)] = samples - 1;
  for (std::int64_t t = T; t >= 1;) {
    times.push_back(--t);
    for (std::int64_t r = 1; r < single && t + 1 < T - 1; ++r) {
      times.push_back(t + 1);
      times.push_back(t);
    }
    if (left[static_cast<std::size_t>(t)]-- <= 0) continue;
    for (std::int64_t j = 0; j < length; ++j) times.push_back(++t);
  }
  times.push_back(-1);
  return times;
}

Tensor repaint(const Schedule& schedule, const SampleOptions& options, const Denoiser& denoiser,
               const Known& known, const Tensor& x_T, const Jumps& jumps) {
  expect_known(known, x_T);
  SampleOptions o = options;
  o.config.sampler = Sampler::ddpm;
  const Chain chain = make_chain(schedule, o, denoiser);
  const std::int64_t K = chain.steps();
  const std::vector<std::int64_t> times = jump_schedule(K, jumps);
  Tensor x = start(chain, x_T);
  for (std::size_t move = 0; move + 1 < times.size(); ++move) {
    const std::int64_t i = K - 1 - times[move], next = K - 1 - times[move + 1];
    const NoiseLevel t = chain.levels[i], s = chain.levels[next];
    const auto number = static_cast<std::int64_t>(2 * move);
    if (next < i) {  // a jump: x_s has more noise than x_t
      const double alpha = s.signal() / t.signal();
      const double beta = s.noise_variance - alpha * alpha * t.noise_variance;
      x = alpha * x + std::sqrt(beta) * chain.noise(number, x);
      continue;
    }
    const Tensor x0 = chain.estimate(i, x).x0;
    const PosteriorWeights q = posterior_weights(s, t);
    Tensor unknown = q.x0 * x0 + q.xt * x;
    if (q.variance > 0) unknown = unknown + std::sqrt(q.variance) * chain.noise(number, x);
    x = where_known(known.mask, noisy(s, known.x0, chain.noise(number + 1, x)), unknown);
    chain.done(i, x, x0);
  }
  return where_known(known.mask, known.x0, x);
}

Tensor image_to_image(const Schedule& schedule, const SampleOptions& options,
                      const Denoiser& denoiser, const Tensor& x_0, double strength,
                      const Tensor& x_T) {
  if (!(strength >= 0 && strength <= 1))
    throw Error("image_to_image", fmt::format("expected a strength in [0, 1], got {}", strength));
  expect_alike("image_to_image", {"x_0", x_0}, {"x_T", x_T});
  Chain chain = make_chain(schedule, options, denoiser);
  const std::int64_t K = chain.steps();
  const std::int64_t walked = std::lround(strength * static_cast<double>(K)), begin = K - walked;
  if (walked == 0 && strength > 0)
    throw Error(
        "image_to_image",
        fmt::format("strength {} of {} steps is less than half a step: nothing would change",
                    strength, K));
  if (begin == K) return x_0;
  if (begin == 0) return walk(chain, start(chain, x_T));
  chain.times.erase(chain.times.begin(), chain.times.begin() + begin);
  chain.levels.erase(chain.levels.begin(), chain.levels.begin() + begin);
  return walk(chain, noisy(chain.levels.front(), x_0, x_T));
}

Tensor slerp(const Tensor& a, const Tensor& b, const std::vector<double>& shares) {
  expect_alike("slerp", {"a", a}, {"b", b});
  const std::int64_t n = a.dim(0), width = n ? a.size() / n : 0;
  if (static_cast<std::int64_t>(shares.size()) != n)
    throw Error("slerp",
                fmt::format("expected a share for each of {} rows, got {}", n, shares.size()));
  const Tensor x = a.to(Device::cpu).to(DType::f64), y = b.to(Device::cpu).to(DType::f64);
  std::vector<double> of_a, of_b;
  Tensor rows({n}, DType::i64);
  for (std::int64_t i = 0; i < n; ++i) {
    double xx = 0, yy = 0, xy = 0;
    for (std::int64_t j = i * width; j < (i + 1) * width; ++j) {
      const double u = x.data<double>()[j], v = y.data<double>()[j];
      xx += u * u, yy += v * v, xy += u * v;
    }
    const double cosine = std::clamp(xy / std::sqrt(std::max(xx * yy, 1e-300)), -1.0, 1.0);
    const double theta = std::acos(cosine), s = shares[static_cast<std::size_t>(i)];
    const bool line = std::sin(theta) < 1e-6;
    of_a.push_back(line ? 1 - s : std::sin((1 - s) * theta) / std::sin(theta));
    of_b.push_back(line ? s : std::sin(s * theta) / std::sin(theta));
    rows.data<std::int64_t>()[i] = i;
  }
  const Tensor at = rows.to(a.device());
  return Coefficient(of_a, at) * a + Coefficient(of_b, at) * b;
}

}  // namespace sfumato::diffusion
