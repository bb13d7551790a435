#include "diffusion/objective.h"

#include "diffusion/expect.h"
#include "diffusion/forward.h"
#include "diffusion/names.h"

namespace sfumato::diffusion {
namespace {

constexpr EnumName<Prediction> kNames[] = {
    {Prediction::eps, "eps", "epsilon"},
    {Prediction::x0, "x0", "sample"},
    {Prediction::v, "v", "v_prediction"},
};

}  // namespace

const char* name(Prediction prediction) { return find_name(kNames, prediction).name; }

const char* diffusers_name(Prediction prediction) {
  return find_name(kNames, prediction).diffusers;
}

Prediction parse_prediction(std::string_view name) {
  return parse_name("prediction_type", kNames, name);
}

Tensor target(Prediction prediction, const Schedule& schedule, const Tensor& x0, const Tensor& eps,
              const Tensor& t) {
  expect_batch("target", schedule, t, {"x0", x0}, {"eps", eps});
  const auto [signal, noise] = levels(schedule.alpha_bar, t);
  switch (prediction) {
    case Prediction::eps:
      return eps;
    case Prediction::x0:
      return x0;
    case Prediction::v:
      return signal * eps - noise * x0;
  }
  throw Error("target", "the prediction is no enumerator");
}

Tensor to_x0(Prediction prediction, const Schedule& schedule, const Tensor& output,
             const Tensor& xt, const Tensor& t) {
  expect_batch("to_x0", schedule, t, {"xt", xt}, {"output", output});
  const auto [signal, noise] = levels(schedule.alpha_bar, t);
  switch (prediction) {
    case Prediction::eps:
      return 1 / signal * xt - noise / signal * output;
    case Prediction::x0:
      return output;
    case Prediction::v:
      return signal * xt - noise * output;
  }
  throw Error("to_x0", "the prediction is no enumerator");
}

Tensor to_eps(Prediction prediction, const Schedule& schedule, const Tensor& output,
              const Tensor& xt, const Tensor& t) {
  expect_batch("to_eps", schedule, t, {"xt", xt}, {"output", output});
  const auto [signal, noise] = levels(schedule.alpha_bar, t);
  switch (prediction) {
    case Prediction::eps:
      return output;
    case Prediction::x0:
      return 1 / noise * xt - signal / noise * output;
    case Prediction::v:
      return noise * xt + signal * output;
  }
  throw Error("to_eps", "the prediction is no enumerator");
}

Tensor guided(const Tensor& cond, const Tensor& uncond, double w) {
  expect_alike("guided", {"cond", cond}, {"uncond", uncond});
  return w * cond + (1 - w) * uncond;
}

}  // namespace sfumato::diffusion
