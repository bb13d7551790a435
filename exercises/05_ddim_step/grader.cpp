#include "common/grader.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>

#include "05_ddim_step/exercise.h"
#include "common/points.h"
#include "diffusion/forward.h"
#include "diffusion/schedule.h"

namespace exercises {

const Exercise kExercise = {5, "05_ddim_step", "DDIM's step"};

namespace {

using sfumato::diffusion::Schedule;
using sfumato::diffusion::variance_preserving;

Check check_times() {
  // f(i, T, K) for three pairs, one after the other.
  const auto with = [](auto f) {
    Numbers numbers;
    for (const auto& [T, K] : {std::pair{1000, 4}, {1000, 50}, {10, 10}})
      for (int i = 0; i < K; ++i) numbers.push_back(f(i, T, K));
    return numbers;
  };
  const auto yours = [] {
    Numbers numbers;
    for (const auto& [T, K] : {std::pair{1000, 4}, {1000, 50}, {10, 10}})
      for (const int t : times(T, K)) numbers.push_back(t);
    return numbers;
  };
  const auto at = [](std::size_t i) {
    if (i < 4) return fmt::format("i = {} of K = 4, T = 1000", i);
    return i < 54 ? fmt::format("i = {} of K = 50, T = 1000", i - 4)
                  : fmt::format("i = {} of K = T = 10", i - 54);
  };
  return {
      .function = "times",
      .quantity = "t",
      .yours = yours,
      .right = with([](int i, int T, int K) { return T - 1 - i * (T / K); }),
      .at = at,
      .mistakes = {
          {"rising", "Your times rise. Sampling begins at the noise, the largest t, and falls.",
           with([](int i, int T, int K) { return (i + 1) * (T / K) - 1; })},
          {"begins_at_T", "You begin at T, which is not a time: they are 0 .. T−1.",
           with([](int i, int T, int K) { return T - i * (T / K); })},
          {"ends_at_0",
           "Your last time is 0, and your first one lower than it could be. Then the first step "
           "takes pure noise for\n"
           "an x_t that has less; with K = 1, for a finished picture.",
           with([](int i, int T, int K) { return (K - 1 - i) * (T / K); })},
          {"never_falls", "Yours are all T − 1. 1 / K of two integers is 0 in C++: write T / K.",
           with([](int i, int T, int) { return T - 1 + 0 * i; })},
          {"every_time", "Yours fall by 1. They should fall by T / K: that is what makes it fast.",
           with([](int i, int T, int) { return T - 1 - i; })}}};
}

struct Case {
  double from, to, eta, x, eps, z;  // ᾱ of both ends, η, x_t, ε, z
};

const std::vector<Case>& cases() {
  static const std::vector<Case> made = [] {
    const Schedule s = Schedule::linear();
    std::vector<Case> list;
    for (const double eta : {0.0, 1.0, 0.5})
      for (const auto& [t, to] : {std::pair{950, 900}, {500, 250}, {100, 99}, {250, 0}, {50, -1}})
        list.push_back(
            {s.alpha_bar_at(t), s.alpha_bar_at(to), eta, 0.8 - t / 700.0, 0.9 - t / 400.0, 1.3});
    return list;
  }();
  return made;
}

std::string at_case(std::size_t i) {
  const Case& c = cases()[i];
  return fmt::format("ᾱ = {:.4g}, ᾱ_to = {:.4g}, eta = {}", c.from, c.to, c.eta);
}

template <class F>
Numbers with(F f) {
  return each(cases(), f);
}

double sigma_of(const Case& c) {
  return c.eta *
         std::sqrt(
             posterior_weights(variance_preserving(c.to), variance_preserving(c.from)).variance);
}

Check check_ddim_sigma() {
  return {
      .function = "ddim_sigma",
      .quantity = "σ",
      .yours = [] { return with([](const Case& c) { return ddim_sigma(c.from, c.to, c.eta); }); },
      .right = with(sigma_of),
      .at = at_case,
      .mistakes =
          {{"sqrt_beta",
            "Your σ is eta √β; the posterior's √β̃ has the factor √((1−ᾱ_to) / (1−ᾱ)) as well.",
            with([](const Case& c) { return c.eta * std::sqrt(1 - c.from / c.to); })},
           {"eta_under_root", "eta stands under the root; it multiplies the root.",
            with([](const Case& c) { return c.eta > 0 ? sigma_of(c) / std::sqrt(c.eta) : 0; })},
           {"variance", "The root is missing: yours is eta times the variance.",
            with([](const Case& c) { return c.eta > 0 ? sigma_of(c) * sigma_of(c) / c.eta : 0; })},
           {"without_eta", "You left out eta: with eta = 0 there should be no new noise.",
            with([](const Case& c) {
              Case full = c;
              full.eta = 1;
              return sigma_of(full);
            })},
           {"exchanged", "ᾱ and ᾱ_to are exchanged: `alpha_bar` is of x_t, and the smaller one.",
            with([](const Case& c) {
              return c.eta * std::sqrt((1 - c.from) / (1 - c.to) * (1 - c.to / c.from));
            })},
           {"upside_down", "1 − ᾱ_to and 1 − ᾱ are exchanged in the quotient.",
            with([](const Case& c) {
              return c.eta * std::sqrt((1 - c.from) / (1 - c.to) * (1 - c.from / c.to));
            })}},
      .tolerance = 1e-5};
}

double x0_of(const Case& c) { return (c.x - std::sqrt(1 - c.from) * c.eps) / std::sqrt(c.from); }
// √ᾱ_to x̂_0 + direction ε + σ z
double step(const Case& c, double x0, double direction, double eps, double sigma) {
  return std::sqrt(c.to) * x0 + direction * eps + sigma * c.z;
}
double direction_of(const Case& c) {
  return std::sqrt(std::max(0.0, 1 - c.to - sigma_of(c) * sigma_of(c)));
}

std::vector<Mistake> mistakes_of_step() {
  const auto is = [](auto f) {
    return with([f](const Case& c) { return f(c, x0_of(c), direction_of(c), sigma_of(c)); });
  };
  return {
      {"variance_too_large",
       "Right for eta = 0. With new noise there is too much: the old noise must make room for it, "
       "√(1−ᾱ_to−σ²).",
       is([](const Case& c, double x0, double, double s) {
         return step(c, x0, std::sqrt(1 - c.to), c.eps, s);
       })},
      {"sigma_not_squared", "Under the root stands σ²; you have σ.",
       is([](const Case& c, double x0, double, double s) {
         return step(c, x0, std::sqrt(1 - c.to - s), c.eps, s);
       })},
      {"no_new_noise", "The term σ z is missing: right for eta = 0 alone.",
       is([](const Case& c, double x0, double d, double) { return step(c, x0, d, c.eps, 0); })},
      {"noise_not_scaled", "You added z; σ z is asked for, which is 0 for eta = 0.",
       is([](const Case& c, double x0, double d, double) { return step(c, x0, d, c.eps, 1); })},
      {"fresh_noise",
       "Instead of the network's ε you took the new z for the old noise: then nothing of x_t but "
       "x̂_0 survives.",
       is([](const Case& c, double x0, double d, double s) { return step(c, x0, d, c.z, s); })},
      {"x_t_for_eps",
       "You took x_t for the noise in the second term. There stands the network's ε.",
       is([](const Case& c, double x0, double d, double s) { return step(c, x0, d, c.x, s); })},
      {"picture_not_shrunk",
       "x̂_0 is to be multiplied by √ᾱ_to: the new x still holds noise, and so less picture.",
       is([](const Case& c, double x0, double d, double s) {
         return step(c, x0 / std::sqrt(c.to), d, c.eps, s);
       })},
      {"picture_without_root", "x̂_0 is multiplied by ᾱ_to; √ᾱ_to is asked for.",
       is([](const Case& c, double x0, double d, double s) {
         return step(c, x0 * std::sqrt(c.to), d, c.eps, s);
       })},
      {"alpha_bar_from", "You shrank x̂_0 by √ᾱ of the old level; the new level is asked for, ᾱ_to.",
       is([](const Case& c, double x0, double d, double s) {
         return step(c, x0 * std::sqrt(c.from / c.to), d, c.eps, s);
       })},
      {"direction_from",
       "The old noise keeps its size √(1−ᾱ) in your step. At the new level there is less: "
       "√(1−ᾱ_to−σ²).",
       is([](const Case& c, double x0, double, double s) {
         return step(c, x0, std::sqrt(1 - c.from - s * s), c.eps, s);
       })},
      {"direction_without_root", "The root in the old noise's factor is missing: √(1−ᾱ_to−σ²).",
       is([](const Case& c, double x0, double d, double s) {
         return step(c, x0, d * d, c.eps, s);
       })},
      {"x0_not_divided", "Your x̂_0 is not divided by √ᾱ.",
       is([](const Case& c, double x0, double d, double s) {
         return step(c, x0 * std::sqrt(c.from), d, c.eps, s);
       })},
      {"jump_to_x0", "You returned x̂_0: the old noise is to be put back, less of it.",
       is([](const Case&, double x0, double, double) { return x0; })}};
}

Check check_ddim_step() {
  return {.function = "ddim_step",
          .quantity = "x",
          .yours =
              [] {
                return with(
                    [](const Case& c) { return ddim_step(c.x, c.eps, c.from, c.to, c.eta, c.z); });
              },
          .right = with(
              [](const Case& c) { return step(c, x0_of(c), direction_of(c), c.eps, sigma_of(c)); }),
          .at = at_case,
          .mistakes = mistakes_of_step(),
          .tolerance = 1e-5};
}

Points sample(int K, double eta) {
  const Schedule schedule = Schedule::linear();
  Points x = normal_points(0, 1000);
  const std::vector<int> list = times(1000, K);
  for (std::size_t k = 0; k < list.size(); ++k) {
    const double from = schedule.alpha_bar[list[k]];
    const double to = k + 1 < list.size() ? schedule.alpha_bar[list[k + 1]] : 1;
    const Points eps = best_answer(x, schedule.level(list[k]), heaps());
    const Points z = normal_points(k + 1, 1000);
    for (std::size_t i = 0; i < x.x.size(); ++i) {
      x.x[i] = ddim_step(x.x[i], eps.x[i], from, to, eta, z.x[i]);
      x.y[i] = ddim_step(x.y[i], eps.y[i], from, to, eta, z.y[i]);
    }
  }
  return x;
}

}  // namespace

void grade(Grader& grader) {
  grader.check(check_times());
  grader.check(check_ddim_sigma());
  grader.check(check_ddim_step());
}

void show() {
  fmt::print(
      "The five heaps of exercise 4, by your steps without new noise (eta = 0), from the same "
      "noise:\n\n");
  const Points one = sample(1, 0), five = sample(5, 0), twenty = sample(20, 0);
  print({one, five, twenty}, {"1 step", "5 steps", "20 steps"});
  for (const int K : {1, 5, 20, 100})
    for (const double eta : {0.0, 1.0})
      fmt::print("{:4} steps, eta = {}: {}\n", K, eta, count_heaps(sample(K, eta)));
}

}  // namespace exercises
