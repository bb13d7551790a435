#include "diffusion/objective.h"

#include "diffusion/forward.h"
#include "diffusion/mix.h"
#include "diffusion/names.h"

namespace sfumato::diffusion {
namespace {

constexpr EnumName<Prediction> kNames[] = {
    {Prediction::eps, "eps", "epsilon"},
    {Prediction::x0, "x0", "sample"},
    {Prediction::v, "v", "v_prediction"},
};

NoiseLevel level(const Schedule& schedule, std::int64_t t) {
  return noise_level(schedule.alpha_bar_at(t));
}

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
  const char* op = "target";
  expect_batch(op, schedule, t, {"x0", x0}, {"eps", eps});
  Weights (*weights)(const Schedule&, std::int64_t) = nullptr;  // of x0 and eps
  switch (prediction) {
    case Prediction::eps:
      return eps;
    case Prediction::x0:
      return x0;
    case Prediction::v:
      weights = [](const Schedule& s, std::int64_t i) {
        return Weights{-level(s, i).noise, level(s, i).signal};
      };
  }
  return mix(op, schedule, t, weights, {"x0", x0}, {"eps", eps});
}

Tensor to_x0(Prediction prediction, const Schedule& schedule, const Tensor& output,
             const Tensor& xt, const Tensor& t) {
  const char* op = "to_x0";
  expect_batch(op, schedule, t, {"xt", xt}, {"output", output});
  Weights (*weights)(const Schedule&, std::int64_t) = nullptr;  // of xt and output
  switch (prediction) {
    case Prediction::eps:
      weights = [](const Schedule& s, std::int64_t i) {
        return Weights{1 / level(s, i).signal, -level(s, i).noise / level(s, i).signal};
      };
      break;
    case Prediction::x0:
      return output;
    case Prediction::v:
      weights = [](const Schedule& s, std::int64_t i) {
        return Weights{level(s, i).signal, -level(s, i).noise};
      };
  }
  return mix(op, schedule, t, weights, {"xt", xt}, {"output", output});
}

Tensor to_eps(Prediction prediction, const Schedule& schedule, const Tensor& output,
              const Tensor& xt, const Tensor& t) {
  const char* op = "to_eps";
  expect_batch(op, schedule, t, {"xt", xt}, {"output", output});
  Weights (*weights)(const Schedule&, std::int64_t) = nullptr;  // of xt and output
  switch (prediction) {
    case Prediction::eps:
      return output;
    case Prediction::x0:
      weights = [](const Schedule& s, std::int64_t i) {
        return Weights{1 / level(s, i).noise, -level(s, i).signal / level(s, i).noise};
      };
      break;
    case Prediction::v:
      weights = [](const Schedule& s, std::int64_t i) {
        return Weights{level(s, i).noise, level(s, i).signal};
      };
  }
  return mix(op, schedule, t, weights, {"xt", xt}, {"output", output});
}

Tensor guided(const Tensor& cond, const Tensor& uncond, double w) {
  return mix("guided", {w, 1 - w}, {"cond", cond}, {"uncond", uncond});
}

}  // namespace sfumato::diffusion
