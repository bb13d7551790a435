#include "common/grader.h"

#include <fmt/format.h>

#include <cmath>

#include "12_flow_matching/exercise.h"
#include "common/points.h"
#include "diffusion/noise_level.h"

namespace exercises {

const Exercise kExercise = {12, "12_flow_matching", "flow matching"};

namespace {

struct Case {
  double a, b, t, to;
};
const std::vector<Case> kCases = {
    {1, 0, 0.25, 0.2}, {-0.5, 1.5, 0.9, 0.5}, {0.7, -1, 0.1, 0}, {0.2, 0.3, 0.6, 0.55}};

template <class F>
Numbers with(F f) {
  return each(kCases, [&](const Case& c) { return f(c.a, c.b, c.t, c.to); });
}

Check check(const char* function, const char* quantity, Numbers right,
            std::function<Numbers()> yours, std::vector<Mistake> mistakes) {
  return {.function = function,
          .quantity = quantity,
          .yours = std::move(yours),
          .right = std::move(right),
          .at =
              [](std::size_t i) {
                const Case& c = kCases[i];
                return fmt::format("the arguments {}, {} (t = {}, t_to = {})", c.a, c.b, c.t, c.to);
              },
          .mistakes = std::move(mistakes)};
}

Check check_point() {
  return check(
      "flow_point", "x", with([](double x0, double e, double t, double) {
        const auto level = sfumato::diffusion::flow_matching(t);
        return level.signal() * x0 + level.noise() * e;
      }),
      [] {
        return with([](double x0, double e, double t, double) { return flow_point(x0, e, t); });
      },
      {{"reversed",
        "Your line begins at the noise. Papers differ; here the picture is at t = 0 and the noise "
        "at t = 1, as in DDPM.",
        with([](double x0, double e, double t, double) { return t * x0 + (1 - t) * e; })},
       {"roots",
        "You took the square roots, as DDPM does. Here the path is a straight line: (1 − t) x0 + t "
        "eps.",
        with([](double x0, double e, double t, double) {
          return std::sqrt(1 - t) * x0 + std::sqrt(t) * e;
        })},
       {"not_shrunk", "x0 is not multiplied by 1 − t: at t = 1 it should be gone.",
        with([](double x0, double e, double t, double) { return x0 + t * e; })}});
}

Check check_velocity() {
  return check(
      "flow_velocity", "velocity", with([](double x0, double e, double, double) { return e - x0; }),
      [] { return with([](double x0, double e, double, double) { return flow_velocity(x0, e); }); },
      {{"reversed", "The sign: as t grows the point goes from x0 to eps, so dx/dt = eps − x0.",
        with([](double x0, double e, double, double) { return x0 - e; })},
       {"noise",
        "Yours is eps, DDPM's question. The derivative of (1 − t) x0 + t eps has two terms.",
        with([](double, double e, double, double) { return e; })},
       {"sum", "The derivative of (1 − t) is −1: a sign is missing.",
        with([](double x0, double e, double, double) { return x0 + e; })}});
}

Check check_step() {
  return check(
      "flow_step", "x",
      with([](double x, double v, double t, double to) { return x + (to - t) * v; }),
      [] {
        return with([](double x, double v, double t, double to) { return flow_step(x, v, t, to); });
      },
      {{"wrong_way",
        "You go the wrong way: the time that passes is t_to − t, which is negative when t falls.",
        with([](double x, double v, double t, double to) { return x + (t - to) * v; })},
       {"whole_velocity",
        "You moved by the whole velocity; only for the time t_to − t is asked for.",
        with([](double x, double v, double, double) { return x + v; })},
       {"minus_velocity",
        "You moved by the whole velocity; only for the time t_to − t is asked for.",
        with([](double x, double v, double, double) { return x - v; })},
       {"t_to", "You moved for the time t_to; the time that passes is t_to − t.",
        with([](double x, double v, double, double to) { return x + to * v; })},
       {"not_from_x", "x itself is missing: that is only the way, not where it leads.",
        with([](double, double v, double t, double to) { return (to - t) * v; })}});
}

Check check_noise() {
  return check(
      "noise_from_velocity", "eps",
      with([](double x, double v, double t, double) { return x + (1 - t) * v; }),
      [] {
        return with(
            [](double x, double v, double t, double) { return noise_from_velocity(x, v, t); });
      },
      {{"picture",
        "Yours is the picture, x − t · velocity. The noise lies the other way along the line.",
        with([](double x, double v, double t, double) { return x - t * v; })},
       {"t_for_1_minus_t", "You went on for the time t; up to the noise, at time 1, it is 1 − t.",
        with([](double x, double v, double t, double) { return x + t * v; })},
       {"minus", "The sign: the noise lies ahead, at t = 1.",
        with([](double x, double v, double t, double) { return x - (1 - t) * v; })}});
}

Points sample(int steps) {
  Points x = normal_points(0, 1000);
  for (int k = 0; k < steps; ++k) {
    const double t = 1 - static_cast<double>(k) / steps,
                 to = 1 - static_cast<double>(k + 1) / steps;
    const Points eps = best_answer(x, sfumato::diffusion::flow_matching(t), heaps());
    // x = (1 − t) x_0 + t ε, so velocity = ε − x_0 = (ε − x) / (1 − t); at t = 1 x_0 is the mean of the data, 0.
    const auto velocity = [&](double x_t, double e) { return t < 1 ? (e - x_t) / (1 - t) : x_t; };
    for (std::size_t i = 0; i < x.x.size(); ++i) {
      x.x[i] = flow_step(x.x[i], velocity(x.x[i], eps.x[i]), t, to);
      x.y[i] = flow_step(x.y[i], velocity(x.y[i], eps.y[i]), t, to);
    }
  }
  return x;
}

}  // namespace

void grade(Grader& grader) {
  grader.check(check_point());
  grader.check(check_velocity());
  grader.check(check_step());
  grader.check(check_noise());
}

void show() {
  fmt::print(
      "The five heaps of exercise 4, by your flow_step along a perfect network's velocity:\n\n");
  print({sample(1), sample(5), sample(20)}, {"1 step", "5 steps", "20 steps"});
  for (const int K : {1, 5, 10, 20, 50}) fmt::print("{:3} steps: {}\n", K, count_heaps(sample(K)));
}

}  // namespace exercises
