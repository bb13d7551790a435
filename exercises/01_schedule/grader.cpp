#include "common/grader.h"

#include <fmt/format.h>

#include <cmath>

#include "01_schedule/exercise.h"
#include "common/pictures.h"
#include "diffusion/schedule.h"
#include "tensor/error.h"

namespace exercises {

const Exercise kExercise = {1, "01_schedule", "the schedule, and one step of noise"};

namespace {

constexpr int T = 1000;
constexpr double kFirst = 1e-4, kLast = 0.02;  // DDPM (Ho 2020), section 4

std::string at_t(std::size_t t) { return fmt::format("t = {}", t); }

// f(t, β_t) for t = 0 .. T−1 of DDPM's schedule.
template <class F>
Numbers over_time(F f) {
  Numbers numbers;
  for (int t = 0; t < T; ++t) numbers.push_back(f(t, kFirst + (kLast - kFirst) * t / (T - 1)));
  return numbers;
}

Check check_betas() {
  const auto spaced = [](double gaps, double first, double last) {
    return over_time([=](int t, double) { return first + (last - first) * t / gaps; });
  };
  Numbers right = spaced(T - 1, kFirst, kLast);
  return {.function = "betas",
          .quantity = "β_t",
          .yours = [] { return betas(T, kFirst, kLast); },
          .right = right,
          .at = at_t,
          .mistakes = {
              {"integer_division",
               "Your β stays at `first` until the end. In C++ the quotient of two integers is an "
               "integer: t / (T - 1) "
               "is 0\nuntil t = T − 1. Write double(t) / (T - 1).",
               over_time([](int t, double) { return t == T - 1 ? kLast : kFirst; })},
              {"t_over_T",
               "You divide by T. From β_0 to β_{T−1} there are T − 1 gaps, not T, so your last β "
               "is not `last`.",
               spaced(T, kFirst, kLast)},
              {"t_plus_one_over_T",
               "Your t counts from 1: β_0 should be `first` itself. Here t runs from 0 to T − 1.",
               over_time([](int t, double) { return kFirst + (kLast - kFirst) * (t + 1) / T; })},
              {"without_first", "You forgot to begin at `first`: at t = 0 your β is 0.",
               over_time([](int t, double) { return (kLast - kFirst) * t / (T - 1); })},
              {"last_not_difference",
               "Between `first` and `last` lies the distance last − first; you added a share of "
               "`last` itself.",
               over_time([](int t, double) { return kFirst + kLast * t / (T - 1); })},
              {"reversed",
               "Your β falls from `last` to `first`; it should rise: little noise at first.",
               spaced(T - 1, kLast, kFirst)},
              {"root_spaced",
               "You spaced √β evenly (Stable Diffusion's schedule); asked for is β itself.",
               over_time([](int t, double) {
                 const double a = std::sqrt(kFirst), b = std::sqrt(kLast),
                              r = a + (b - a) * t / (T - 1);
                 return r * r;
               })}}};
}

Check check_alpha_bars() {
  const auto running = [](double start, auto next, bool before = false) {
    double so_far = start;
    return over_time([&, before](int, double beta) {
      const double old = so_far;
      so_far = next(so_far, beta);
      return before ? old : so_far;
    });
  };
  const auto product = [](double p, double beta) { return p * (1 - beta); };
  return {.function = "alpha_bars",
          .quantity = "ᾱ_t",
          .yours = [] { return alpha_bars(over_time([](int, double beta) { return beta; })); },
          .right = running(1, product),
          .at = at_t,
          .mistakes = {{"product_of_beta", "You multiplied the β. Multiply the α_t = 1 − β_t.",
                        running(1, [](double p, double beta) { return p * beta; })},
                       {"one_step_only",
                        "Yours is α_t = 1 − β_t of one step alone. ᾱ_t is the product of all α up "
                        "to t: multiply by the "
                        "product so far.",
                        over_time([](int, double beta) { return 1 - beta; })},
                       {"off_by_one", "Your ᾱ_t leaves out α_t: ᾱ_0 is α_0 already, not 1.",
                        running(1, product, true)},
                       {"sum_of_beta",
                        "You subtracted each β. That is nearly the same for small β, and wrong "
                        "later (it falls below 0): each "
                        "step\nmultiplies what is left by α_t.",
                        running(1, [](double p, double beta) { return p - beta; })},
                       {"root", "You multiplied √α_t: that gives √ᾱ_t, not ᾱ_t.",
                        running(1, [](double p, double beta) { return p * std::sqrt(1 - beta); })}},
          .tolerance = 1e-8};
}

Check check_q_step() {
  struct Case {
    double x, alpha, eps;
  };
  const std::vector<Case> cases = {
      {1, 0.99, 0}, {0, 0.99, 1}, {0.5, 0.9, -1.5}, {-1, 0.5, 0.25}, {0.8, 0.02, 2}};
  const auto with = [=](auto f) {
    return each(cases, [&](const Case& c) { return f(c.x, c.alpha, c.eps); });
  };
  return {
      .function = "q_step",
      .quantity = "x_t",
      .yours =
          [=] { return each(cases, [](const Case& c) { return q_step(c.x, c.alpha, c.eps); }); },
      .right = with(
          [](double x, double a, double e) { return std::sqrt(a) * x + std::sqrt(1 - a) * e; }),
      .at =
          [=](std::size_t i) {
            return fmt::format("x = {}, α = {}, ε = {}", cases[i].x, cases[i].alpha, cases[i].eps);
          },
      .mistakes =
          {{"no_root",
            "You multiplied by α and 1 − α; their square roots are asked for. √(1−α) ε has "
            "variance 1 − α; (1−α) ε has\n"
            "variance (1−α)², far too little noise.",
            with([](double x, double a, double e) { return a * x + (1 - a) * e; })},
           {"noise_without_root",
            "The noise is multiplied by 1 − α; its square root is asked for: 1 − α is its "
            "variance.",
            with([](double x, double a, double e) { return std::sqrt(a) * x + (1 - a) * e; })},
           {"signal_without_root", "The pixel is multiplied by α; √α is asked for.",
            with([](double x, double a, double e) { return a * x + std::sqrt(1 - a) * e; })},
           {"half_is_zero",
            "Yours is x + ε: 1/2 of two integers is 0 in C++, and anything to the power 0 is 1. "
            "Use "
            "std::sqrt.",
            with([](double x, double, double e) { return x + e; })},
           {"no_shrinking",
            "You added the noise without shrinking the pixel. Then the variance grows by 1 − α in "
            "every step, without "
            "end;\n√α makes room for it.",
            with([](double x, double a, double e) { return x + std::sqrt(1 - a) * e; })},
           {"exchanged",
            "√α and √(1−α) are exchanged: most of the pixel should stay, and a little noise come "
            "in.",
            with([](double x, double a, double e) {
              return std::sqrt(1 - a) * x + std::sqrt(a) * e;
            })},
           {"noise_sqrt_alpha", "The noise is multiplied by √α; √(1−α) is asked for.",
            with([](double x, double a, double e) { return std::sqrt(a) * x + std::sqrt(a) * e; })},
           {"minus",
            "You subtracted the noise. As it is symmetric that would do for one step, but the "
            "network will be "
            "asked for\nthe noise that was added.",
            with([](double x, double a, double e) {
              return std::sqrt(a) * x - std::sqrt(1 - a) * e;
            })}}};
}

// The right answers here are those of the library.
void expect_library(const Numbers& alpha_bar) {
  const auto schedule = sfumato::diffusion::Schedule::linear(T, kFirst, kLast);
  for (std::size_t t = 0; t < alpha_bar.size(); ++t)
    if (std::abs(schedule.alpha_bar[t] - alpha_bar[t]) > 1e-5 * alpha_bar[t])
      throw sfumato::Error("exercise 1", fmt::format("the library has another ᾱ_{}", t));
}

}  // namespace

void grade(Grader& grader) {
  expect_library(check_alpha_bars().right);
  grader.check(check_betas());
  grader.check(check_alpha_bars());
  grader.check(check_q_step());
}

void show() {
  const std::vector<double> beta = betas(T, kFirst, kLast), alpha_bar = alpha_bars(beta);
  const Picture digit = digits(1)[0];
  std::vector<Picture> seen = {digit};
  std::vector<std::string> captions = {"the picture"};
  Picture x = digit;
  const std::size_t pixels = digit.size();
  fmt::print("A digit, and your q_step on each of its pixels, {} times.\n\n", T);
  for (int t = 0; t < T; ++t) {
    const Numbers eps = normal_numbers(static_cast<std::uint64_t>(t), pixels);
    for (std::size_t i = 0; i < pixels; ++i) x[i] = q_step(x[i], 1 - beta[t], eps[i]);
    if (t + 1 == 60 || t + 1 == 200 || t + 1 == T) {
      seen.push_back(x);
      captions.push_back(fmt::format("after {} steps", t + 1));
    }
  }
  print(seen, captions);
  double mean = 0, square = 0;
  for (const double v : x) mean += v / pixels, square += v * v / pixels;
  fmt::print(
      "After all steps √ᾱ_T = {:.4f} of the picture is left. The pixels have mean {:.2f} and "
      "variance {:.2f}; "
      "noise of\nN(0, I) has 0 and 1, give or take {:.2f} and {:.2f} for {} pixels.\n",
      std::sqrt(alpha_bar.back()), mean, square - mean * mean, 1 / std::sqrt(pixels),
      std::sqrt(2.0 / pixels), pixels);
}

}  // namespace exercises
