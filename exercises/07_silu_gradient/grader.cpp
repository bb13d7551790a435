#include "common/grader.h"

#include <fmt/format.h>

#include <cmath>

#include "07_silu_gradient/exercise.h"
#include "autograd/ops.h"

namespace exercises {

const Exercise kExercise = {7, "07_silu_gradient", "the gradient of SiLU"};

namespace {

const Numbers kX = {-1000, -5, -1.3, -0.4, 0, 0.25, 1, 2.5, 6, 1000};

std::string at_x(std::size_t i) { return fmt::format("x = {}", kX[i]); }
double sigmoid(double x) { return 1 / (1 + std::exp(-x)); }
double dy_at(std::size_t i) { return 0.5 - 0.3 * static_cast<double>(i); }

// The library's values and gradients at kX.
Numbers library(bool gradient) {
  const auto n = static_cast<std::int64_t>(kX.size());
  Numbers dy;
  for (std::size_t i = 0; i < kX.size(); ++i) dy.push_back(dy_at(i));
  const auto tensor = [&](const Numbers& v) {
    return sfumato::Tensor::from<double>({n}, std::span<const double>(v));
  };
  const sfumato::Var x(tensor(kX), true), y = sfumato::silu(x);
  y.backward(tensor(dy));
  const auto values = gradient ? x.grad().values<double>() : y.value().values<double>();
  return {values.begin(), values.end()};
}

// f(x, σ(x), dy) at kX.
template <class F>
Numbers with(F f) {
  Numbers numbers;
  for (std::size_t i = 0; i < kX.size(); ++i) numbers.push_back(f(kX[i], sigmoid(kX[i]), dy_at(i)));
  return numbers;
}

Check check_silu() {
  return {.function = "silu",
          .quantity = "y",
          .yours = [] { return each(kX, [](double x) { return silu(x); }); },
          .right = library(false),
          .at = at_x,
          .mistakes = {{"overflow",
                        "Right in between, but e^x is infinite at x = 1000, and infinity over "
                        "infinity is no number. Write it with "
                        "e^{−x}.",
                        each(kX, [](double x) { return x * std::exp(x) / (1 + std::exp(x)); })},
                       {"sigmoid", "Yours is the sigmoid σ(x). SiLU is x σ(x).",
                        with([](double, double s, double) { return s; })},
                       {"sign", "You have e^x where e^{−x} is asked for: that is x σ(−x).",
                        with([](double x, double, double) { return x * sigmoid(-x); })},
                       {"relu", "Yours is ReLU, max(0, x). SiLU is a smooth one.",
                        with([](double x, double, double) { return std::max(0.0, x); })},
                       {"tanh", "Yours is x tanh(x).",
                        with([](double x, double, double) { return x * std::tanh(x); })}}};
}

Check check_gradient() {
  return {
      .function = "silu_gradient",
      .quantity = "dL/dx",
      .yours =
          [] { return with([](double x, double, double dy) { return silu_gradient(x, dy); }); },
      .right = library(true),
      .at = at_x,
      .mistakes = {
          {"without_dy",
           "Yours is dy/dx. The chain rule wants dL/dx = dL/dy · dy/dx: multiply by dy.",
           with([](double x, double s, double) { return s + x * s * (1 - s); })},
          {"one_term", "The product rule has two terms: σ + x σ'. You have the first one alone.",
           with([](double, double s, double dy) { return dy * s; })},
          {"other_term", "The product rule has two terms: σ + x σ'. You have the second one alone.",
           with([](double x, double s, double dy) { return dy * x * s * (1 - s); })},
          {"x_missing", "In the second term x is missing: σ + x σ'.",
           with([](double, double s, double dy) { return dy * (s + s * (1 - s)); })},
          {"derivative_of_sigmoid", "Yours is σ' = σ (1 − σ), the sigmoid's derivative.",
           with([](double, double s, double dy) { return dy * s * (1 - s); })},
          {"sigmoid_derivative_wrong", "The derivative of σ is σ (1 − σ); you have 1 − σ.",
           with([](double x, double s, double dy) { return dy * (s + x * (1 - s)); })},
          {"times_x", "Yours is multiplied by x once too often.",
           with([](double x, double s, double dy) { return dy * x * (s + x * s * (1 - s)); })}}};
}

Check check_numerical() {
  const Numbers xs = {0.5, 1, -2, 3};
  const double h = 0.1;  // large, so that the ways to do it differ
  const auto f = [](double x) { return x * x * x; };
  const auto with_f = [=](auto way) { return each(xs, [=](double x) { return way(x); }); };
  return {
      .function = "numerical_gradient",
      .quantity = "slope of x³",
      .yours = [=] { return each(xs, [=](double x) { return numerical_gradient(f, x, h); }); },
      .right = with_f([=](double x) { return (f(x + h) - f(x - h)) / (2 * h); }),
      .at = [=](std::size_t i) { return fmt::format("x = {}, h = {}", xs[i], h); },
      .mistakes =
          {{"one_sided",
            "You went to the right only. Its error shrinks with h, that of the central difference "
            "with h².",
            with_f([=](double x) { return (f(x + h) - f(x)) / h; })},
           {"one_sided_left", "You went to the left only. The central difference is much better.",
            with_f([=](double x) { return (f(x) - f(x - h)) / h; })},
           {"divided_by_h", "From x − h to x + h it is 2h, not h: yours is twice too large.",
            with_f([=](double x) { return (f(x + h) - f(x - h)) / h; })},
           {"brackets",
            "/ 2 * h divides by 2 and multiplies by h, from left to right. Write / (2 * h).",
            with_f([=](double x) { return (f(x + h) - f(x - h)) / 2 * h; })},
           {"sign", "The difference has the wrong sign: f to the right minus f to the left.",
            with_f([=](double x) { return (f(x - h) - f(x + h)) / (2 * h); })}}};
}

}  // namespace

void grade(Grader& grader) {
  grader.check(check_silu());
  grader.check(check_gradient());
  grader.check(check_numerical());
}

void show() {
  fmt::print(
      "At x = 1.5, with dy = 1, your gradient is {:.12f}. Your central differences differ from it "
      "by\n\n",
      silu_gradient(1.5, 1));
  for (int e = 0; e <= 12; e += 2) {
    const double h = std::pow(10.0, -e);
    fmt::print("  h = 1e-{:<3} {:.1e}\n", e,
               std::abs(numerical_gradient(silu, 1.5, h) - silu_gradient(1.5, 1)));
  }
  fmt::print(
      "\nThe error falls with h², until the rounding of doubles, about 1e-16 / h, takes over.\n");
}

}  // namespace exercises
