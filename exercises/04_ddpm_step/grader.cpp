#include "common/grader.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>

#include "04_ddpm_step/exercise.h"
#include "common/pictures.h"
#include "common/points.h"
#include "diffusion/forward.h"
#include "diffusion/schedule.h"

namespace exercises {

const Exercise kExercise = {4, "04_ddpm_step", "DDPM's step"};

namespace {

using sfumato::diffusion::NoiseLevel;
using sfumato::diffusion::PosteriorWeights;
using sfumato::diffusion::Schedule;
using sfumato::diffusion::variance_preserving;

// ᾱ of t − 1 and of t.
struct Step {
  double before, now;
  double beta() const { return 1 - now / before; }
  double alpha() const { return now / before; }
};

PosteriorWeights library(const Step& s) {
  return posterior_weights(variance_preserving(s.before), variance_preserving(s.now));
}

Step step_at(int t) {
  static const Schedule schedule = Schedule::linear();
  return {schedule.alpha_bar_at(t - 1), schedule.alpha_bar_at(t)};
}

template <class F>
Numbers over_time(F f) {
  Numbers numbers;
  for (int t = 0; t < 1000; ++t) numbers.push_back(f(step_at(t)));
  return numbers;
}

std::string at_t(std::size_t t) { return fmt::format("t = {}", t); }

Check check_posterior_mean() {
  const double x0 = 0.7, x_t = -0.4;
  const auto weights = [=](auto f) {
    return over_time([=](const Step& s) {
      const auto [a, b] = f(s);
      return a * x0 + b * x_t;
    });
  };
  using Pair = std::pair<double, double>;
  const auto right = [](const Step& s) { return Pair{library(s).x0, library(s).xt}; };
  return {.function = "posterior_mean",
          .quantity = "mean",
          .yours =
              [=] {
                return over_time(
                    [=](const Step& s) { return posterior_mean(x0, x_t, s.before, s.now); });
              },
          .right = weights(right),
          .at = at_t,
          .mistakes = {
              {"weights_exchanged",
               "The weights of x_0 and x_t are exchanged. At large t most weight is on x_t: a step "
               "is small.",
               weights([=](const Step& s) {
                 return Pair{right(s).second, right(s).first};
               })},
              {"no_root_x0", "√ᾱ_{t−1} is asked for in the weight of x_0; you have ᾱ_{t−1}.",
               weights([=](const Step& s) {
                 return Pair{right(s).first * std::sqrt(s.before), right(s).second};
               })},
              {"no_root_xt", "√α_t is asked for in the weight of x_t; you have α_t.",
               weights([=](const Step& s) {
                 return Pair{right(s).first, right(s).second * std::sqrt(s.alpha())};
               })},
              {"no_roots", "The square roots of ᾱ_{t−1} and of α_t are missing.",
               weights([=](const Step& s) {
                 return Pair{right(s).first * std::sqrt(s.before),
                             right(s).second * std::sqrt(s.alpha())};
               })},
              {"alpha_bar_now",
               "The weight of x_0 has √ᾱ_t; asked for is √ᾱ_{t−1}, of the step before.",
               weights([=](const Step& s) {
                 return Pair{right(s).first * std::sqrt(s.alpha()), right(s).second};
               })},
              {"alpha_for_beta", "The weight of x_0 has α_t where β_t = 1 − α_t is asked for.",
               weights([=](const Step& s) {
                 return Pair{std::sqrt(s.before) * s.alpha() / (1 - s.now), right(s).second};
               })},
              {"root_alpha_bar_xt", "The weight of x_t has √ᾱ_t; asked for is √α_t, of one step.",
               weights([=](const Step& s) {
                 return Pair{right(s).first, std::sqrt(s.now) * (1 - s.before) / (1 - s.now)};
               })},
              {"denominator_before",
               "Both are divided by 1 − ᾱ_t; you divided by 1 − ᾱ_{t−1}, which is 0 at t = 0.",
               weights([=](const Step& s) {
                 const double r = (1 - s.now) / (1 - s.before);
                 return Pair{right(s).first * r, right(s).second * r};
               })}}};
}

Check check_posterior_sigma() {
  const auto sigma = [](const Step& s) { return std::sqrt(library(s).variance); };
  return {
      .function = "posterior_sigma",
      .quantity = "σ_t",
      .yours =
          [] { return over_time([](const Step& s) { return posterior_sigma(s.before, s.now); }); },
      .right = over_time(sigma),
      .at = at_t,
      .mistakes = {
          {"sqrt_beta",
           "Your σ is √β_t; the posterior's is asked for, √β̃_t = √( β_t (1−ᾱ_{t−1}) / (1−ᾱ_t) ). "
           "(Both are used: "
           "√β_t is\nDDPM's `fixed_large`. They differ most at small t, where x_0 is nearly "
           "known.)",
           over_time([](const Step& s) { return std::sqrt(s.beta()); })},
          {"beta",
           "Your σ is β_t: that is neither the posterior's variance nor a standard deviation.",
           over_time([](const Step& s) { return s.beta(); })},
          {"variance", "Yours is the variance β̃_t. σ is its square root.",
           over_time([=](const Step& s) { return sigma(s) * sigma(s); })},
          {"noise_level",
           "Yours is √(1−ᾱ_t), all the noise in x_t. A step takes away only a little of it.",
           over_time([](const Step& s) { return std::sqrt(1 - s.now); })},
          {"ratio_upside_down", "1 − ᾱ_{t−1} and 1 − ᾱ_t are exchanged in the quotient.",
           over_time(
               [](const Step& s) { return std::sqrt((1 - s.now) / (1 - s.before) * s.beta()); })},
          {"alpha_for_beta", "You multiplied by α_t where β_t = 1 − α_t is asked for.",
           over_time(
               [](const Step& s) { return std::sqrt((1 - s.before) / (1 - s.now) * s.alpha()); })},
          {"one_minus_alpha_bar",
           "You multiplied by 1 − ᾱ_t; asked for is β_t = 1 − ᾱ_t / ᾱ_{t−1}, of one step.",
           over_time([](const Step& s) { return std::sqrt(1 - s.before); })},
          {"ratio_of_alpha_bar", "The quotient is of 1 − ᾱ, not of ᾱ.",
           over_time([](const Step& s) { return std::sqrt(s.before / s.now * s.beta()); })}}};
}

struct Case {
  int t;
  double x_t, eps, z;
};
const std::vector<Case> kCases = {{999, 1.2, 1.1, 0.5}, {500, -0.4, -0.6, -1},
                                  {100, 0.9, 0.3, 1.5}, {10, 0.2, -1.2, -0.3},
                                  {1, 0.5, 0.8, 2},     {0, -0.9, 1, 1}};

// x̂_0, and f(x̂_0, step, case) for each case.
template <class F>
Numbers steps(F f) {
  return each(kCases, [&](const Case& c) {
    const Step s = step_at(c.t);
    return f((c.x_t - std::sqrt(1 - s.now) * c.eps) / std::sqrt(s.now), s, c);
  });
}

double mean_of(double x0, double x_t, const Step& s) {
  return library(s).x0 * x0 + library(s).xt * x_t;
}
double sigma_of(const Step& s) { return std::sqrt(library(s).variance); }

std::vector<Mistake> mistakes_of_step() {
  const auto right = [](double x0, const Step& s, const Case& c) {
    return mean_of(x0, c.x_t, s) + sigma_of(s) * c.z;
  };
  return {
      {"no_noise",
       "You added no noise. The mean of the posterior alone leads to the mean of all pictures that "
       "fit.",
       steps([](double x0, const Step& s, const Case& c) { return mean_of(x0, c.x_t, s); })},
      {"noise_not_scaled", "You added z itself; σ times z is asked for.",
       steps([](double x0, const Step& s, const Case& c) { return mean_of(x0, c.x_t, s) + c.z; })},
      {"variance_times_z", "You multiplied z by the variance; its square root σ is asked for.",
       steps([](double x0, const Step& s, const Case& c) {
         return mean_of(x0, c.x_t, s) + library(s).variance * c.z;
       })},
      {"sqrt_beta",
       "Your σ is √β_t; the posterior's is asked for. With √β_t there is noise in the finished "
       "picture, at t = 0.",
       steps([](double x0, const Step& s, const Case& c) {
         return mean_of(x0, c.x_t, s) + std::sqrt(s.beta()) * c.z;
       })},
      {"x0_not_divided", "Your x̂_0 is not divided by √ᾱ_t: (x_t − √(1−ᾱ_t) ε) / √ᾱ_t.",
       steps([=](double x0, const Step& s, const Case& c) {
         return right(x0 * std::sqrt(s.now), s, c);
       })},
      {"x0_is_noise", "You gave posterior_mean the noise for x_0. It wants x̂_0, the picture.",
       steps([=](double, const Step& s, const Case& c) { return right(c.eps, s, c); })},
      {"x0_without_roots", "Your x̂_0 has ᾱ_t and 1 − ᾱ_t where their square roots should be.",
       steps([=](double, const Step& s, const Case& c) {
         return right((c.x_t - (1 - s.now) * c.eps) / s.now, s, c);
       })},
      {"x0_with_alpha_bar_before", "Your x̂_0 is made with ᾱ_{t−1}. x_t has the noise of t: ᾱ_t.",
       steps([=](double, const Step& s, const Case& c) {
         return right((c.x_t - std::sqrt(1 - s.before) * c.eps) / std::sqrt(s.before), s, c);
       })},
      {"arguments_exchanged",
       "x̂_0 and x_t are exchanged in the call of posterior_mean: it is (x0, x_t, ...).",
       steps([](double x0, const Step& s, const Case& c) {
         return mean_of(c.x_t, x0, s) + sigma_of(s) * c.z;
       })},
      {"clipped",
       "You clipped x̂_0 to [−1, 1]. Samplers often do so, for pictures; here the plain formula is "
       "asked for.",
       steps([=](double x0, const Step& s, const Case& c) {
         return right(std::clamp(x0, -1.0, 1.0), s, c);
       })},
      {"jump_to_x0",
       "You returned x̂_0: all the way in one step. Only a little of it is asked for, the "
       "posterior's mean.",
       steps([](double x0, const Step&, const Case&) { return x0; })}};
}

Check check_ddpm_step() {
  static const std::vector<double> alpha_bar = Schedule::linear().alpha_bar;
  return {.function = "ddpm_step",
          .quantity = "x_{t−1}",
          .yours =
              [] {
                return each(kCases, [](const Case& c) {
                  return ddpm_step(c.x_t, c.eps, c.t, alpha_bar, c.z);
                });
              },
          .right = steps([](double x0, const Step& s, const Case& c) {
            return mean_of(x0, c.x_t, s) + sigma_of(s) * c.z;
          }),
          .at =
              [](std::size_t i) {
                const Case& c = kCases[i];
                return fmt::format("t = {}, x_t = {}, ε = {}, z = {}", c.t, c.x_t, c.eps, c.z);
              },
          .mistakes = mistakes_of_step(),
          .tolerance = 1e-5};  // β = 1 − ᾱ_t / ᾱ_{t−1} loses digits
}

// By the student's steps, z times `noise`: the points at the beginning, after t = 100 and at the end.
std::vector<Points> walk(double noise) {
  const Schedule schedule = Schedule::linear();
  constexpr std::size_t kPoints = 1000;
  Points x = normal_points(0, kPoints);
  std::vector<Points> seen = {x};
  for (int t = 999; t >= 0; --t) {
    const Points eps = best_answer(x, schedule.level(t), heaps());
    const Points z = normal_points(static_cast<std::uint64_t>(t) + 1, kPoints);
    for (std::size_t i = 0; i < kPoints; ++i) {
      x.x[i] = ddpm_step(x.x[i], eps.x[i], t, schedule.alpha_bar, noise * z.x[i]);
      x.y[i] = ddpm_step(x.y[i], eps.y[i], t, schedule.alpha_bar, noise * z.y[i]);
    }
    if (t == 100 || t == 0) seen.push_back(x);
  }
  return seen;
}

}  // namespace

void grade(Grader& grader) {
  grader.check(check_posterior_mean());
  grader.check(check_posterior_sigma());
  grader.check(check_ddpm_step());
}

void show() {
  fmt::print(
      "1000 points, 1000 of your steps. The data are five heaps; the answers are those of a "
      "perfect "
      "network.\n\n");
  const std::vector<Points> seen = walk(1);
  print(seen, {"x_T: noise", "before t = 100", "the end"});
  fmt::print("{} (Chance: 200 each, give or take 13.)\n", count_heaps(seen.back()));
  const std::vector<Points> still = walk(0);
  fmt::print("With z = 0 in all steps:\n{}\n", count_heaps(still.back()));
  fmt::print("σ within the heaps: {:.3f}, with z = 0 {:.3f}; the data's is 0.100.\n",
             spread(seen.back()), spread(still.back()));
}

}  // namespace exercises
