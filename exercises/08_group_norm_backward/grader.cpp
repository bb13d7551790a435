#include "common/grader.h"

#include <fmt/format.h>

#include <cmath>

#include "08_group_norm_backward/exercise.h"
#include "autograd/ops.h"
#include "common/pictures.h"

namespace exercises {

const Exercise kExercise = {8, "08_group_norm_backward", "GroupNorm's backward pass"};

namespace {

constexpr int kPixels = 6, kChannels = 3, kN = kPixels * kChannels;
constexpr double kEps = 1e-2;  // large, so that it is missed where it is forgotten

struct Data {
  Numbers x = normal_numbers(1, kN), dy = normal_numbers(2, kN), gamma = {0.5, 2, -1.5};
  double mean = 0, variance = 0, r = 0;
  Data() {
    for (double& v : x) v = 2 * v + 1;
    for (const double v : x) mean += v / kN;
    for (const double v : x) variance += (v - mean) * (v - mean) / kN;
    r = 1 / std::sqrt(variance + kEps);
  }
  double xhat(std::size_t i) const { return (x[i] - mean) * r; }
  double g(std::size_t i) const { return dy[i] * gamma[i % kChannels]; }
};
const Data& data() {
  static const Data made;
  return made;
}

GroupNormGradients yours() {
  return group_norm_backward(data().x, kChannels, data().gamma, data().dy, kEps);
}

GroupNormGradients library() {
  const auto tensor = [](const sfumato::Shape& shape, const Numbers& v) {
    return sfumato::Tensor::from<double>(shape, std::span<const double>(v));
  };
  const sfumato::Var x(tensor({1, kPixels, 1, kChannels}, data().x), true),
      gamma(tensor({kChannels}, data().gamma), true),
      beta(sfumato::Tensor::zeros({kChannels}, sfumato::DType::f64), true);
  group_norm(x, gamma, beta, 1, kEps).backward(tensor({1, kPixels, 1, kChannels}, data().dy));
  const auto numbers = [](const sfumato::Var& v) {
    const auto values = v.grad().values<double>();
    return Numbers(values.begin(), values.end());
  };
  return {numbers(x), numbers(gamma), numbers(beta)};
}

// The sums of f(i) over the elements of each channel.
template <class F>
Numbers per_channel(F f) {
  Numbers sums(kChannels, 0);
  for (std::size_t i = 0; i < kN; ++i) sums[i % kChannels] += f(i);
  return sums;
}

// f(i, g_i, x̂_i, mean of g, mean of g x̂) of each element, where g is `of(i)`.
template <class F, class G>
Numbers per_element(F f, G of) {
  double mean_g = 0, mean_gx = 0;
  for (std::size_t i = 0; i < kN; ++i) mean_g += of(i) / kN, mean_gx += of(i) * data().xhat(i) / kN;
  Numbers numbers;
  for (std::size_t i = 0; i < kN; ++i) numbers.push_back(f(of(i), data().xhat(i), mean_g, mean_gx));
  return numbers;
}

std::string at_channel(std::size_t c) { return fmt::format("channel {}", c); }

Check check_dbeta() {
  return {.function = "dbeta",
          .quantity = "dL/dβ",
          .yours = [] { return yours().dbeta; },
          .right = library().dbeta,
          .at = at_channel,
          .mistakes = {{"times_gamma",
                        "β_c is added after γ: dL/dβ_c does not depend on γ. It is the sum of dy.",
                        per_channel([](std::size_t i) { return data().g(i); })},
                       {"mean",
                        "Yours is the mean of dy over the pixels; β_c is added to each of them, so "
                        "their sum is asked for.",
                        per_channel([](std::size_t i) { return data().dy[i] / kPixels; })},
                       {"dgamma", "Yours is dL/dγ; β is added, not multiplied.",
                        per_channel([](std::size_t i) { return data().dy[i] * data().xhat(i); })},
                       {"times_r", "dL/dβ does not depend on the variance: leave out r.",
                        per_channel([](std::size_t i) { return data().dy[i] * data().r; })}}};
}

Check check_dgamma() {
  return {
      .function = "dgamma",
      .quantity = "dL/dγ",
      .yours = [] { return yours().dgamma; },
      .right = library().dgamma,
      .at = at_channel,
      .mistakes = {
          {"x_not_normalised", "You multiplied dy by x. γ stands before x̂, the normalised one.",
           per_channel([](std::size_t i) { return data().dy[i] * data().x[i]; })},
          {"x_not_scaled", "You multiplied dy by x − mean; γ stands before x̂ = (x − mean) r.",
           per_channel([](std::size_t i) { return data().dy[i] * (data().x[i] - data().mean); })},
          {"times_gamma", "dL/dγ does not contain γ: y = γ x̂ + β is linear in it.",
           per_channel([](std::size_t i) { return data().g(i) * data().xhat(i); })},
          {"sum_of_dy", "Yours is dL/dβ; γ multiplies x̂, so each dy is multiplied by x̂.",
           per_channel([](std::size_t i) { return data().dy[i]; })},
          {"mean", "Yours is the mean over the pixels; their sum is asked for.",
           per_channel([](std::size_t i) { return data().dy[i] * data().xhat(i) / kPixels; })}}};
}

Check check_dx() {
  const auto g = [](std::size_t i) { return data().g(i); };
  const double r = data().r;
  const auto right = [=](double gi, double xhat, double mg, double mgx) {
    return r * (gi - mg - xhat * mgx);
  };
  return {
      .function = "dx",
      .quantity = "dL/dx",
      .yours = [] { return yours().dx; },
      .right = library().dx,
      .at = [](std::size_t i) { return fmt::format("element {}", i); },
      .mistakes =
          {{"statistics_constant",
            "Yours treats mean and variance as constants: r g. But each x_i changes them too, and "
            "through them every x̂.",
            per_element([=](double gi, double, double, double) { return r * gi; }, g)},
           {"variance_constant",
            "The last term is missing, − x̂ mean(g x̂): each x_i changes the variance too.",
            per_element([=](double gi, double, double mg, double) { return r * (gi - mg); }, g)},
           {"mean_constant", "The term − mean(g) is missing: each x_i changes the mean too.",
            per_element(
                [=](double gi, double xhat, double, double mgx) { return r * (gi - xhat * mgx); },
                g)},
           {"gamma_missing", "Your g is dy. x̂ is multiplied by γ_c first: g = γ_c dy.",
            per_element(right, [](std::size_t i) { return data().dy[i]; })},
           {"xhat_missing", "In the last term x̂ is missing: x̂_i times the mean of g x̂.",
            per_element(
                [=](double gi, double, double mg, double mgx) { return r * (gi - mg - mgx); }, g)},
           {"r_missing", "The factor r = 1/√(variance + eps) in front is missing.",
            per_element(
                [=](double gi, double xhat, double mg, double mgx) { return gi - mg - xhat * mgx; },
                g)},
           {"r_on_first", "r multiplies all three terms: brackets are missing.",
            per_element([=](double gi, double xhat, double mg,
                            double mgx) { return r * gi - mg - xhat * mgx; },
                        g)},
           {"r_squared", "There is one r too many.",
            per_element([=](double gi, double xhat, double mg,
                            double mgx) { return r * r * (gi - mg - xhat * mgx); },
                        g)},
           {"plus", "The last term has the wrong sign.",
            per_element([=](double gi, double xhat, double mg,
                            double mgx) { return r * (gi - mg + xhat * mgx); },
                        g)}}};
}

}  // namespace

void grade(Grader& grader) {
  grader.check(check_dbeta());
  grader.check(check_dgamma());
  grader.check(check_dx());
}

void show() {
  const GroupNormGradients g = yours();
  double sum = 0, along = 0;
  for (std::size_t i = 0; i < kN; ++i) sum += g.dx[i], along += g.dx[i] * data().xhat(i);
  fmt::print(
      "Your dx sums to {:.1e}: a step along the gradient does not move the mean, which is "
      "normalised away.\n"
      "And its product with x̂ is {:.1e}: nor does it stretch x, but for eps = {}.\n",
      sum, along, kEps);
}

}  // namespace exercises
