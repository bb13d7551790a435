// scheduler_config.json of every class of diffusers: what a missing key means, which keys are
// without effect, and what is a problem for sampling only. Facts are those of diffusers 0.42.1.
#include "diffusion/scheduler_file.h"

#include <gtest/gtest.h>

#include <nlohmann/json.hpp>

namespace sfumato::diffusion {
namespace {

SchedulerFile parse(const std::string& text) {
  return parse_scheduler_config(io::JsonObject(io::parse_json(text, "s.json"), "s.json"));
}

std::string of_class(const std::string& name, const std::string& more = "") {
  return R"({"_class_name": ")" + name + "\"" + (more.empty() ? "" : ", " + more) + "}";
}

void expect_fragments(const std::string& text, std::initializer_list<std::string_view> fragments) {
  for (const std::string_view fragment : fragments)
    EXPECT_NE(text.find(fragment), std::string::npos) << fragment << "\nin: " << text;
}

// inspect.signature of each class; keys that it has not, as DDIMScheduler.from_config takes them.
TEST(SchedulerFile, MissingKeysMeanWhatTheClassSays) {
  const BetaSchedule kLinear = BetaSchedule::linear, kScaled = BetaSchedule::scaled_linear;
  constexpr auto kLeading = Spacing::leading, kLinspace = Spacing::linspace;
  const struct {
    const char* name;
    bool sampled_here;
    double beta_start, beta_end;
    BetaSchedule beta_schedule;
    Spacing spacing;
    bool clip, alpha_one;
  } rows[] = {
      {"DDPMScheduler", true, 1e-4, 0.02, kLinear, kLeading, true, true},
      {"DDIMScheduler", true, 1e-4, 0.02, kLinear, kLeading, true, true},
      {"DDIMParallelScheduler", true, 1e-4, 0.02, kLinear, kLeading, true, true},
      {"FlaxDDPMScheduler", true, 1e-4, 0.02, kLinear, kLeading, true, true},
      {"PNDMScheduler", false, 1e-4, 0.02, kLinear, kLeading, true, false},
      {"EulerDiscreteScheduler", true, 1e-4, 0.02, kLinear, kLinspace, true, true},
      {"EulerAncestralDiscreteScheduler", true, 1e-4, 0.02, kLinear, kLinspace, true, true},
      {"LMSDiscreteScheduler", true, 1e-4, 0.02, kLinear, kLinspace, true, true},
      {"HeunDiscreteScheduler", true, 8.5e-4, 0.012, kLinear, kLinspace, false, true},
      {"KDPM2DiscreteScheduler", true, 8.5e-4, 0.012, kLinear, kLinspace, true, true},
      {"KDPM2AncestralDiscreteScheduler", true, 8.5e-4, 0.012, kLinear, kLinspace, true, true},
      {"DPMSolverMultistepScheduler", true, 1e-4, 0.02, kLinear, kLinspace, true, true},
      {"DPMSolverSinglestepScheduler", false, 1e-4, 0.02, kLinear, kLeading, true, true},
      {"DPMSolverSDEScheduler", false, 8.5e-4, 0.012, kLinear, kLinspace, true, true},
      {"DEISMultistepScheduler", true, 1e-4, 0.02, kLinear, kLinspace, true, true},
      {"UniPCMultistepScheduler", true, 1e-4, 0.02, kLinear, kLinspace, true, true},
      {"SASolverScheduler", true, 1e-4, 0.02, kLinear, kLinspace, true, true},
      {"LCMScheduler", false, 8.5e-4, 0.012, kScaled, kLeading, false, true},
      {"TCDScheduler", false, 8.5e-4, 0.012, kScaled, kLeading, false, true},
      {"EDMEulerScheduler", true, 1e-4, 0.02, BetaSchedule::edm, Spacing::karras, false, true},
      {"EDMDPMSolverMultistepScheduler", true, 1e-4, 0.02, BetaSchedule::edm, Spacing::karras,
       false, true},
      {"UnCLIPScheduler", false, 1e-4, 0.02, BetaSchedule::cosine, kLeading, true, true},
  };
  for (const auto& row : rows) {
    SCOPED_TRACE(row.name);
    const SchedulerFile f = parse(of_class(row.name));
    EXPECT_EQ(f.problem, "");
    EXPECT_TRUE(f.schedule_known);
    EXPECT_EQ(f.config.beta_start, row.beta_start);
    EXPECT_EQ(f.config.beta_end, row.beta_end);
    EXPECT_EQ(f.config.beta_schedule, row.beta_schedule);
    EXPECT_EQ(f.config.timestep_spacing, row.spacing);
    EXPECT_EQ(f.config.clip_sample, row.clip);
    EXPECT_EQ(f.config.set_alpha_to_one, row.alpha_one);
    EXPECT_EQ(f.config.num_train_timesteps, 1000);
    EXPECT_EQ(f.config.prediction_type,
              row.beta_schedule == BetaSchedule::edm ? Prediction::edm : Prediction::eps);
    EXPECT_EQ(f.notes.size(), row.sampled_here ? 0u : 1u);
    if (!row.sampled_here) expect_fragments(f.notes[0], {"s.json", row.name, "ddim"});
  }
}

TEST(SchedulerFile, EveryClassHonoursWhatItSays) {
  for (const char* name : {"DDIMScheduler", "PNDMScheduler", "EulerDiscreteScheduler",
                           "UniPCMultistepScheduler", "HeunDiscreteScheduler"}) {
    const SchedulerFile f = parse(of_class(
        name, R"("num_train_timesteps": 50, "beta_start": 0.001, "beta_end": 0.3, "steps_offset": 1,
              "beta_schedule": "scaled_linear", "prediction_type": "v_prediction",
              "clip_sample": false, "set_alpha_to_one": false, "timestep_spacing": "trailing")"));
    EXPECT_EQ(f.problem, "") << name;
    EXPECT_EQ(f.config.num_train_timesteps, 50);
    EXPECT_EQ(f.config.beta_start, 0.001);
    EXPECT_EQ(f.config.beta_end, 0.3);
    EXPECT_EQ(f.config.beta_schedule, BetaSchedule::scaled_linear);
    EXPECT_EQ(f.config.prediction_type, Prediction::v);
    EXPECT_EQ(f.config.timestep_spacing, Spacing::trailing);
    EXPECT_EQ(f.config.steps_offset, 1);
    EXPECT_FALSE(f.config.clip_sample);
    EXPECT_FALSE(f.config.set_alpha_to_one);
  }
  const SchedulerFile betas =
      parse(of_class("EulerDiscreteScheduler", R"("num_train_timesteps": 2, "trained_betas":
                                                 [0.1, 0.2], "beta_schedule": "of my own")"));
  EXPECT_EQ(betas.problem, "");
  EXPECT_EQ(betas.config.trained_betas, (std::vector<double>{0.1, 0.2}));
}

// What a new model says of its schedule, in the words of the class of diffusers that has it.
TEST(SchedulerFile, NewModelsAreReadByDiffusers) {
  SchedulerConfig flow = default_scheduler(Prediction::flow, BetaSchedule::flow);
  io::Json json = to_json(flow);
  EXPECT_EQ(json.at("_class_name"), "FlowMatchEulerDiscreteScheduler");
  for (const char* key : {"beta_schedule", "beta_start", "prediction_type", "clip_sample"})
    EXPECT_FALSE(json.contains(key)) << key;
  EXPECT_EQ(to_json(parse(json.dump()).config), json);
  flow.clip_sample = true;  // a choice that the class has not is kept
  EXPECT_TRUE(parse(to_json(flow).dump()).config.clip_sample);

  SchedulerConfig edm = default_scheduler(Prediction::edm, BetaSchedule::edm);
  json = to_json(edm);
  EXPECT_EQ(json.at("_class_name"), "EDMEulerScheduler");
  EXPECT_EQ(json.at("prediction_type"), "epsilon");
  EXPECT_EQ(json.at("sigma_schedule"), "karras");
  for (const char* key : {"beta_schedule", "beta_start", "timestep_spacing", "clip_sample"})
    EXPECT_FALSE(json.contains(key)) << key;
  EXPECT_EQ(to_json(parse(json.dump()).config), json);
  edm.prediction_type = Prediction::edm_v;
  EXPECT_EQ(to_json(edm).at("prediction_type"), "v_prediction");
  edm.prediction_type = Prediction::eps;  // "epsilon" means F there
  EXPECT_EQ(parse(to_json(edm).dump()).config.prediction_type, Prediction::eps);

  const SchedulerConfig exponential =
      default_scheduler(Prediction::v, BetaSchedule::exponential, 50);
  json = to_json(exponential);
  EXPECT_EQ(json.at("_class_name"), "DDPMScheduler");
  EXPECT_EQ(json.at("trained_betas").size(), 50);
  const SchedulerConfig read = parse(json.dump()).config;
  EXPECT_EQ(read.beta_schedule, BetaSchedule::exponential);
  EXPECT_TRUE(read.trained_betas.empty());
  EXPECT_EQ(to_json(read), json);
  json["trained_betas"][7] = 0.5;  // other betas than those of the name
  EXPECT_EQ(parse(json.dump()).config.trained_betas.size(), 50);
}

// One line for all of them, whatever their values.
TEST(SchedulerFile, KeysOfOtherClassesAreReadPast) {
  const struct {
    const char *name, *more;
    std::initializer_list<std::string_view> keys;
  } rows[] = {
      {"DDIMScheduler", R"("skip_prk_steps": true)", {"\"skip_prk_steps\""}},
      {"DDPMScheduler", R"("tensor_format": "pt", "eta": 0.5)", {"\"tensor_format\"", "\"eta\""}},
      {"DDPMScheduler",
       R"("use_karras_sigmas": true, "sigma_max": Infinity, "solver_order": null, "my own": {"a": 1})",
       {"\"use_karras_sigmas\"", "\"sigma_max\"", "\"solver_order\"", "\"my own\""}},
      {"DDIMScheduler", R"("variance_type": "learned_range")", {"\"variance_type\""}},
      {"DDIMScheduler", R"("lambda_min_clipped": -Infinity)", {"\"lambda_min_clipped\""}},
      {"DDIMScheduler", "\"a\\u001b[2J\": 1", {R"("a\u001b[2J")"}},
  };
  for (const auto& row : rows) {
    const std::string text = of_class(row.name, row.more);
    const SchedulerFile f = parse(text);
    EXPECT_EQ(f.problem, "") << text;
    ASSERT_EQ(f.notes.size(), 1u) << text;
    expect_fragments(f.notes[0], row.keys);
    EXPECT_EQ(to_json(f.config), to_json(parse(of_class(row.name)).config));
  }
  // A learned variance is a learned variance to DDPM; a fixed one serves DDPM after DDIM's file.
  EXPECT_EQ(
      parse(of_class("DDIMScheduler", R"("variance_type": "fixed_large")")).config.variance_type,
      Variance::fixed_large);
  // All that the class can say, with the values that are computed here.
  const SchedulerFile f = parse(of_class(
      "DPMSolverMultistepScheduler", R"("algorithm_type": "dpmsolver++", "euler_at_final": false,
      "final_sigmas_type": "zero", "flow_shift": 1.0, "lambda_min_clipped": -Infinity,
      "lower_order_final": true, "solver_order": 2, "solver_type": "midpoint",
      "time_shift_type": "exponential", "use_beta_sigmas": false, "use_dynamic_shifting": false,
      "use_flow_sigmas": false, "use_karras_sigmas": true, "use_lu_lambdas": false,
      "variance_type": null, "clip_sample": false, "_use_default_values": ["a"])"));
  EXPECT_EQ(f.notes, std::vector<std::string>());
  EXPECT_EQ(f.config.sampler, Sampler::dpmpp_2m);
  EXPECT_EQ(f.config.timestep_spacing, Spacing::karras);
}

// DPMSolverMultistepScheduler is sampled here where its choices are those of a row of Sampler::all.
TEST(SchedulerFile, ChoicesDecideWhetherASamplerIsHere) {
  const auto read = [](const char* more) {
    return parse(of_class("DPMSolverMultistepScheduler", more));
  };
  const SchedulerFile here = read(
      R"("algorithm_type": "dpmsolver++", "solver_order": 2, "solver_type": "midpoint",
         "final_sigmas_type": "zero", "lambda_min_clipped": -Infinity, "variance_type": null,
         "use_karras_sigmas": false)");
  EXPECT_EQ(here.config.sampler, Sampler::dpmpp_2m);
  EXPECT_EQ(here.notes, std::vector<std::string>());
  EXPECT_EQ(read(R"("solver_order": 3)").config.sampler, Sampler::dpmpp_3m);
  EXPECT_EQ(read(R"("algorithm_type": "sde-dpmsolver++")").config.sampler, Sampler::dpmpp_2m_sde);
  EXPECT_EQ(read(R"("algorithm_type": "sde-dpmsolver++", "solver_order": 3)").config.sampler,
            Sampler::dpmpp_3m_sde);
  EXPECT_EQ(read(R"("use_lu_lambdas": true)").config.timestep_spacing, Spacing::log_snr);
  EXPECT_EQ(parse(of_class("PNDMScheduler", R"("skip_prk_steps": true)")).config.sampler,
            Sampler::plms);
  const SchedulerFile flow = parse(of_class("FlowMatchEulerDiscreteScheduler", R"("shift": 3.0)"));
  EXPECT_EQ(flow.problem, "");
  EXPECT_EQ(flow.config.sampler, Sampler::flow_euler);
  EXPECT_EQ(flow.config.beta_schedule, BetaSchedule::flow);
  EXPECT_EQ(flow.config.prediction_type, Prediction::flow);
  EXPECT_EQ(flow.config.shift, 3);
  const SchedulerFile edm = parse(of_class(
      "EDMEulerScheduler",
      R"("sigma_max": 80, "sigma_schedule": "exponential", "prediction_type": "v_prediction")"));
  EXPECT_EQ(edm.problem, "");
  EXPECT_EQ(edm.config.sampler, Sampler::edm_euler);
  EXPECT_EQ(edm.config.beta_schedule, BetaSchedule::edm);
  EXPECT_EQ(edm.config.prediction_type, Prediction::edm_v);
  EXPECT_EQ(edm.config.timestep_spacing, Spacing::log_snr);
  const std::pair<const char*, const char*> others[] = {
      {R"("algorithm_type": "dpmsolver")", R"(with algorithm_type = "dpmsolver" is not)"},
      {R"("solver_order": 1)", "with solver_order = 1 is not a sampler here: ddim"},
      {R"("use_beta_sigmas": true, "solver_order": 3)", "with use_beta_sigmas = true is not"},
      {R"("lambda_min_clipped": -5.1)", "with lambda_min_clipped = -5.1 is not"}};
  for (const auto& [more, note] : others) {
    const SchedulerFile other = read(more);
    EXPECT_EQ(other.problem, "") << more;
    EXPECT_EQ(other.config.sampler, Sampler::ddim) << more;
    ASSERT_EQ(other.notes.size(), 1u) << more;
    expect_fragments(other.notes[0], {note});
  }
  expect_fragments(parse(of_class("PNDMScheduler")).notes.at(0),
                   {"PNDMScheduler with skip_prk_steps = its default is not a sampler here"});
}

// A problem for sampling alone leaves the schedule that training went by.
TEST(SchedulerFile, ProblemsAreNamed) {
  const struct {
    const char *name, *more;
    std::initializer_list<std::string_view> problem;
    bool schedule_known;
  } rows[] = {
      {"FlowMatchEulerDiscreteScheduler",
       "\"use_dynamic_shifting\": true",
       {"use_dynamic_shifting"},
       false},
      {"EDMEulerScheduler",
       "\"sigma_max\": 120.0",
       {"sigma_max = 120.0 is not supported; expected 80.0"},
       false},
      {"EDMDPMSolverMultistepScheduler", "\"sigma_data\": 1", {"sigma_data = 1", "0.5"}, false},
      {"EDMEulerScheduler",
       "\"sigma_schedule\": \"linear\"",
       {"sigma_schedule = \"linear\""},
       true},
      {"EulerDiscreteScheduler", "\"use_karras_sigmas\": \"yes\"", {"use_karras_sigmas"}, true},
      {"SCMScheduler", "", {"TrigFlow"}, false},
      {"FlowMatchLCMScheduler", "", {"a consistency model of flow matching"}, false},
      {"ScoreSdeVeScheduler", "", {"ScoreSdeVeScheduler"}, false},
      {"KarrasVeScheduler", "", {"KarrasVeScheduler"}, false},
      {"CMStochasticIterativeScheduler", "", {"CMStochasticIterativeScheduler"}, false},
      {"VQDiffusionScheduler", "", {"VQDiffusionScheduler"}, false},
      {"IPNDMScheduler", "", {"IPNDMScheduler"}, false},
      {"CogVideoXDDIMScheduler", "", {"CogVideoXDDIMScheduler"}, false},
      {"MyScheduler", "\"beta_start\": 0.1", {"MyScheduler"}, false},
      {"DDPMScheduler", "\"rescale_betas_zero_snr\": true", {"zero terminal SNR"}, true},
      {"EulerDiscreteScheduler", "\"rescale_betas_zero_snr\": true", {"predicts eps"}, true},
      {"DDPMScheduler", "\"beta_schedule\": \"quadratic\"", {"quadratic"}, false},
      {"DDPMScheduler", "\"prediction_type\": \"noise\"", {"noise"}, false},
      {"UniPCMultistepScheduler", "\"use_flow_sigmas\": true", {"use_flow_sigmas"}, false},
      {"EulerDiscreteScheduler", "\"timestep_type\": \"continuous\"", {"continuous"}, false},
      {"DDIMScheduler", "\"timestep_spacing\": \"even\"", {"timestep_spacing", "even"}, true},
      {"DDPMScheduler", "\"variance_type\": \"learned\"", {"learned"}, true},
      {"DPMSolverMultistepScheduler", "\"variance_type\": \"learned\"", {"learned"}, true},
      {"DDPMScheduler", "\"variance_type\": \"fixed_large_log\"", {"fixed_large_log"}, true},
  };
  for (const auto& row : rows) {
    const std::string text = of_class(row.name, row.more);
    const SchedulerFile f = parse(text);
    EXPECT_TRUE(f.problem.starts_with("s.json: ")) << text << '\n' << f.problem;
    expect_fragments(f.problem, row.problem);
    EXPECT_EQ(f.schedule_known, row.schedule_known) << text;
    make_schedule(f.config);
  }
}

TEST(SchedulerFile, DamageIsRefused) {
  const std::pair<const char*, const char*> rows[] = {
      {R"("beta_end": "0.02")", R"("beta_end": expected a number)"},
      {R"("beta_end": NaN)", R"("beta_end": expected a finite number, got NaN)"},
      {R"("beta_start": Infinity)", R"("beta_start": expected a finite number, got Infinity)"},
      {R"("clip_sample_range": -Infinity)", "got -Infinity"},
      {R"("num_train_timesteps": 1e3)", R"("num_train_timesteps": expected a whole number)"},
      {R"("num_train_timesteps": 0)", "num_train_timesteps: expected 1..1000000, got 0"},
      {R"("beta_end": 1.5)", "beta_end"},
      {R"("trained_betas": [0.1])", "trained_betas has 1"},
      {R"("thresholding": 1)", "thresholding"},
      {R"("beta_schedule": 3)", "beta_schedule"},
  };
  for (const char* name : {"DDPMScheduler", "PNDMScheduler"})
    for (const auto& [more, message] : rows) try {
        parse(of_class(name, more));
        ADD_FAILURE() << more;
      } catch (const Error& e) {
        expect_fragments(e.what(), {"[s.json]", message});
      }
}

}  // namespace
}  // namespace sfumato::diffusion
