// Training and sampling on the device: the same numbers as on the CPU, and few launches.
#include <cmath>
#include <filesystem>
#include <string>
#include <vector>

#include "cuda/runtime.h"
#include "diffusion/generate.h"
#include "diffusion/objective.h"
#include "diffusion/sampler.h"
#include "nn/optim.h"
#include "nn/presets.h"
#include "nn/unet.h"
#include "tests/cuda/device_test.h"
#include "tests/cuda/training.h"

namespace sfumato {
namespace {

using namespace testing;  // NOLINT: of this project's tests
namespace fs = std::filesystem;

using DeviceTraining = DeviceTest;

// Whether a normalisation of one channel a group (8 channels in 8 groups) takes away again what the parameter adds: the
// same number for all pixels of a channel.
bool without_effect(const std::string& name) {
  const auto ends = [&](const char* part) { return name.find(part) != std::string::npos; };
  const bool before_norm_out = name.starts_with("up_blocks.2.resnets.1.");
  const bool outermost =
      name.starts_with("down_blocks.0.resnets.") || name.starts_with("up_blocks.2.resnets.");
  return (outermost && (ends(".conv1.bias") || ends(".time_emb_proj."))) ||
         (before_norm_out && (ends(".conv2.bias") || ends(".conv_shortcut.bias")));
}

// Of `all` values, in the order of parameters, those of the others.
Tensor with_effect(const Tensor& all) {
  std::vector<float> kept;
  std::int64_t at = 0;
  const diffusion::Pipeline model = tiny_model();
  for (const nn::Params::Entry& p : model.params->entries()) {
    const auto values = all.slice(at, at + p.value.size()).values<float>();
    if (!without_effect(p.name)) kept.insert(kept.end(), values.begin(), values.end());
    at += p.value.size();
  }
  return Tensor::from<float>({std::ssize(kept)}, kept);
}

// Two computations in f32 whose sums are rounded in other orders. Against f64, the gradients of the first step are off by at
// most 5e-6 of their norm on the CPU and 2e-6 on the device, but for 11 parameters without effect: theirs is 0 (1e-17 in
// f64), and what f32 has, 1e-8, is rounding, its signs a coin's. AdamW divides a gradient by its size, so these parameters walk
// by the whole learning rate a step, at random. They are all of the distance between the weights, 1e-3 of their norm; that
// between the others is a hundredth of it, and losses do not see it.
TEST_F(DeviceTraining, TwentyStepsAreThoseOfTheCpu) {
  constexpr std::int64_t kSteps = 20;
  const Trained cpu = train(kSteps, {Device::cpu}), gpu = train(kSteps, {});
  ASSERT_EQ(cpu.losses.size(), static_cast<std::size_t>(kSteps));
  ASSERT_EQ(gpu.losses.size(), static_cast<std::size_t>(kSteps));
  for (std::size_t k = 0; k < cpu.losses.size(); ++k) {
    EXPECT_NEAR(gpu.losses[k], cpu.losses[k], 1e-4 * cpu.losses[k]) << "step " << k;
    EXPECT_NEAR(gpu.norms[k], cpu.norms[k], 1e-4 * cpu.norms[k]) << "step " << k;
  }
  EXPECT_LT(relative_distance(with_effect(gpu.weights), with_effect(cpu.weights)), 5e-5);
  EXPECT_LT(relative_distance(with_effect(gpu.average), with_effect(cpu.average)), 5e-5);
  EXPECT_LT(relative_distance(gpu.weights, cpu.weights), 2e-3);
  EXPECT_LT(relative_distance(gpu.average, cpu.average), 2e-3);
  EXPECT_EQ(with_effect(cpu.weights).size() + 832, cpu.weights.size());
}

TEST_F(DeviceTraining, StepsOfMuonAreThoseOfTheCpu) {
  const Trained cpu = train(3, {.device = Device::cpu, .muon = true}),
                gpu = train(3, {.muon = true});
  ASSERT_EQ(gpu.losses.size(), 3u);
  for (std::size_t k = 0; k < 3; ++k)
    EXPECT_NEAR(gpu.losses[k], cpu.losses[k], 1e-4 * cpu.losses[k]) << "step " << k;
  EXPECT_LT(relative_distance(with_effect(gpu.weights), with_effect(cpu.weights)), 5e-5);
}

TEST_F(DeviceTraining, TheSameSeedGivesTheSameBits) {
  const Trained first = train(5, {}), again = train(5, {});
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
  EXPECT_LE(launches, 150u);
}

}  // namespace
}  // namespace sfumato
