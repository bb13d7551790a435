// Self-conditioning (Analog Bits, Chen 2022): what networks see in training, and what samplers hand them.
#include "diffusion/self_condition.h"

#include <algorithm>
#include <functional>
#include <memory>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "autograd/ops.h"
#include "diffusion/edit_pictures.h"
#include "diffusion/editing.h"
#include "diffusion/generate.h"
#include "nn/presets.h"
#include "nn/self_conditioned.h"
#include "tensor/rng.h"
#include "tests/diffusion/support.h"
#include "tests/temporary_folder.h"

namespace sfumato::diffusion {
namespace {

using testing::max_difference;

nn::BuildNetwork conditioned_tiny(bool self_condition = true, const char* preset = "tiny") {
  return nn::build_preset(preset, {.channels = 1,
                                   .size = 8,
                                   .classes = 3,
                                   .hides_labels = true,
                                   .self_condition = self_condition});
}

Pipeline conditioned_model(const Prediction& prediction = Prediction::v,
                           const char* preset = "tiny") {
  Pipeline model = make_pipeline(conditioned_tiny(true, preset), default_scheduler(prediction), 1);
  model.network->sample_size = {8, 8};
  return model;
}

Tensor label_tensor(const std::vector<std::int64_t>& labels) {
  return Tensor::from<std::int64_t>({static_cast<std::int64_t>(labels.size())}, std::span(labels));
}

void expect_refusal(const std::function<void()>& f, const std::string& part) {
  try {
    f();
    ADD_FAILURE() << "nothing thrown, expected: " << part;
  } catch (const Error& e) {
    EXPECT_NE(std::string(e.what()).find(part), std::string::npos) << e.what();
  }
}

// ---- The network

TEST(SelfConditioned, SeesZerosWhereNoEstimateIsGiven) {
  for (const char* preset : {"tiny", "dit-tiny"}) {
    const Pipeline model = conditioned_model(Prediction::v, preset);
    const nn::Network& network = *model.network;
    Tensor weights = model.params->flat_values();  // a new transformer answers 0
    const Tensor drawn = Rng(9).normal(weights.shape());
    weights.copy_from(0.1 * drawn);
    EXPECT_TRUE(network.takes_estimate);
    EXPECT_EQ(network.in_channels, 1);
    EXPECT_EQ(network.out_channels, 1);
    const Tensor x = Rng(2).normal({2, 8, 8, 1}), other = Rng(3).normal(x.shape());
    const Tensor t = testing::times(2, 500), labels = label_tensor({1, 2});
    const auto answer = [&](const Tensor& seen) { return network(seen, t, labels).value(); };
    EXPECT_EQ(max_difference(answer(x), answer(beside(x, Tensor::zeros(x.shape())))), 0);
    EXPECT_GT(max_difference(answer(x), answer(beside(x, other))), 1e-4);
    EXPECT_THROW(answer(Tensor::zeros({2, 8, 8, 3})), Error);
  }
}

TEST(SelfConditioned, IsSaidByTheConfigAndReadFromIt) {
  for (const char* preset : {"tiny", "dit-tiny"}) {
    const Pipeline model = conditioned_model(Prediction::v, preset);
    const io::Json config = model.network->config();
    EXPECT_EQ(config.at("in_channels"), 2);
    EXPECT_EQ(config.at("self_condition"), true);
    std::vector<std::string> notes;
    nn::Params params(1);
    const auto again = nn::read_network({config, "config.json"}, &notes)(params);
    EXPECT_TRUE(again->takes_estimate);
    EXPECT_EQ(again->config(), config);
    EXPECT_TRUE(notes.empty());
    // Its parameters are those of the network without an estimate, but for the first layer's shape.
    nn::Params plain(1);
    conditioned_tiny(false, preset)(plain);
    ASSERT_EQ(params.entries().size(), plain.entries().size());
    int shapes = 0;
    for (std::size_t i = 0; i < params.entries().size(); ++i) {
      EXPECT_EQ(params.entries()[i].name, plain.entries()[i].name);
      shapes += params.entries()[i].var.shape() != plain.entries()[i].var.shape();
    }
    EXPECT_EQ(shapes, 1);
  }
}

TEST(SelfConditioned, RefusesOtherChannels) {
  io::Json config = [] {
    nn::Params params(1);
    return conditioned_tiny(false)(params)->config();
  }();
  const auto build = [&] {
    nn::Params params(1);
    nn::read_network({config, "config.json"}, nullptr)(params);
  };
  config["self_condition"] = false;
  EXPECT_NO_THROW(build());
  config["self_condition"] = true;
  expect_refusal(build, "which maps 2 channels to 1, or 6 to 3");
  expect_refusal(build, "got one that maps 1 to 1");
  config["self_condition"] = "yes";
  expect_refusal(build, "self_condition");
}

// ---- Training

TEST(SelfCondition, EveryOtherPictureIsTrainedWithTheNetworksOwnEstimate) {
  for (const Prediction* prediction : {&Prediction::v, &Prediction::eps, &Prediction::x0}) {
    const Pipeline model = conditioned_model(*prediction);
    const Schedule schedule = make_schedule(model.scheduler);
    const Tensor x = Rng(4).normal({5, 8, 8, 1}), labels = label_tensor({0, 1, 2, 3, 0});
    const Tensor t = Tensor::from<std::int64_t>({5}, {0, 990, 500, 3, 900});
    const Tensor seen = seen_in_training(model, schedule, x, t, labels);
    ASSERT_EQ(seen.shape(), (Shape{5, 8, 8, 2}));
    EXPECT_EQ(max_difference(slice_last(Var(seen), 0, 1).value(), x), 0);
    const Tensor estimates = slice_last(Var(seen), 1, 2).value();
    for (std::int64_t n = 0; n < 5; ++n) {
      const auto row = [&](const Tensor& of) { return of.slice(n, n + 1); };
      Tensor want = Tensor::zeros({1, 8, 8, 1});
      if (n % 2 == 0) {
        const Tensor answer = (*model.network)(row(x), row(t), row(labels)).value();
        want = to_x0(*prediction, schedule, answer, row(x), row(t)).clone();
        for (float& value : want.values<float>()) value = std::clamp(value, -1.0F, 1.0F);
      }
      EXPECT_LT(max_difference(row(estimates), want), 1e-5) << prediction->name << " " << n;
    }
  }
}

TEST(SelfCondition, OtherNetworksSeeThePictureAlone) {
  const Pipeline model = make_pipeline(conditioned_tiny(false), default_scheduler(), 1);
  const Tensor x = Rng(4).normal({2, 8, 8, 1});
  const Tensor seen = seen_in_training(model, make_schedule(model.scheduler), x,
                                       testing::times(2, 5), label_tensor({0, 1}));
  EXPECT_EQ(seen.address(), x.address());
}

// ---- Sampling

// Every sampler hands the denoiser what it last said of x_0 in the same walk, zeros at first; guidance does not change it,
// and what the denoiser is guided away from is told the same.
TEST(SelfCondition, EverySamplerHandsOnTheLastEstimate) {
  const Schedule schedule = Schedule::cosine();
  for (const Sampler* sampler : Sampler::all)
    for (const bool guided : {false, true}) {
      SampleOptions o{.steps = 4, .seed = 3, .self_condition = true};
      o.config.sampler = *sampler;
      o.config.prediction_type = Prediction::x0;
      o.config.beta_schedule = BetaSchedule::cosine;
      o.config.clip_sample = true;
      Tensor said = Tensor::zeros({1, 3}, DType::f64), told;
      std::int64_t asked = 0, asked_away = 0;
      const Denoiser denoiser = [&](const Tensor& x, double) {
        EXPECT_EQ(x.shape(), (Shape{1, 6})) << sampler->name;
        told = slice_last(Var(x), 3, 6).value();
        EXPECT_EQ(max_difference(told, said), 0) << sampler->name << " " << asked;
        ++asked;
        const Tensor xt = slice_last(Var(x), 0, 3).value();
        const Tensor answer = 0.3 * xt + 0.4 * told;
        said = answer.clone();
        for (double& value : said.values<double>()) value = std::clamp(value, -1.0, 1.0);
        return answer;
      };
      if (guided) {
        o.guide.scale = 1.5;
        o.guide.away = [&](const Tensor& x, double) {
          EXPECT_EQ(max_difference(slice_last(Var(x), 3, 6).value(), told), 0);
          ++asked_away;
          return 0.2 * slice_last(Var(x), 0, 3).value() + 0.1 * told;
        };
      }
      sample(schedule, o, denoiser, Rng(1).normal({1, 3}, DType::f64));
      EXPECT_GE(asked, 4) << sampler->name;
      EXPECT_EQ(asked_away, guided ? asked : 0);
    }
}

// The samplers that walk picture by picture forget the estimate of the picture before.
TEST(SelfCondition, NoPictureSeesTheEstimateOfAnother) {
  const Schedule schedule = Schedule::cosine();
  const Denoiser denoiser = [](const Tensor& x, double) {
    return 0.3 * slice_last(Var(x), 0, 3).value() + 0.4 * slice_last(Var(x), 3, 6).value();
  };
  const Tensor x_T = Rng(1).normal({3, 3}, DType::f64);
  for (const Sampler* sampler : Sampler::all) {
    SampleOptions o{.steps = 4, .seed = 3, .self_condition = true};
    o.config.sampler = *sampler;
    o.config.prediction_type = Prediction::x0;
    o.config.beta_schedule = BetaSchedule::cosine;
    const Tensor together = sample(schedule, o, denoiser, x_T);
    for (std::int64_t n = 0; n < 3; ++n) {
      o.first_picture = n;
      EXPECT_EQ(max_difference(sample(schedule, o, denoiser, x_T.slice(n, n + 1)),
                               together.slice(n, n + 1)),
                0)
          << sampler->name;
    }
  }
}

TEST(SelfCondition, NeitherBatchNorCountChangesAPicture) {
  const Pipeline model = conditioned_model();
  for (const Sampler* sampler : Sampler::all) {
    GenerateOptions o{
        .labels = {2, 1, 0}, .steps = 3, .sampler = *sampler, .guidance = 2, .seed = 5};
    if (sampler->one_picture) o.labels = {2, 1}, o.guidance = 1;  // hundreds of evaluations
    const Tensor together = generate(model, o);
    o.batch = 2;
    EXPECT_EQ(max_difference(generate(model, o), together), 0) << sampler->name;
    o.labels = {2};
    EXPECT_EQ(max_difference(generate(model, o), together.slice(0, 1)), 0) << sampler->name;
  }
}

TEST(SelfCondition, ASavedModelDrawsTheSameAndTheEstimateCounts) {
  const TemporaryFolder folder;
  Pipeline model = conditioned_model();
  save_pipeline_config(folder.path(), model);
  save_pipeline_weights(folder.path(), model, model.params->flat_values());
  const Pipeline loaded = load_pipeline(folder.path());
  EXPECT_TRUE(loaded.network->takes_estimate);
  EXPECT_TRUE(loaded.notes.empty()) << loaded.notes.at(0);
  const GenerateOptions o{.labels = {0, 1}, .steps = 5};
  const Tensor pictures = generate(model, o);
  EXPECT_EQ(max_difference(generate(loaded, o), pictures), 0);
  model.network->takes_estimate = false;  // so that it always sees zeros
  EXPECT_GT(max_difference(generate(model, o), pictures), 1);
}

TEST(SelfCondition, EditsHandTheEstimateOnToo) {
  const Pipeline model = conditioned_model();
  GenerateOptions o{.labels = {2, 1, 0}, .steps = 4, .guidance = 2};
  Tensor picture({8, 8, 1}, DType::u8), mask = Tensor::zeros({8, 8, 1}, DType::u8);
  for (std::int64_t i = 0; i < picture.size(); ++i) {
    picture.data<std::uint8_t>()[i] = static_cast<std::uint8_t>(37 * i);
    if (i % 8 > 3) mask.data<std::uint8_t>()[i] = 255;
  }
  const auto edits = [&] {
    GenerateOptions large = o;
    large.height = large.width = 12;
    return std::vector<Tensor>{inpaint(model, o, picture, mask),
                               repaint(model, o, picture, mask, {.length = 2, .samples = 2}),
                               image_to_image(model, o, picture, 0.75),
                               redraw(model, o, picture, {.label = 1}),
                               outpaint(model, large, picture, 2, 2)};
  };
  const std::vector<Tensor> together = edits();
  o.batch = 2;
  const std::vector<Tensor> apart = edits();
  for (std::size_t i = 0; i < together.size(); ++i)
    EXPECT_EQ(max_difference(apart[i], together[i]), 0) << i;
}

TEST(SelfCondition, AGuideIsToldTheSameOrRefused) {
  const Pipeline model = conditioned_model(), guide = conditioned_model();
  const Pipeline other = [] {
    Pipeline p = make_pipeline(conditioned_tiny(false), default_scheduler(), 1);
    p.network->sample_size = {8, 8};
    return p;
  }();
  GenerateOptions o{.labels = {0}, .steps = 2, .guidance = 2, .guide = &guide};
  EXPECT_EQ(generate(model, o).dim(0), 1);
  o.guide = &other;
  expect_refusal([&] { generate(model, o); }, "self-conditioned false, expected true");
}

}  // namespace
}  // namespace sfumato::diffusion
