// A few steps of training a tiny network, as apps/train.cpp makes them, for tests of the device.
#pragma once
#include <cmath>
#include <span>
#include <vector>

#include "autograd/ops.h"
#include "diffusion/data/batches.h"
#include "diffusion/forward.h"
#include "diffusion/objective.h"
#include "diffusion/pipeline.h"
#include "nn/optim.h"
#include "nn/precision.h"
#include "nn/presets.h"
#include "tensor/arrivals.h"
#include "tensor/recorded.h"

namespace sfumato::testing {

inline constexpr std::int64_t kPictures = 11, kSize = 8, kBatch = 4, kClasses = 3;

inline nn::UNetConfig tiny_config() {
  nn::UNetConfig config = nn::preset("tiny", /*channels=*/1, /*class_rows=*/kClasses + 1);
  config.conditioning.null_label = kClasses;
  config.dropout = 0.1;
  return config;
}

inline diffusion::Pipeline tiny_model() {
  diffusion::Pipeline model =
      diffusion::make_pipeline(tiny_config(), diffusion::default_scheduler(), /*seed=*/1);
  model.network->sample_size = {kSize, kSize};
  return model;
}

inline Tensor pictures() {
  Tensor images({kPictures, kSize, kSize, 1}, DType::u8);
  for (std::int64_t i = 0; i < images.size(); ++i)
    images.data<std::uint8_t>()[i] = static_cast<std::uint8_t>(i * i % 251);
  return images;
}

struct Trained {
  std::vector<double> losses, norms;
  Tensor weights, average;
};

struct How {
  Device device = Device::cuda;
  nn::Precision precision = nn::Precision::f32;
  bool eager = false;  // nothing is recorded
  bool muon = false;
};

// As apps/train.cpp does it.
inline Trained train(std::int64_t steps, const How& how) {
  const Device device = how.device;
  const diffusion::Pipeline model = tiny_model();
  nn::Params& params = *model.params;
  nn::use(params, device, how.precision);
  const diffusion::Schedule schedule = diffusion::make_schedule(model.scheduler);
  const data::Batches batches(pictures().to(device),
                              Rng(3).randint({kPictures}, kClasses).to(device), kBatch, 5, kClasses,
                              0.2);
  nn::AdamW adam(params, {.weight_decay = 0.01, .muon = how.muon});
  nn::Ema ema(params, 0.99);
  const Recorded::Function gradient = [&](std::span<const Tensor> in) -> std::vector<Tensor> {
    const Tensor& k = in[0];
    const auto [x0, label] = batches.at(k);
    const Tensor t = Rng(5, Purpose::timestep, k).randint({kBatch}, schedule.steps());
    const Tensor eps = Rng(5, Purpose::noise, k).normal(x0.shape());
    const Tensor xt = diffusion::q_sample(schedule, x0, t, eps);
    const Tensor target = diffusion::target(diffusion::Prediction::v, schedule, x0, eps, t);
    params.zero_grad();
    const Var loss =
        mse((*model.network)(xt, t, label, {.training = true, .seed = 5, .step = k}), target);
    loss.backward();
    return {loss.value(), nn::gradient_norm(params)};
  };
  const Recorded::Function update = [&](std::span<const Tensor> in) -> std::vector<Tensor> {
    adam.step(in[0], {.norm = in[1], .max_norm = 1}, &ema);
    return {};
  };
  Recorded recorded_gradient(device, gradient), recorded_update(device, update);
  const auto call = [&](Recorded& recorded, const Recorded::Function& f, std::vector<Tensor> in) {
    if (!how.eager) return std::vector<Tensor>(recorded(in));
    for (Tensor& x : in) x = x.to(device);
    return f(in);
  };
  Trained result;
  Arrivals arrivals(device, 2, [&](std::span<const double> row) {
    result.losses.push_back(row[0]);
    result.norms.push_back(row[1]);
  });
  for (std::int64_t k = 0; k < steps; ++k) {
    const auto out = call(recorded_gradient, gradient, {Tensor::from<std::int64_t>({}, {k})});
    arrivals.send({out[0], out[1]});
    call(recorded_update, update, {adam.rates(1e-3, &ema), out[1]});
  }
  arrivals.drain();
  result.weights = params.in_order(params.flat_values());
  result.average = params.in_order(ema.average);
  return result;
}

inline double relative_distance(const Tensor& a, const Tensor& b) {
  double difference = 0, size = 0;
  for (std::int64_t i = 0; i < a.size(); ++i) {
    const double x = a.data<float>()[i], y = b.data<float>()[i];
    difference += (x - y) * (x - y);
    size += y * y;
  }
  return std::sqrt(difference / size);
}

}  // namespace sfumato::testing
