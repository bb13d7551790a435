#include "diffusion/inversion.h"

#include <fmt/format.h>

#include "diffusion/forward.h"

namespace sfumato::diffusion {

Tensor invert(const Schedule& schedule, const SampleOptions& options, const Denoiser& denoiser,
              const Tensor& x_0, std::int64_t refinements) {
  if (refinements < 1)
    throw Error("invert", fmt::format("expected at least 1 refinement, got {}", refinements));
  SampleOptions o = options;
  o.config.sampler = Sampler::ddim;
  o.config.clip_sample = o.config.thresholding = false;
  const Chain chain = make_chain(schedule, o, denoiser);
  const auto size = Path::variance_preserving.size;  // of x, where that of the data is 1
  const Path& flow = Path::flow;
  Tensor x = x_0;
  for (std::int64_t i = chain.steps() - 1; i >= 0; --i) {
    const NoiseLevel t = chain.levels[i], s = chain.levels[i + 1];
    const double grow = t.signal() / s.signal();
    Tensor x_t = size(t) / size(s) * x;
    x_t = grow * x + (t.noise() - grow * s.noise()) * chain.estimate(i, x_t).eps;
    for (std::int64_t r = 1; r < refinements; ++r) {
      const Estimate e = chain.estimate(i, x_t);
      const Tensor u = 1.0 * e.eps - 1.0 * e.x0;
      x_t = flow.size(t) / flow.size(s) * x + flow.size(t) * (flow.time(t) - flow.time(s)) * u;
    }
    x = x_t;
  }
  return x;
}

}  // namespace sfumato::diffusion
