#include "common/grader.h"

#include <fmt/format.h>

#include <cmath>

#include "09_own_layer/exercise.h"
#include "common/pictures.h"
#include "nn/conformance.h"

namespace exercises {

const Exercise kExercise = {9, "09_own_layer", "a layer of one's own"};

namespace {

using sfumato::Shape;
using sfumato::Tensor;
namespace nn = sfumato::nn;

constexpr std::int64_t kC = 4, kPixels = 2 * 3 * 3;
const Shape kShape = {2, 3, 3, kC};
constexpr double kGamma[kC] = {1, 0.5, -2, 3};

// What is wrong with the parameters that the layer made.
std::optional<Fault> parameters() {
  nn::Params params(0, sfumato::DType::f64);
  const RmsNorm layer(params, kC);
  if (params.entries().size() != 1)
    return Fault{"count", fmt::format("It makes {} parameters; one is asked for, γ.",
                                      params.entries().size())};
  const nn::Params::Entry& entry = params.entries().front();
  const std::string& name = entry.name;
  const sfumato::Var& var = entry.var;
  if (name != "gamma")
    return Fault{"name",
                 fmt::format("Its parameter is called \"{}\"; \"gamma\" is asked for.", name)};
  if (var.shape() != Shape({kC}))
    return Fault{
        "shape",
        fmt::format("γ has the shape {}; one number for each of the {} channels is asked for.",
                    var.shape().str(), kC)};
  for (const double g : var.value().values<double>()) {
    if (g != 1) {
      return Fault{
          "start",
          fmt::format(
              "γ begins at {:.3g}; it should begin at 1: nn::ones(). (At 0 the layer would let "
              "nothing through.)",
              g)};
    }
  }
  return {};
}

Numbers input() { return normal_numbers(5, kPixels * kC); }

Numbers yours() {
  nn::Params params(0, sfumato::DType::f64);
  const RmsNorm layer(params, kC);
  Tensor gamma = params.entries().front().var.value();
  for (std::size_t c = 0; c < kC; ++c) gamma.values<double>()[c] = kGamma[c];
  const Numbers x = input();
  const sfumato::Var y = layer(Tensor::from<double>(kShape, std::span<const double>(x)));
  if (y.shape() != kShape)
    throw sfumato::Error("the layer",
                         fmt::format("gives {}; {} is asked for", y.shape().str(), kShape.str()));
  const auto values = y.value().values<double>();
  return {values.begin(), values.end()};
}

// f(x, γ, Σ x over the pixel, Σ x² over the pixel, Σ x² over all) of each element.
template <class F>
Numbers with(F f) {
  const Numbers x = input();
  double all = 0;
  for (const double v : x) all += v * v;
  Numbers y;
  for (std::size_t i = 0; i < x.size(); ++i) {
    double sum = 0, square = 0;
    for (std::size_t j = i / kC * kC; j < i / kC * kC + kC; ++j) sum += x[j], square += x[j] * x[j];
    y.push_back(f(x[i], kGamma[i % kC], sum, square, all));
  }
  return y;
}

Check check_values() {
  const double C = kC, all_count = kPixels * kC, e = kRmsEps;
  return {
      .function = "RmsNorm: y",
      .quantity = "y",
      .yours = yours,
      .right = with([=](double x, double g, double, double sq, double) {
        return g * x / std::sqrt(sq / C + e);
      }),
      .at = [](std::size_t i) { return fmt::format("pixel {}, channel {}", i / kC, i % kC); },
      .mistakes = {
          {"sum", "You took the sum of x², not its mean: divide by the channels.",
           with([=](double x, double g, double, double sq, double) {
             return g * x / std::sqrt(sq + e);
           })},
          {"no_root", "You divide by the mean square itself; its root is asked for.",
           with([=](double x, double g, double, double sq, double) {
             return g * x / (sq / C + e);
           })},
          {"no_gamma", "γ takes no part.", with([=](double x, double, double, double sq, double) {
             return x / std::sqrt(sq / C + e);
           })},
          {"over_all",
           "You took the mean over all pixels and images. It is over the channels of each pixel: "
           "[n, h, w, 1].",
           with([=](double x, double g, double, double, double all) {
             return g * x / std::sqrt(all / all_count + e);
           })},
          {"eps_outside", "eps is added to the root; it belongs under it.",
           with([=](double x, double g, double, double sq, double) {
             return g * x / (std::sqrt(sq / C) + e);
           })},
          {"no_eps", "eps is missing: a pixel of zeros would give 0/0.",
           with([=](double x, double g, double, double sq, double) {
             return g * x / std::sqrt(sq / C);
           })},
          {"layer_norm", "Yours subtracts the mean: that is LayerNorm. RMSNorm only divides.",
           with([=](double x, double g, double s, double sq, double) {
             const double m = s / C;
             return g * (x - m) / std::sqrt(sq / C - m * m + e);
           })},
          {"mean_not_squared", "You took the mean of x, and not of x².",
           with([=](double x, double g, double s, double, double) {
             return g * x / std::sqrt(s / C + e);
           })},
          {"multiplied", "You multiply by the root; divide by it.",
           with([=](double x, double g, double, double sq, double) {
             return g * x * std::sqrt(sq / C + e);
           })}}};
}

std::optional<Fault> conforms() {
  nn::check_layer({.name = "rms_norm",
                   .make = [](const nn::Scope& s) { return RmsNorm(s, kC); },
                   .input = {2, 3, 5, kC},
                   .output = {2, 3, 5, kC}});
  return {};
}

}  // namespace

void grade(Grader& grader) {
  grader.check("RmsNorm: its parameter", parameters);
  grader.check(check_values());
  grader.check("RmsNorm: the conformance kit", conforms);
}

void show() {
  fmt::print(
      "The kit of nn/conformance.h has compared the gradients of x and γ with central differences, "
      "saved γ to a file "
      "and\nread it back, and run your layer on 1, 2 and 3 threads: the same bits. You wrote no "
      "gradient: it follows "
      "from\nthe operations that you used.\n");
}

}  // namespace exercises
