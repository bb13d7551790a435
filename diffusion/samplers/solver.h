// What the solvers of the probability flow share: they integrate dx/dtime = velocity in the coordinates of a process of
// path.h, whatever process x itself belongs to.
#pragma once
#include <algorithm>
#include <cmath>

#include "diffusion/forward.h"
#include "diffusion/sampler.h"

namespace sfumato::diffusion {

class Flow {
 public:
  // In the coordinates of the chain's path.solver, or in the flow's where EDM's σ begins above 1000 (the cosine schedule's at
  // 20,000, without signal at infinity): the first step in σ would lead over nearly all of it, and a method of higher order
  // would extrapolate by it.
  explicit Flow(const Chain& chain)
      : chain_(chain),
        path_(chain.first.value_or(chain.levels.at(0)).sigma() < 1000 ? *chain.path->solver
                                                                      : Path::flow) {}

  double time(const NoiseLevel& level) const { return path_.time(level); }
  NoiseLevel at_time(double time) const { return chain_.path->with_snr_of(path_.at_time(time)); }

  // dx/dtime at one level.
  Tensor velocity(const NoiseLevel& level, const Estimate& e) const {
    const double size = path_.size(level);
    return path_.velocity->target(level.signal() / size, level.noise() / size, e.x0, e.eps);
  }

  // x + (time_s − time_t) d, for x of level t; exact where the velocity is d all along.
  Tensor step(const NoiseLevel& t, const NoiseLevel& s, const Tensor& x, const Tensor& d) const {
    return add(t, s, x, time(s) - time(t), d);
  }
  // x + c d.
  Tensor add(const NoiseLevel& t, const NoiseLevel& s, const Tensor& x, double c,
             const Tensor& d) const {
    return path_.size(s) / path_.size(t) * x + path_.size(s) * c * d;
  }

 private:
  const Chain& chain_;
  const Path& path_;
};

// Heun's step from level t, where the estimate is e, to level s; Euler's where s has no noise. `ask` estimates at s.
template <class Ask>
Tensor heun_step(const Flow& flow, const NoiseLevel& t, const NoiseLevel& s, const Tensor& x,
                 const Estimate& e, Ask ask) {
  const Tensor d = flow.velocity(t, e);
  Tensor next = flow.step(t, s, x, d);
  if (s.noise_variance == 0) return next;
  return flow.step(t, s, x, 0.5 * d + 0.5 * flow.velocity(s, ask(next)));
}
// All of a chain's steps by it (heun.cpp).
Tensor walk_by_heun(const Chain& chain, Tensor x);

// The step from σ_t to σ_s in two parts: along the flow to σ_down, and noise of standard deviation σ_up. In EDM's σ;
// σ_up² = σ_s² (1 − σ_s² / σ_t²) is the posterior's variance. k-diffusion (Crowson 2022).
struct Ancestral {
  double down, up;
  Ancestral(const NoiseLevel& t, const NoiseLevel& s) {
    const double ratio = s.sigma() / t.sigma();
    down = s.sigma() * ratio;
    up = s.sigma() * std::sqrt(std::max(0.0, 1 - ratio * ratio));
  }
};

// λ = log(a / σ), half the log-SNR, in which the formulas of DPM-Solver are written.
inline double lambda(const NoiseLevel& level) { return level.log_snr() / 2; }

// What the multistep solvers in λ know of earlier steps: x̂_0 as a line or a parabola through its last values (DPM-Solver++,
// Lu 2022). m0 is x̂_0 of this step, of length h in λ; D1 and D2 are its first and second difference.
class Multistep {
 public:
  Multistep(std::int64_t steps, int order) : steps_(steps), order_(order) {}

  struct Differences {
    Tensor D1, D2;  // undefined where too few steps came before, or the last of few steps is near
  };
  Differences differences(std::int64_t i, double h, const Tensor& m0) const {
    const double r0 = h1_ / h, r1 = h2_ / h;
    if (!(r0 > 0 && std::isfinite(r0))) return {};
    const Tensor d0 = 1 / r0 * m0 - 1 / r0 * m1_;
    if (order_ < 3 || !std::isfinite(r1) || !m2_.defined() || (i + 2 == steps_ && steps_ < 15))
      return {d0, {}};
    const Tensor d1 = 1 / r1 * m1_ - 1 / r1 * m2_;
    return {(1 + r0 / (r0 + r1)) * d0 - r0 / (r0 + r1) * d1,
            1 / (r0 + r1) * d0 - 1 / (r0 + r1) * d1};
  }
  void remember(double h, const Tensor& m0) {
    m2_ = m1_, h2_ = h1_;
    m1_ = m0, h1_ = h;
  }

 private:
  std::int64_t steps_;
  int order_;
  Tensor m1_, m2_;  // x̂_0 of the steps before
  double h1_ = 0, h2_ = 0;
};

}  // namespace sfumato::diffusion
