#include <fmt/format.h>

#include <vector>

#include "autograd/ops.h"
#include "diffusion/forward.h"
#include "diffusion/spacing.h"
#include "diffusion/training/support.h"
#include "diffusion/training/training.h"

namespace sfumato::diffusion {
namespace {

using namespace training;

// The times of a sampler and the levels there, the data last.
struct Grid {
  std::vector<std::int64_t> times;
  std::vector<NoiseLevel> levels;

  Grid(const SchedulerConfig& config, const Schedule& schedule, std::int64_t steps)
      : times(timesteps(config, steps)) {
    for (const std::int64_t t : times) levels.push_back(schedule.level(t));
    levels.push_back(kNoNoise);
  }
  // Of position i [N] of the grid.
  Levels at(const Tensor& i) const {
    const auto count = static_cast<std::int64_t>(levels.size());
    const auto level = [&](std::int64_t k) { return levels[static_cast<std::size_t>(k)]; };
    return {per_image(i, count, [&](std::int64_t k) { return level(k).signal(); }),
            per_image(i, count, [&](std::int64_t k) { return level(k).noise(); })};
  }
  // f of the levels at position i and two steps further.
  template <class F>
  Coefficient two_steps(const Tensor& i, F f) const {
    return per_image(i, std::ssize(times) - 1, [&](std::int64_t k) {
      return f(levels[static_cast<std::size_t>(k)], levels[static_cast<std::size_t>(k + 2)]);
    });
  }
  Tensor time(const Tensor& i) const {
    return map(i, [&](std::int64_t k) { return times[static_cast<std::size_t>(k)]; });
  }
};

// factor · i + offset
Tensor position(const Tensor& i, std::int64_t factor, std::int64_t offset) {
  return map(i, [=](std::int64_t k) { return factor * k + offset; });
}

}  // namespace

void train_progressive(Pipeline& student, const Pipeline& teacher, std::int64_t steps,
                       const data::Batches& batches, std::uint64_t seed,
                       const nn::FitOptions& options) {
  expect_v("train_progressive", student);
  expect_v("train_progressive", teacher);
  const Schedule schedule = make_schedule(student.scheduler);
  const Grid grid(teacher.scheduler, schedule,
                  2 * steps);  // the student's times are every second one

  // One step of DDIM of the teacher from position i of the grid to the next.
  const auto step = [&](const Tensor& z, const Tensor& i, const Tensor& labels) {
    NoGrad no_grad;
    const auto [a, sigma] = grid.at(i);
    const auto [a_next, sigma_next] = grid.at(position(i, 1, 1));
    const Tensor v = (*teacher.network)(z, schedule.network_time(grid.time(i)), labels).value();
    const Tensor x = a * z - sigma * v, eps = sigma * z + a * v;
    return a_next * x + sigma_next * eps;
  };

  nn::fit(*student.params, options, [&](std::int64_t k) {
    const auto [x0, labels] = batches.at(k);
    const Tensor i = position(random_index(seed, k, x0.dim(0), steps), 2, 0);
    const auto [a, sigma] = grid.at(i);
    const Tensor z = q_sample(Levels{a, sigma}, x0, noise(seed, k, x0.shape()));
    const Tensor z2 = step(step(z, i, labels), position(i, 1, 1), labels);
    const Coefficient ratio =
        grid.two_steps(i, [](auto& t, auto& s) { return s.noise() / t.noise(); });
    const Coefficient below = grid.two_steps(
        i, [](auto& t, auto& s) { return s.signal() - s.noise() / t.noise() * t.signal(); });
    const Tensor x = 1.0 / below * z2 - ratio / below * z;
    const Tensor v = a / sigma * z - 1.0 / sigma * x;  // z = a x + σ ε and v = a ε − σ x
    return mse((*student.network)(z, schedule.network_time(grid.time(i)), labels), v);
  });
}

}  // namespace sfumato::diffusion
