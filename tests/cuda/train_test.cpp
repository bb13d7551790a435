// Training and sampling on the device: the same numbers as on the CPU, and few launches.
#include <cmath>
#include <filesystem>
#include <functional>
#include <vector>

#include "autograd/ops.h"
#include "cuda/runtime.h"
#include "diffusion/data/batches.h"
#include "diffusion/forward.h"
#include "diffusion/generate.h"
#include "diffusion/objective.h"
#include "diffusion/sampler.h"
#include "nn/optim.h"
#include "nn/presets.h"
#include "nn/unet.h"
#include "tensor/arrivals.h"
#include "tensor/recorded.h"
#include "tests/cuda/device_test.h"

namespace sfumato {
namespace {

namespace fs = std::filesystem;

constexpr std::int64_t kPictures = 11, kSize = 8, kBatch = 4, kClasses = 3;

diffusion::Pipeline tiny_model() {
  nn::UNetConfig config = nn::preset("tiny", /*channels=*/1, /*class_rows=*/kClasses + 1);
  config.conditioning.null_label = kClasses;
  config.dropout = 0.1;
  diffusion::Pipeline model =
      diffusion::make_pipeline(config, diffusion::default_scheduler(), /*seed=*/1);
  model.sample_size = {kSize, kSize};
  return model;
}

Tensor pictures() {
  Tensor images({kPictures, kSize, kSize, 1}, DType::u8);
  for (std::int64_t i = 0; i < images.size(); ++i)
    images.data<std::uint8_t>()[i] = static_cast<std::uint8_t>(i * i % 251);
  return images;
}

struct Trained {
  std::vector<double> losses, norms;
  Tensor weights, average;
  std::uint64_t launches = 0;  // of the last step
};

// As apps/train.cpp does it.
Trained train(Device device, std::int64_t steps) {
  const diffusion::Pipeline model = tiny_model();
  nn::Params& params = *model.params;
  params.to(device);
  const diffusion::Schedule schedule = diffusion::make_schedule(model.scheduler);
  const data::Batches batches(pictures().to(device),
                              Rng(3).randint({kPictures}, kClasses).to(device), kBatch, 5, kClasses,
                              0.2);
  nn::AdamW adam(params, {.weight_decay = 0.01});
  nn::Ema ema(params, 0.99);
  Recorded gradient(device, [&](std::span<const Tensor> in) -> std::vector<Tensor> {
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
  });
  Recorded update(device, [&](std::span<const Tensor> in) -> std::vector<Tensor> {
    adam.step(in[0], {.norm = in[1], .max_norm = 1}, &ema);
    return {};
  });
  Trained result;
  Arrivals arrivals(device, 2, [&](std::span<const double> row) {
    result.losses.push_back(row[0]);
    result.norms.push_back(row[1]);
  });
  for (std::int64_t k = 0; k < steps; ++k) {
    const std::vector<Tensor>& out = gradient({Tensor::from<std::int64_t>({}, {k})});
    arrivals.send({out[0], out[1]});
    update({adam.rates(1e-3, &ema), out[1]});
  }
  arrivals.drain();
  result.weights = params.flat_values().to(Device::cpu);
  result.average = ema.average.to(Device::cpu);
  return result;
}

double relative_distance(const Tensor& a, const Tensor& b) {
  double difference = 0, size = 0;
  for (std::int64_t i = 0; i < a.size(); ++i) {
    const double x = a.data<float>()[i], y = b.data<float>()[i];
    difference += (x - y) * (x - y);
    size += y * y;
  }
  return std::sqrt(difference / size);
}

using DeviceTraining = DeviceTest;

TEST_F(DeviceTraining, TwentyStepsAreThoseOfTheCpu) {
  constexpr std::int64_t kSteps = 20;
  const Trained cpu = train(Device::cpu, kSteps), gpu = train(Device::cuda, kSteps);
  ASSERT_EQ(cpu.losses.size(), static_cast<std::size_t>(kSteps));
  ASSERT_EQ(gpu.losses.size(), static_cast<std::size_t>(kSteps));
  for (std::size_t k = 0; k < cpu.losses.size(); ++k) {
    EXPECT_NEAR(gpu.losses[k], cpu.losses[k], 1e-4 * cpu.losses[k]) << "step " << k;
    EXPECT_NEAR(gpu.norms[k], cpu.norms[k], 1e-4 * cpu.norms[k]) << "step " << k;
  }
  // A bias that a normalisation takes away again has rounding for a gradient, and AdamW makes steps of the learning rate
  // of it.
  EXPECT_LT(relative_distance(gpu.weights, cpu.weights), 2e-3);
  EXPECT_LT(relative_distance(gpu.average, cpu.average), 2e-3);
}

TEST_F(DeviceTraining, TheSameSeedGivesTheSameBits) {
  const Trained first = train(Device::cuda, 5), again = train(Device::cuda, 5);
  EXPECT_EQ(first.losses, again.losses);
  EXPECT_EQ(relative_distance(first.weights, again.weights), 0);
}

TEST_F(DeviceTraining, PicturesAreThoseOfTheCpu) {
  const auto draw = [](Device device) {
    const diffusion::Pipeline model = tiny_model();
    model.params->to(device);
    diffusion::GenerateOptions o;
    o.labels = {0, 1, 2, 0, 1}, o.steps = 6, o.guidance = 2, o.batch = 3;
    return diffusion::generate(model, o);
  };
  const Tensor cpu = draw(Device::cpu), gpu = draw(Device::cuda);
  int different = 0;
  for (std::int64_t i = 0; i < cpu.size(); ++i) {
    const int difference = std::abs(cpu.data<std::uint8_t>()[i] - gpu.data<std::uint8_t>()[i]);
    EXPECT_LE(difference, 1);
    different += difference;
  }
  EXPECT_LE(different, cpu.size() / 20);
}

// Nobody waits at each step; what was found arrives some steps later.
TEST_F(DeviceTraining, APictureThatIsNotFiniteIsNamed) {
  std::int64_t calls = 0;
  const auto denoiser = [&](const Tensor& xt, double) {
    Tensor y = Tensor::zeros(xt.shape());
    if (++calls == 3) y.data<float>()[5] = NAN;  // of the second row
    return y.to(Device::cuda);
  };
  const diffusion::SampleOptions options{.steps = 12, .first_picture = 4};
  const Tensor x = Tensor::zeros({2, 3}).to(Device::cuda);
  expect_error([&] { diffusion::sample(diffusion::Schedule::linear(), options, denoiser, x); },
               "[sample] picture 5 is no longer finite after step 3 of 12");
  EXPECT_EQ(calls, Arrivals::kSlots + 1);
}

// A launch takes a GPU about 2 us, however little it computes: in small networks they are the time of a step.
TEST_F(DeviceTraining, LaunchesOfAStepOfHf2AreCounted) {
  const io::JsonObject config =
      io::JsonObject::read(fs::path(SFUMATO_SOURCE_DIR) / "bench" / "configs" / "hf2.json");
  nn::Params params(1);
  const nn::UNet unet(params, nn::parse_unet_config(config));
  params.to(Device::cuda);
  nn::AdamW adam(params, {});
  nn::Ema ema(params, 0.99);
  const diffusion::Schedule schedule = diffusion::Schedule::linear();
  const Tensor images = Tensor::zeros({40, 28, 28, 1}, DType::u8).to(Device::cuda);
  const Tensor k = Tensor::from<std::int64_t>({}, {1}).to(Device::cuda);
  const Tensor rates = adam.rates(1e-3, &ema).to(Device::cuda);
  const auto step = [&](std::int64_t batch) {
    const Tensor x0 = data::Batches(images, {}, batch, 5).at(k).x0;
    const Tensor t = Rng(5, Purpose::timestep, k).randint({batch}, 1000);
    const Tensor eps = Rng(5, Purpose::noise, k).normal(x0.shape());
    params.zero_grad();
    const Var loss = mse(unet(diffusion::q_sample(schedule, x0, t, eps), t, {}, {}), eps);
    loss.backward();
    adam.step(rates, {.norm = nn::gradient_norm(params)}, &ema);
  };
  step(1);  // what is done once only
  // What is recorded is not done, so the batch may be as large as where it matters.
  const std::uint64_t before = cuda::launches();
  cuda::start_recording();
  step(32);
  cuda::forget(cuda::stop_recording());
  const std::uint64_t launches = cuda::launches() - before;
  RecordProperty("launches", static_cast<int>(launches));
  EXPECT_LE(launches, 250u);
}

}  // namespace
}  // namespace sfumato
