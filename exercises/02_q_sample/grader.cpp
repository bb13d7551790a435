#include "common/grader.h"

#include <fmt/format.h>

#include <cmath>

#include "02_q_sample/exercise.h"
#include "common/pictures.h"
#include "diffusion/forward.h"
#include "diffusion/schedule.h"

namespace exercises {

const Exercise kExercise = {2, "02_q_sample", "all steps at once, by induction"};

namespace {

using sfumato::diffusion::Schedule;

Check check_sigma_of_sum() {
  struct Case {
    double a, b;
  };
  const std::vector<Case> cases = {{3, 4}, {1, 1}, {0.5, 0}, {0.1, 2}, {2, 0.1}};
  const auto with = [=](auto f) { return each(cases, [&](const Case& c) { return f(c.a, c.b); }); };
  return {
      .function = "sigma_of_sum",
      .quantity = "σ of the sum",
      .yours = [=] { return with([](double a, double b) { return sigma_of_sum(a, b); }); },
      .right = with([](double a, double b) { return std::hypot(a, b); }),
      .at =
          [=](std::size_t i) { return fmt::format("σ_a = {}, σ_b = {}", cases[i].a, cases[i].b); },
      .mistakes = {{"sigmas_add",
                    "You added the standard deviations. It is the variances, σ², that add: the one "
                    "is high where the other "
                    "is low,\nhalf of the time, so the sum varies less than both together.",
                    with([](double a, double b) { return a + b; })},
                   {"variance",
                    "Yours is the variance of the sum; its square root, the standard deviation, is "
                    "asked for.",
                    with([](double a, double b) { return a * a + b * b; })},
                   {"root_of_sum", "You added σ, not σ², under the root.",
                    with([](double a, double b) { return std::sqrt(a + b); })},
                   {"mean", "Yours is the average. A sum of two is not averaged.",
                    with([](double a, double b) { return (a + b) / 2; })}}};
}

// The signals, then the variances, after each step of DDPM's schedule.
template <class Step>
Numbers walk(Step step) {
  Merged m = {1, 0};  // no step: x is x_0
  Numbers signals, variances;
  for (const double alpha : Schedule::linear().alpha) {
    m = step(m, alpha);
    signals.push_back(m.signal);
    variances.push_back(m.variance);
  }
  signals.insert(signals.end(), variances.begin(), variances.end());
  return signals;
}

Check check_one_more_step() {
  const Schedule schedule = Schedule::linear();
  // Right is what the closed form says, not another walk: that both agree is the theorem.
  Numbers right;
  for (const double a : schedule.alpha_bar) right.push_back(std::sqrt(a));
  for (const double a : schedule.alpha_bar) right.push_back(1 - a);
  const auto T = static_cast<std::size_t>(schedule.steps());
  const auto at = [T](std::size_t i) {
    return fmt::format("the {} after step t = {}", i < T ? "signal" : "variance", i % T);
  };
  return {
      .function = "one_more_step",
      .quantity = "signal or variance",
      .yours = [] { return walk(one_more_step); },
      .right = right,
      .at = at,
      .mistakes = {
          {"signal_without_root",
           "The signal is multiplied by α; the step multiplies x_{t−1} by √α.",
           walk([](Merged m, double a) {
             return Merged{a * m.signal, a * m.variance + 1 - a};
           })},
          {"old_noise_not_shrunk",
           "You added the new noise without shrinking the old one. √α stands before the whole of "
           "x_{t−1}, its noise "
           "too.",
           walk([](Merged m, double a) {
             return Merged{std::sqrt(a) * m.signal, m.variance + 1 - a};
           })},
          {"old_noise_by_root",
           "The step multiplies the old noise by √α, and so its variance by the square of that: α.",
           walk([](Merged m, double a) {
             return Merged{std::sqrt(a) * m.signal, std::sqrt(a) * m.variance + 1 - a};
           })},
          {"new_noise_not_squared",
           "√(1−α) is the new noise's standard deviation; its variance, which is added here, is 1 "
           "− α.",
           walk([](Merged m, double a) {
             return Merged{std::sqrt(a) * m.signal, a * m.variance + std::sqrt(1 - a)};
           })},
          {"new_noise_only",
           "Yours is the noise of the last step alone; the older noise is still in x.",
           walk([](Merged m, double a) {
             return Merged{std::sqrt(a) * m.signal, 1 - a};
           })},
          {"sigmas_add",
           "You added standard deviations. The variance of a sum of independent numbers is the sum "
           "of their variances.",
           walk([](Merged m, double a) {
             const double sigma = std::sqrt(a * m.variance) + std::sqrt(1 - a);
             return Merged{std::sqrt(a) * m.signal, sigma * sigma};
           })},
          {"signal_not_carried",
           "Your signal is that of one step, √α: multiply it with before.signal.",
           walk([](Merged m, double a) {
             return Merged{std::sqrt(a), a * m.variance + 1 - a};
           })}}};
}

Check check_q_sample() {
  struct Case {
    double x0, alpha_bar, eps;
  };
  const std::vector<Case> cases = {
      {1, 0.9, 0}, {0, 0.9, 1}, {0.5, 0.5, -1}, {-1, 0.1, 0.3}, {0.7, 0.001, 2}};
  const auto with = [=](auto f) {
    return each(cases, [&](const Case& c) { return f(c.x0, c.alpha_bar, c.eps); });
  };
  const auto library = [](const Case& c) {
    const auto levels =
        sfumato::diffusion::levels(sfumato::diffusion::variance_preserving(c.alpha_bar));
    const auto one = [](double x) { return sfumato::Tensor::from<double>({1}, {x}); };
    return sfumato::diffusion::q_sample(levels, one(c.x0), one(c.eps)).item();
  };
  return {
      .function = "q_sample",
      .quantity = "x_t",
      .yours = [=] { return with([](double x, double a, double e) { return q_sample(x, a, e); }); },
      .right = each(cases, library),
      .at =
          [=](std::size_t i) {
            return fmt::format("x_0 = {}, ᾱ = {}, ε̄ = {}", cases[i].x0, cases[i].alpha_bar,
                               cases[i].eps);
          },
      .mistakes =
          {{"no_root",
            "You multiplied by ᾱ and 1 − ᾱ: their square roots are asked for. 1 − ᾱ is the noise's "
            "variance.",
            with([](double x, double a, double e) { return a * x + (1 - a) * e; })},
           {"signal_without_root", "x_0 is multiplied by ᾱ; √ᾱ is asked for.",
            with([](double x, double a, double e) { return a * x + std::sqrt(1 - a) * e; })},
           {"noise_without_root",
            "The noise is multiplied by its variance, 1 − ᾱ; √(1−ᾱ) is asked for.",
            with([](double x, double a, double e) { return std::sqrt(a) * x + (1 - a) * e; })},
           {"one_minus_root",
            "The noise is multiplied by 1 − √ᾱ. Not the factors sum to 1 but their squares: √(1−ᾱ) "
            "is asked for.",
            with([](double x, double a, double e) {
              return std::sqrt(a) * x + (1 - std::sqrt(a)) * e;
            })},
           {"exchanged",
            "√ᾱ and √(1−ᾱ) are exchanged: at small t, where ᾱ is near 1, nearly all should be "
            "picture.",
            with([](double x, double a, double e) {
              return std::sqrt(1 - a) * x + std::sqrt(a) * e;
            })},
           {"no_shrinking", "You added the noise without shrinking the picture by √ᾱ.",
            with([](double x, double a, double e) { return x + std::sqrt(1 - a) * e; })},
           {"minus", "You subtracted the noise; it is added.",
            with([](double x, double a, double e) {
              return std::sqrt(a) * x - std::sqrt(1 - a) * e;
            })}}};
}

}  // namespace

void grade(Grader& grader) {
  grader.check(check_sigma_of_sum());
  grader.check(check_one_more_step());
  grader.check(check_q_sample());
}

void show() {
  const Picture digit = digits(2)[1];
  const Schedule schedule = Schedule::linear();
  const int t = 150;
  const std::size_t pixels = digit.size(), walks = 40;
  Picture walked, jumped(pixels);
  double mean[2] = {0, 0},
         square[2] = {0, 0};  // of the noise in the walked and in the jumped pictures
  const double left = std::sqrt(schedule.alpha_bar[t]), n = static_cast<double>(walks * pixels);
  const auto count = [&](int which, const Picture& x) {
    for (std::size_t i = 0; i < pixels; ++i) {
      const double noise = x[i] - left * digit[i];
      mean[which] += noise / n;
      square[which] += noise * noise / n;
    }
  };
  for (std::size_t walk = 0; walk < walks; ++walk) {
    walked = digit;
    for (int s = 0; s <= t; ++s) {
      const Numbers eps = normal_numbers(1000 * walk + static_cast<std::size_t>(s), pixels);
      const double alpha = schedule.alpha[s];
      for (std::size_t i = 0; i < pixels; ++i)
        walked[i] = std::sqrt(alpha) * walked[i] + std::sqrt(1 - alpha) * eps[i];
    }
    const Numbers eps = normal_numbers(1000 * walk + 999, pixels);
    for (std::size_t i = 0; i < pixels; ++i)
      jumped[i] = q_sample(digit[i], schedule.alpha_bar[t], eps[i]);
    count(0, walked);
    count(1, jumped);
  }
  fmt::print("To t = {}: {} steps of noise, and your q_sample once.\n\n", t, t + 1);
  print({digit, walked, jumped}, {"the picture", fmt::format("{} steps", t + 1), "q_sample"});
  fmt::print("Two different pictures, of one kind: over {} of each, x_t − √ᾱ_t x_0 has\n", walks);
  for (const int which : {0, 1})
    fmt::print("  {:<9} mean {:+.4f}, variance {:.4f}\n",
               which == 0 ? "walked:" : "q_sample:", mean[which],
               square[which] - mean[which] * mean[which]);
  fmt::print("and by the formula 0 and 1 − ᾱ_t = {:.4f}. (Chance: give or take {:.4f}.)\n",
             1 - schedule.alpha_bar[t], std::sqrt(2 / n));
}

}  // namespace exercises
