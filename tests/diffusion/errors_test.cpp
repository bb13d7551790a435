// Wrong arguments and what is said about them.
#include <functional>

#include "diffusion/data/batches.h"
#include "diffusion/forward.h"
#include "diffusion/gaussian.h"
#include "diffusion/names.h"
#include "diffusion/objective.h"
#include "diffusion/sampler.h"
#include "diffusion/spacing.h"
#include "tests/diffusion/support.h"

namespace sfumato::diffusion {
namespace {

using testing::f64;
using testing::times;

struct Case {
  std::function<void()> call;
  std::string message;
};

void expect_messages(const std::vector<Case>& cases) {
  for (const Case& c : cases) try {
      c.call();
      ADD_FAILURE() << "nothing thrown, expected: " << c.message;
    } catch (const Error& e) {
      EXPECT_EQ(e.what(), c.message);
    }
}

SchedulerConfig with(const std::function<void(SchedulerConfig&)>& change) {
  SchedulerConfig config;
  change(config);
  return config;
}

TEST(Errors, Schedule) {
  const auto betas = [](std::vector<double> b) { return [b] { Schedule::from_betas(b); }; };
  expect_messages({
      {[] { Schedule::linear(0); }, "[schedule] expected at least 1 step, got 0"},
      {[] { Schedule::cosine(-1); }, "[schedule] expected at least 1 step, got -1"},
      {betas({}), "[schedule] expected at least 1 step, got 0"},
      {betas({0.1, 0}), "[schedule] beta[1] = 0 is not inside (0, 1) as f32"},
      {betas({1}), "[schedule] beta[0] = 1 is not inside (0, 1) as f32"},
      {betas({1e-9}), "[schedule] beta[0] = 1e-09 is not inside (0, 1) as f32"},
      {betas({NAN}), "[schedule] beta[0] = nan is not inside (0, 1) as f32"},
      {[] { Schedule::linear(10, -0.1, 0.1); },
       "[schedule] expected beta_start and beta_end inside (0, 1), got -0.1 and 0.1"},
      {[] { Schedule::scaled_linear(10, 0.1, 1); },
       "[schedule] expected beta_start and beta_end inside (0, 1), got 0.1 and 1"},
      {[] { Schedule::linear().level(1000); }, "[schedule] t = 1000 is outside -1..999"},
      {[] { Schedule::linear().alpha_bar_at(-2); }, "[schedule] t = -2 is outside -1..999"},
  });
}

TEST(Errors, BatchNumbers) {
  const data::Batches batches(Tensor::zeros({3, 4, 4, 1}, DType::u8), {}, 2, 0);
  EXPECT_EQ(batches.at(std::int64_t{1} << 48).x0.shape(), (Shape{2, 4, 4, 1}));
  expect_messages({
      {[&] { batches.at(-1); }, "[batches] there is no batch number -1 of 2 pictures"},
      {[&] { batches.at(std::int64_t{1} << 50); },
       "[batches] there is no batch number 1125899906842624 of 2 pictures"},
      {[&] { batches.at(std::int64_t{1} << 62); },
       "[batches] there is no batch number 4611686018427387904 of 2 pictures"},
  });
}

TEST(Errors, ForwardAndObjective) {
  const Schedule s = Schedule::linear(10);
  const Tensor x({2, 3}), wide({2, 4}), t = times(2, 9);
  const Prediction kEps = Prediction::eps;
  expect_messages({
      {[&] { q_sample(s, x, times(2, 10), x); }, "[q_sample] t 10 is not in 0..9"},
      {[&] {
         q_step(s, x, Tensor::from<std::int64_t>({2}, {0, -1}), x);
       },
       "[q_step] t -1 is not in 0..9"},
      {[&] { q_sample(s, x, t, Tensor()); }, "[q_sample] eps is undefined"},
      {[&] { q_sample(s, x, Tensor(), x); }, "[q_sample] t is undefined"},
      {[&] { q_sample(s, Tensor(Shape{}), t, Tensor(Shape{})); },
       "[q_sample] x0 has no batch axis"},
      {[&] { q_sample(s, x, t, wide); }, "[q_sample] eps has shape [2, 4], expected [2, 3]"},
      {[&] { q_sample(s, x, times(3, 0), x); }, "[q_sample] t has shape [3], expected [2]"},
      {[&] { q_sample(s, x, Tensor({2}), x); }, "[q_sample] t is f32, expected i64"},
      {[&] {
         q_sample(s, x, t, Tensor({2, 3}, DType::f64));
       },
       "[q_sample] eps is f64, expected f32"},
      {[&] { q_sample(s, Tensor({2}, DType::u8), t, Tensor({2}, DType::u8)); },
       "[q_sample] expected f32 or f64, got u8"},
      {[&] { posterior(s, x, wide, t); }, "[posterior] xt has shape [2, 4], expected [2, 3]"},
      // The kinds that only pass their argument on look at the others too.
      {[&] { target(kEps, s, x, wide, t); }, "[target] eps has shape [2, 4], expected [2, 3]"},
      {[&] { to_eps(kEps, s, wide, x, t); }, "[to_eps] output has shape [2, 4], expected [2, 3]"},
      {[&] { to_x0(kEps, s, x, x, times(2, 10)); }, "[to_x0] t 10 is not in 0..9"},
      {[&] { guided(x, wide, 2); }, "[guided] uncond has shape [2, 4], expected [2, 3]"},
  });
}

TEST(Errors, Names) {
  expect_messages({
      {[] { parse_prediction("noise"); },
       "[prediction_type] \"noise\" is not supported; expected epsilon, sample, v_prediction, "
       "flow_prediction, score, edm, edm_v"},
      {[] { parse_beta_schedule("quadratic"); },
       "[beta_schedule] \"quadratic\" is not supported; expected linear, scaled_linear, "
       "squaredcos_cap_v2, sigmoid, sigmoid_alpha, laplace, exp, karras, edm, flow"},
      {[] { parse_variance("learned"); },
       "[variance_type] \"learned\" is not supported; expected fixed_small, fixed_large, "
       "learned_range"},
      {[] { parse_spacing(""); },
       "[timestep_spacing] \"\" is not supported; expected leading, trailing, linspace, karras, "
       "log_snr, shifted"},
      {[] { parse_sampler("LCMScheduler"); },
       "[scheduler] \"LCMScheduler\" is not supported; expected " + names_in(Sampler::all)},
  });
}

TEST(Errors, SchedulerConfig) {
  const auto refused = [](const std::function<void(SchedulerConfig&)>& change) {
    return [=] { make_schedule(with(change)); };
  };
  expect_messages({
      {refused([](auto& c) { c.num_train_timesteps = 0; }),
       "[scheduler_config] num_train_timesteps: expected 1..1000000, got 0"},
      {refused([](auto& c) {
         c.trained_betas = {0.1, 0.2};
       }),
       "[scheduler_config] trained_betas has 2 values, but num_train_timesteps = 1000"},
      {refused([](auto& c) { c.clip_sample_range = 0; }),
       "[scheduler_config] clip_sample_range: expected a positive number, got 0"},
      {refused([](auto& c) { c.steps_offset = -1; }),
       "[scheduler_config] steps_offset: expected 0..1000000, got -1"},
      {refused([](auto& c) { c.dynamic_thresholding_ratio = 1.5; }),
       "[scheduler_config] dynamic_thresholding_ratio: expected a number in (0, 1], got 1.5"},
      {refused([](auto& c) { c.sample_max_value = 0.5; }),
       "[scheduler_config] sample_max_value: expected a number of at least 1, got 0.5"},
      {refused([](auto& c) { c.shift = 0; }),
       "[scheduler_config] shift: expected a positive number, got 0"},
      {refused([](auto& c) { c.beta_end = 1; }),
       "[schedule] expected beta_start and beta_end inside (0, 1), got 0.0001 and 1"},
  });
}

TEST(Errors, Sampler) {
  const Schedule s = Schedule::linear();
  const SchedulerConfig c;
  const SchedulerConfig ddim = with([](auto& f) { f.sampler = Sampler::ddim; });
  const Tensor x = Tensor::zeros({2, 3}), wide = Tensor::zeros({2, 4});
  const auto chain = [&](SampleOptions options, const Denoiser& denoiser) {
    return [=, &s] { sample(s, options, denoiser, x); };
  };
  const Denoiser zero = [](const Tensor& xt, std::int64_t) {
    return Tensor::zeros(xt.shape(), xt.dtype());
  };
  expect_messages({
      {[&] { timesteps(c, 0); }, "[timesteps] expected 1 to 1000 steps, got 0"},
      {[&] { timesteps(c, 1001); }, "[timesteps] expected 1 to 1000 steps, got 1001"},
      {[&] { sample(s, {}, zero, Tensor()); }, "[sample] xt is undefined"},
      {[&] { sample(s, {}, zero, Tensor(Shape{})); }, "[sample] xt has no batch axis"},
      {chain({.config = ddim, .eta = 1.1}, zero), "[sample] eta = 1.1 is outside [0, 1]"},
      {chain({.config = ddim, .eta = NAN}, zero), "[sample] eta = nan is outside [0, 1]"},
      {chain({.config = with([](auto& f) { f.num_train_timesteps = 10; }), .steps = 5}, zero),
       "[sample] the schedule has 1000 steps, but num_train_timesteps = 10"},
      {chain({.steps = 0}, zero), "[timesteps] expected 1 to 1000 steps, got 0"},
      {chain({}, [&](const Tensor&, std::int64_t) { return wide; }),
       "[sample] output has shape [2, 4], expected [2, 3]"},
      {chain({}, [](const Tensor& xt, std::int64_t) { return xt.to(DType::f64); }),
       "[sample] output is f64, expected f32"},
      {chain({.steps = 10, .first_picture = 4},
             [](const Tensor& xt, std::int64_t t) {
               Tensor y = Tensor::zeros(xt.shape());
               if (t == 700) y.data<float>()[5] = NAN;  // of the second row
               return y;
             }),
       "[sample] picture 5 is no longer finite after step 3 of 10 (t = 700): the network's output "
       "there is nan"},
  });
}

TEST(Errors, Gaussian) {
  const auto call = [](std::vector<Gaussian> mixture, const Tensor& x) {
    return [=] { expected_eps(mixture, variance_preserving(0.5), x); };
  };
  const Tensor x = f64({2, 2}, {0, 0, 0, 0});
  expect_messages({
      {call({}, x), "[expected_eps] the weights of the mixture sum to 0"},
      {call({{.weight = -1, .mean = {0, 0}, .covariance = {1, 1}}}, x),
       "[expected_eps] weight -1 is negative"},
      {call({{.mean = {0, 0}, .covariance = {1, 1, 1}}}, x),
       "[expected_eps] expected 2 or 4 numbers of covariance, got 3"},
      {call({{.mean = {0, 0}, .covariance = {1, 9, 9, 1}}}, x),
       "[expected_eps] the covariance is not positive definite"},
      {call({{.mean = {0}, .covariance = {1}}}, x),
       "[expected_eps] xt [2, 2] does not have 1 numbers a row"},
  });
}

}  // namespace
}  // namespace sfumato::diffusion
