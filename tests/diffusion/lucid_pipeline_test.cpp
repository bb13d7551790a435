// Checkpoints of denoising-diffusion-pytorch as pipelines. lucid_checkpoint.safetensors has the names and the tables that the
// package's trainer keeps (tests/golden/make_lucid.py).
#include "diffusion/lucid_pipeline.h"

#include <gtest/gtest.h>

#include <cmath>
#include <filesystem>
#include <functional>
#include <string>
#include <utility>
#include <vector>

#include "nn/checkpoint.h"
#include "tensor/io/safetensors.h"
#include "tests/norms.h"

namespace sfumato::diffusion {
namespace {

namespace fs = std::filesystem;
const fs::path kLucidGolden = fs::path(SFUMATO_SOURCE_DIR) / "tests" / "golden";
const fs::path kCheckpoint = kLucidGolden / "lucid_checkpoint.safetensors";
const fs::path kBare = kLucidGolden / "lucid_2_0" / "unet" / "diffusion_pytorch_model.safetensors";

std::string lucid_refusal(const std::function<void()>& f) {
  try {
    f();
  } catch (const Error& e) {
    return e.what();
  }
  return "accepted";
}

TEST(LucidPipeline, TheFileTellsNetworkScheduleAndObjective) {
  const Pipeline p = load_lucid_pipeline(kCheckpoint, {.size = {8, 8}});
  EXPECT_EQ(p.scheduler.beta_schedule, BetaSchedule::sigmoid_alpha);
  EXPECT_TRUE(p.scheduler.trained_betas.empty());
  EXPECT_EQ(p.scheduler.num_train_timesteps, 50);
  EXPECT_EQ(p.scheduler.prediction_type, Prediction::v);
  EXPECT_TRUE(p.scheduler.clip_sample);
  EXPECT_EQ(p.network->sample_size, (io::Extent{8, 8}));
  EXPECT_EQ(p.notes.size(), 1u);  // of the two networks
  const Schedule schedule = make_schedule(p.scheduler);
  const io::SafeTensors file(kCheckpoint);
  const Tensor alpha_bar = file.tensor("model.alphas_cumprod");
  for (std::int64_t t = 0; t < 50; ++t)
    EXPECT_NEAR(schedule.alpha_bar[static_cast<std::size_t>(t)] / alpha_bar.data<float>()[t], 1,
                2e-5)
        << t;
  const io::SafeTensors bare(kBare);  // the average is these weights
  for (const nn::Params::Entry& e : p.params->entries())
    EXPECT_EQ(distance(e.value, bare.tensor(e.name)), 0) << e.name;
}

TEST(LucidPipeline, TheTrainedWeightsAreAskedForByPrefix) {
  const Pipeline p = load_lucid_pipeline(kCheckpoint, {.prefix = "model.model."});
  const io::SafeTensors bare(kBare);
  const Tensor half = bare.tensor("final_conv.bias");
  EXPECT_EQ(p.params->find("final_conv.bias")->value.data<float>()[0], half.data<float>()[0] / 2);
  EXPECT_NE(lucid_refusal([&] {
              load_lucid_pipeline(kCheckpoint, {.prefix = "other."});
            }).find("other.time_mlp.1.weight"),
            std::string::npos);
}

TEST(LucidPipeline, DefaultsAreSaidAndContradictionsRefused) {
  const Pipeline p = load_lucid_pipeline(kBare, {});
  EXPECT_EQ(p.scheduler.num_train_timesteps, 1000);
  EXPECT_EQ(p.scheduler.prediction_type, Prediction::v);
  ASSERT_EQ(p.notes.size(), 3u);
  EXPECT_NE(p.notes[2].find("does not tell the prediction; taken as v"), std::string::npos);
  const Pipeline q = load_lucid_pipeline(
      kBare, {.timesteps = 100, .schedule = BetaSchedule::linear, .prediction = Prediction::x0});
  EXPECT_TRUE(q.notes.empty());
  EXPECT_NEAR(q.scheduler.beta_end, 0.2, 1e-12);  // 1000 / T times as large, as the package has it
  EXPECT_EQ(q.scheduler.prediction_type, Prediction::x0);
  EXPECT_NE(lucid_refusal([&] {
              load_lucid_pipeline(kCheckpoint, {.timesteps = 100});
            }).find("--timesteps 100: the file says 50"),
            std::string::npos);
  EXPECT_NE(lucid_refusal([&] {
              load_lucid_pipeline(kCheckpoint, {.schedule = BetaSchedule::linear});
            }).find("--schedule linear: the file says sigmoid_alpha"),
            std::string::npos);
  EXPECT_NE(lucid_refusal([&] {
              load_lucid_pipeline(kCheckpoint, {.prediction = Prediction::eps});
            }).find("--prediction eps: the file says v"),
            std::string::npos);
}

// The weights of the loss that the package keeps for each objective, cut at an SNR of 5 or not.
TEST(LucidPipeline, WeightsOfTheLossTellTheObjective) {
  const io::SafeTensors bare(kBare);
  const fs::path path = fs::path(::testing::TempDir()) / "lucid_objective.safetensors";
  const auto read = [&](double last_beta, const std::function<double(double)>& weight) {
    std::vector<std::pair<std::string, Tensor>> tensors;
    for (const std::string& name : bare.names())
      tensors.emplace_back("model." + name, bare.tensor(name));
    Tensor betas({20}), weights({20});
    double alpha_bar = 1;
    for (std::int64_t t = 0; t < 20; ++t) {
      const double beta = 0.005 + (last_beta - 0.005) * static_cast<double>(t) / 19;
      betas.data<float>()[t] = static_cast<float>(beta);
      alpha_bar *= 1 - beta;
      weights.data<float>()[t] = static_cast<float>(weight(alpha_bar / (1 - alpha_bar)));
    }
    tensors.emplace_back("betas", betas);
    tensors.emplace_back("loss_weight", weights);
    io::write_safetensors(path, tensors);
    return load_lucid_pipeline(path, {}).scheduler;
  };
  const auto cut = [](double snr) { return std::min(snr, 5.0); };
  EXPECT_EQ(read(0.999, [](double snr) { return snr / (snr + 1); }).prediction_type, Prediction::v);
  EXPECT_EQ(read(0.5, [&](double snr) { return cut(snr) / (snr + 1); }).prediction_type,
            Prediction::v);
  EXPECT_EQ(read(0.5, [](double snr) { return snr; }).prediction_type, Prediction::x0);
  EXPECT_EQ(read(0.5, [&](double snr) { return cut(snr); }).prediction_type, Prediction::x0);
  EXPECT_EQ(read(0.5, [](double) { return 1.0; }).prediction_type, Prediction::eps);
  const SchedulerConfig own = read(0.5, [&](double snr) { return cut(snr) / snr; });
  EXPECT_EQ(own.prediction_type, Prediction::eps);
  EXPECT_EQ(own.trained_betas.size(), 20u);  // linear ones, but with other ends than the package's
  fs::remove(path);
}

}  // namespace
}  // namespace sfumato::diffusion
