// Data in the plane, small enough to see. Of some the best denoiser is known exactly: mixtures of Gaussians (gaussian.h)
// and of uniforms (boxes.h).
#pragma once
#include <cstdint>
#include <functional>
#include <string_view>
#include <vector>

#include "diffusion/gaussian.h"
#include "diffusion/objective.h"
#include "diffusion/sampler.h"
#include "diffusion/schedule.h"
#include "tensor/rng.h"

namespace sfumato::diffusion::toy {

// A mixture by name; throws Error for another:
//   ring   eight narrow Gaussians on a circle of radius 1
//   two    two Gaussians, one of them with a third of the other's weight
//   grid   nine narrow Gaussians on a square grid
std::vector<Gaussian> mixture(std::string_view name);

// n points -> f32 [n, D]. Throws Error unless each covariance is a diagonal (D numbers).
Tensor draw(const std::vector<Gaussian>& mixture, std::int64_t n, Rng rng);

// What there is to say of x_0 and ε at x_t of a level of any process: xt [N, 2] -> both of its shape and dtype.
using Answer = std::function<Estimate(const NoiseLevel& level, const Tensor& xt)>;

// A distribution of points, about as large as the square from -1.5 to 1.5: a row of plane.cpp. A new one is defined there
// and named in the two lists below: `sfumato toy`, its help and the tests find it there.
struct Distribution {
  std::string_view name, help;
  // n points -> f32 [n, 2], a function of the stream's address.
  Tensor (*draw)(std::int64_t n, Rng rng);
  // E[x_0 | x_t] and E[ε | x_t], computed in doubles; null where there is no closed form.
  Estimate (*exact)(const NoiseLevel& level, const Tensor& xt) = nullptr;

  static const Distribution gaussian, mixture, moons, swiss_roll, spiral, checkerboard;
  static constexpr const Distribution* all[] = {&gaussian,   &mixture, &moons,
                                                &swiss_roll, &spiral,  &checkerboard};

  bool operator==(const Distribution& other) const { return name == other.name; }
};

// The answers as a sampler asks for them: by the time that a network of the schedule is told, and in its prediction.
Denoiser denoiser(const Schedule& schedule, const Prediction& prediction, const Answer& answer);

// The distance between two sets of as many points, f32 or f64 [N, 2]: the mean over 64 directions of the Wasserstein-1
// distance of what they project to, which is that of the sorted projections. "Sliced Wasserstein" (Rabin 2011); the
// directions are even, not random. Throws Error for other shapes.
double sliced_wasserstein(const Tensor& a, const Tensor& b);

}  // namespace sfumato::diffusion::toy
