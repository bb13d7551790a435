// Schedules, timesteps and sampler steps against `diffusers`, from the files in
// tests/golden/schedulers that tests/golden/make_golden.py describes.
//
// `diffusers` works out the coefficients of a step in float32, from float32 tables, and so loses
// digits where they cancel, as in 1 − ᾱ_t / ᾱ_{t−1}: 2e-6 of some DDPM trajectories. Ours are
// doubles. So each trajectory is run a second time by replay(), an independent short form of both
// samplers: with float coefficients it must give the golden numbers to 1e-6, and with double
// coefficients ours to 1e-9; what is between ours and the golden is then float32 and nothing else.
#include <gtest/gtest.h>

#include <filesystem>

#include "diffusion/sampler.h"
#include "diffusion/spacing.h"
#include "tensor/io/json.h"
#include "tensor/io/safetensors.h"
#include "tests/diffusion/support.h"

namespace sfumato::diffusion {
namespace {

using testing::max_difference;

const std::filesystem::path kFolder =
    std::filesystem::path(SFUMATO_SOURCE_DIR) / "tests/golden/schedulers";

struct Trajectory {
  std::string name;
  SchedulerConfig config;
  std::int64_t steps = 0;
  double eta = 0;
  Tensor timesteps, initial, model_output, noise, sample;  // numbers as f64
};

SchedulerConfig parse(const io::JsonObject& json) {
  SchedulerConfig c;
  c.sampler = parse_sampler(json.get_string("_class_name"));
  c.num_train_timesteps = json.get_int("num_train_timesteps");
  c.beta_schedule = parse_beta_schedule(json.get_string("beta_schedule"));
  c.beta_start = json.get_number("beta_start");
  c.beta_end = json.get_number("beta_end");
  c.prediction_type = parse_prediction(json.get_string("prediction_type"));
  c.variance_type = parse_variance(json.get_string("variance_type", "fixed_small"));
  c.clip_sample = json.get_bool("clip_sample");
  c.clip_sample_range = json.get_number("clip_sample_range");
  c.thresholding = json.get_bool("thresholding");
  c.dynamic_thresholding_ratio = json.get_number("dynamic_thresholding_ratio");
  c.sample_max_value = json.get_number("sample_max_value");
  c.use_clipped_model_output = false;  // the default of step() there
  c.set_alpha_to_one = json.get_bool("set_alpha_to_one", true);
  c.timestep_spacing = parse_spacing(json.get_string("timestep_spacing"));
  c.steps_offset = json.get_int("steps_offset");
  return c;
}

Trajectory load(const std::filesystem::path& path) {
  const io::JsonObject run = io::JsonObject::read(path);
  const io::SafeTensors file(std::filesystem::path(path).replace_extension(".safetensors"));
  const auto numbers = [&](const char* name) { return file.tensor(name).to(DType::f64); };
  return {.name = path.stem().string(),
          .config = parse(run.get_object("scheduler")),
          .steps = run.get_int("num_inference_steps"),
          .eta = run.get_number("eta", 0),
          .timesteps = file.tensor("timesteps"),
          .initial = numbers("initial"),
          .model_output = numbers("model_output"),
          .noise = numbers("noise"),
          .sample = numbers("sample")};
}

std::vector<Trajectory> all_trajectories() {
  std::vector<Trajectory> all;
  for (const auto& entry : std::filesystem::directory_iterator(kFolder))
    if (entry.path().extension() == ".json") all.push_back(load(entry.path()));
  return all;
}

// Where `diffusers` goes from step i: DDPM to the next timestep, DDIM T / K further.
std::int64_t previous_in_diffusers(const Trajectory& j, std::int64_t i) {
  const std::int64_t* ts = j.timesteps.data<std::int64_t>();
  if (j.config.sampler == Sampler::ddim) return ts[i] - j.config.num_train_timesteps / j.steps;
  return i + 1 < j.timesteps.size() ? ts[i + 1] : -1;
}

// The trajectory by the library's steps, from timestep to timestep as `diffusers` goes; [S, ...] as
// `sample`.
Tensor run(const Trajectory& j) {
  const Schedule schedule = make_schedule(j.config);
  const auto ts = j.timesteps.values<std::int64_t>();
  Tensor x = j.initial;
  Tensor all(j.sample.shape(), DType::f64);
  for (std::size_t i = 0; i < ts.size(); ++i) {
    const auto n = static_cast<std::int64_t>(i);
    const Tensor output = j.model_output.slice(n, n + 1).reshape(x.shape());
    const Tensor noise = j.noise.slice(n, n + 1).reshape(x.shape());
    const std::int64_t prev = previous_in_diffusers(j, n);
    x = testing::one_step(schedule, j.config, j.eta, output, ts[i], prev, x, noise).x_prev;
    all.slice(n, n + 1).reshape(x.shape()).copy_from(x);
  }
  return all;
}

// Of one picture.
void clip_as_diffusers(const SchedulerConfig& c, std::vector<double>& x0) {
  if (!c.thresholding && !c.clip_sample) return;
  double s = c.clip_sample_range;
  if (c.thresholding) {
    std::vector<double> sorted;
    for (const double x : x0) sorted.push_back(std::abs(x));
    std::sort(sorted.begin(), sorted.end());
    const double rank = c.dynamic_thresholding_ratio * static_cast<double>(sorted.size() - 1);
    const auto i = static_cast<std::size_t>(rank), next = std::min(i + 1, sorted.size() - 1);
    s = std::lerp(sorted[i], sorted[next], rank - static_cast<double>(i));
    s = std::clamp(s, 1.0, c.sample_max_value);
  }
  for (double& x : x0) x = std::clamp(x, -s, s) / (c.thresholding ? s : 1);
}

// The trajectory as `diffusers` writes its formulas, with coefficients of type C.
template <class C>
Tensor replay(const Trajectory& j) {
  const SchedulerConfig& c = j.config;
  std::vector<C> bar;
  for (const double b : make_schedule(c).alpha_bar) bar.push_back(static_cast<C>(b));
  const bool ddpm = c.sampler == Sampler::ddpm;
  const C one = 1, eta = static_cast<C>(j.eta);
  Tensor x = j.initial.clone();
  Tensor all(j.sample.shape(), DType::f64);
  const std::int64_t* ts = j.timesteps.data<std::int64_t>();
  for (std::int64_t i = 0; i < j.timesteps.size(); ++i) {
    const std::int64_t t = ts[i];
    const std::int64_t prev = previous_in_diffusers(j, i);
    const C a = bar[static_cast<std::size_t>(t)];
    const C p = prev >= 0                    ? bar[static_cast<std::size_t>(prev)]
                : ddpm || c.set_alpha_to_one ? one
                                             : bar[0];
    const C beta = one - a / p, variance = (one - p) / (one - a) * beta;
    const C signal = std::sqrt(a), noise = std::sqrt(one - a);
    const C c0 = std::sqrt(p) * beta / (one - a), ct = std::sqrt(a / p) * (one - p) / (one - a);
    const C large = c.variance_type == Variance::fixed_large ? beta : variance;
    const C sigma = !ddpm ? eta * std::sqrt(variance) : t > 0 ? std::sqrt(large) : C{0};
    const C direction = ddpm ? C{0} : std::sqrt(std::max(C{0}, one - p - sigma * sigma));
    std::vector<double> x0s, epss;
    for (std::int64_t k = 0; k < x.size(); ++k) {
      const double value = x.data<double>()[k];
      const double out = j.model_output.data<double>()[i * x.size() + k];
      double x0 = out, eps = out;
      if (c.prediction_type == Prediction::eps) x0 = (value - noise * out) / signal;
      if (c.prediction_type == Prediction::x0) eps = (value - signal * out) / noise;
      if (c.prediction_type == Prediction::v) {
        x0 = signal * value - noise * out;
        eps = signal * out + noise * value;
      }
      x0s.push_back(x0), epss.push_back(eps);
    }
    clip_as_diffusers(c, x0s);
    for (std::int64_t k = 0; k < x.size(); ++k) {
      double& value = x.data<double>()[k];
      const double x0 = x0s[static_cast<std::size_t>(k)], eps = epss[static_cast<std::size_t>(k)];
      const double z = j.noise.data<double>()[i * x.size() + k];
      value =
          ddpm ? c0 * x0 + ct * value + sigma * z : std::sqrt(p) * x0 + direction * eps + sigma * z;
      all.data<double>()[i * x.size() + k] = value;
    }
  }
  return all;
}

// Some unclipped trajectories grow to 400; errors are relative to the largest number then.
double size_of_numbers(const Tensor& x) {
  return std::max(1.0, max_difference(x, Tensor::zeros(x.shape(), x.dtype())));
}

TEST(Golden, TablesAreThoseOfDiffusers) {
  const io::SafeTensors tables(kFolder / "tables.safetensors");
  const std::pair<const char*, Schedule> cases[] = {
      {"linear", Schedule::linear()},
      {"scaled_linear", Schedule::scaled_linear(1000, 1e-4, 0.02)},
      {"squaredcos_cap_v2", Schedule::cosine()},
      {"linear_20", Schedule::linear(20, 0.001, 0.3)},
      {"squaredcos_cap_v2_100", Schedule::cosine(100)},
  };
  for (const auto& [name, schedule] : cases) {
    const Tensor betas = tables.tensor(std::string(name) + ".betas");
    const Tensor bars = tables.tensor(std::string(name) + ".alphas_cumprod");
    ASSERT_EQ(bars.size(), schedule.steps()) << name;
    double worst = 0;
    for (std::int64_t t = 0; t < bars.size(); ++t) {
      const double want = static_cast<double>(bars.data<float>()[t]);
      worst = std::max(worst, std::abs(schedule.alpha_bar_at(t) / want - 1));
      // beta here is 1 − α with α rounded to float32.
      EXPECT_NEAR(schedule.beta[static_cast<std::size_t>(t)], betas.data<float>()[t], 0x1p-25);
    }
    EXPECT_LT(worst, 2e-7) << name;
  }
}

// Where K divides T, or the spacing is not leading (sampler.h says what is different there, and
// why).
TEST(Golden, TimestepsAreThoseOfDiffusers) {
  std::int64_t compared = 0;
  for (const Trajectory& j : all_trajectories()) {
    const bool divides = j.config.num_train_timesteps % j.steps == 0;
    if (!divides && j.config.timestep_spacing == Spacing::leading) continue;
    const auto want = j.timesteps.values<std::int64_t>();
    const std::vector<std::int64_t> ts = timesteps(j.config, j.steps);
    EXPECT_EQ(ts, std::vector(want.begin(), want.end())) << j.name;
    ++compared;
    if (!divides || j.config.timestep_spacing == Spacing::linspace) continue;
    for (std::size_t i = 0; i < ts.size(); ++i)
      EXPECT_EQ(i + 1 < ts.size() ? ts[i + 1] : -1,
                std::max<std::int64_t>(previous_in_diffusers(j, static_cast<std::int64_t>(i)), -1))
          << j.name;
  }
  EXPECT_GE(compared, 18);
}

TEST(Golden, TrajectoriesAreThoseOfDiffusers) {
  const std::vector<Trajectory> all = all_trajectories();
  EXPECT_GE(all.size(), 25u);
  for (const Trajectory& j : all) {
    const double size = size_of_numbers(j.sample);
    const Tensor ours = run(j);
    EXPECT_LT(max_difference(ours, j.sample) / size, 5e-6) << j.name;
    EXPECT_LT(max_difference(ours, replay<double>(j)) / size, 1e-9) << j.name;
    EXPECT_LT(max_difference(replay<float>(j), j.sample) / size, 1e-6) << j.name;
  }
}

}  // namespace
}  // namespace sfumato::diffusion
