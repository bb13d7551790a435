// Every row of Sampler::all: against diffusers, against the exact flow of Gaussian data, and against itself drawn otherwise.
#include <fmt/format.h>

#include <filesystem>
#include <nlohmann/json.hpp>
#include <set>

#include "diffusion/gaussian.h"
#include "diffusion/sampler.h"
#include "tensor/io/json.h"
#include "tensor/parallel.h"
#include "tensor/rng.h"
#include "tests/diffusion/support.h"

namespace sfumato::diffusion {
namespace {

using testing::f64;
using testing::max_difference;

// ---- diffusers: tests/golden/make_samplers.py says what the runs are

SampleOptions options_of(const Sampler& sampler, const io::Json& run) {
  SampleOptions o;
  o.config.sampler = sampler;
  if (sampler.schedule) o.config.beta_schedule = *sampler.schedule;
  o.config.shift = run.value("shift", 1.0);
  const auto prediction = run.at("prediction").get<std::string>();
  const Prediction* of_class = sampler.prediction_of(prediction);
  o.config.prediction_type = of_class ? *of_class : parse_prediction(prediction);
  o.config.timestep_spacing = parse_spacing(run.at("spacing").get<std::string>());
  o.config.clip_sample = false;
  o.config.set_alpha_to_one = false;  // PNDM's default
  o.steps = run.at("steps");
  return o;
}

void expect_run(const Sampler& sampler, const io::Json& run) {
  SampleOptions o = options_of(sampler, run);
  SCOPED_TRACE(fmt::format("{} {} {} steps {}", sampler.name, name(o.config.timestep_spacing),
                           o.steps, o.config.prediction_type.name));
  const bool timeless = run.at("timeless");
  const Denoiser network = [&](const Tensor& x, double t) {
    std::vector<double> c;
    for (int k = 0; k < 3; ++k) c.push_back(std::cos(k + (timeless ? 0 : t / 200)));
    return 0.3 * x + 0.2 * f64({1, 3}, c);
  };
  std::size_t row = 0;
  const std::int64_t K = o.steps;
  // Coefficients there are float32: over a thousand steps, and in KDPM2Ancestral's σ_down, they lose digits.
  const double tolerance = K == 1000 ? 2e-4 : sampler == Sampler::dpm2_ancestral ? 5e-5 : 1e-5;
  o.on_step = [&](const Progress& p) {
    const std::int64_t i = p.step;
    const bool shown = i <= 3 || i == K / 2 || i >= K - 2;
    if (!shown) return;
    double size = 1;
    for (int k = 0; k < 3; ++k) size = std::max(size, std::abs(p.x.data<double>()[k]));
    for (int k = 0; k < 3; ++k)
      EXPECT_NEAR(p.x.data<double>()[k] / size, run.at("x").at(row).at(k).get<double>() / size,
                  tolerance)
          << "step " << i;
    ++row;
  };
  Chain chain = make_chain(make_schedule(o.config), o, network);
  chain.noise = [](std::int64_t step, const Tensor&) {
    const auto c = static_cast<double>(step);
    std::vector<double> z;
    for (int k = 0; k < 3; ++k) z.push_back(std::sqrt(2.0) * std::cos(1 + 3 * c + k * (c + 1)));
    return f64({1, 3}, z);
  };
  sampler.sample(chain, f64({1, 3}, {0.3, -1.2, 0.7}));
  EXPECT_EQ(row, run.at("x").size());
}

TEST(Samplers, WalkAsInDiffusers) {
  const std::filesystem::path folder =
      std::filesystem::path(SFUMATO_SOURCE_DIR) / "tests/golden/samplers";
  int files = 0;
  for (const Sampler* sampler : Sampler::all) {
    const std::filesystem::path file = folder / (std::string(sampler->name) + ".json");
    if (!std::filesystem::exists(file)) continue;
    ++files;
    const io::Json runs = io::read_json(file);
    for (const io::Json& run : runs.at("runs")) expect_run(*sampler, run);
  }
  EXPECT_EQ(files, 18);
}

// ---- Order of convergence

// Data N(0.5, 0.04) in the process `path`, walked from log-SNR `from` to `to` in steps even in the solvers' time; the flow takes
// x_t to a_s μ + √(C_s / C_t) (x_t − a_t μ), where C = a² Σ + σ² is the variance of x.
double flow_error(const Sampler& sampler, const Path& path, std::int64_t steps) {
  const double mean = 0.5, variance = 0.04, from = -2, to = 3;
  const std::vector<Gaussian> data = {{.mean = {mean}, .covariance = {variance}}};
  Chain chain;
  chain.path = &path;
  chain.config.clip_sample = false;
  chain.denoiser =
      exact_denoiser([&](double l) { return path.at_log_snr(l); }, data, Prediction::eps);
  chain.time_at = [](const NoiseLevel& l) { return l.log_snr(); };
  for (std::int64_t i = 0; i <= steps; ++i) {
    const double l = from + (to - from) * static_cast<double>(i) / static_cast<double>(steps);
    if (i < steps) chain.times.push_back(l);
    chain.levels.push_back(path.at_log_snr(l));
  }
  chain.noise = [](std::int64_t, const Tensor& x) { return Tensor::zeros(x.shape(), x.kind()); };
  const auto spread = [&](const NoiseLevel& l) {
    return std::sqrt(l.signal_variance * variance + l.noise_variance);
  };
  const NoiseLevel first = chain.levels.front(), last = chain.levels.back();
  const double x = 1.3 * spread(first);
  const double want =
      last.signal() * mean + spread(last) / spread(first) * (x - first.signal() * mean);
  return std::abs(sampler.sample(chain, f64({1, 1}, {x})).item() - want);
}

// The slope of log(error) over log(steps) is the method's order; of lms and dpmpp_3m that of their first steps, which have no
// history. The midpoint method is of second order, but of third on
// Gaussian data: for y' = σ y / (C + σ²) the term of its error, (y‴ + 3 f_y y″) / 24, is 0.
TEST(Samplers, ConvergeAtTheirOrder) {
  const std::pair<const Sampler*, double> rows[] = {
      {&Sampler::ddim, 1},     {&Sampler::euler, 1},    {&Sampler::flow_euler, 1},
      {&Sampler::dpmpp_2s, 2}, {&Sampler::dpmpp_2m, 2}, {&Sampler::deis, 2},
      {&Sampler::dpm2, 2},     {&Sampler::heun, 2},     {&Sampler::flow_heun, 2},
      {&Sampler::midpoint, 3}, {&Sampler::unipc, 2},    {&Sampler::rk4, 4},
      {&Sampler::lms, 2},      {&Sampler::plms, 2},     {&Sampler::dpmpp_3m, 2}};
  for (const auto& [sampler, order] : rows)
    for (const Path* path : {&Path::variance_preserving, &Path::flow}) {
      const std::int64_t n = order == 4 ? 40 : 160;
      const double slope =
          std::log2(flow_error(*sampler, *path, n) / flow_error(*sampler, *path, 2 * n));
      EXPECT_NEAR(slope, order, 0.2) << sampler->name << " " << path->name;
    }
}

// The last step, from σ to the data, where the flow ends at μ + √(Σ / (Σ + σ²)) (x − μ): the error is of σ² for Euler's step,
// which most samplers take there as in diffusers, and of σ³ or less for the midpoint method's.
TEST(Samplers, LastStepOfMidpointIsOfItsOrder) {
  const double mean = 0.5, variance = 0.04;
  const std::vector<Gaussian> data = {{.mean = {mean}, .covariance = {variance}}};
  const auto error = [&](const Sampler& sampler, double sigma) {
    const Path& path = Path::variance_exploding;
    Chain chain{.times = {sigma}, .levels = {path.at_sigma(sigma), {1, 0}}, .path = &path};
    chain.config.clip_sample = false;
    chain.denoiser =
        exact_denoiser([&](double s) { return path.at_sigma(s); }, data, Prediction::eps);
    chain.time_at = [](const NoiseLevel& l) { return l.sigma(); };
    const double x = mean + 0.3;
    const double want = mean + std::sqrt(variance / (variance + sigma * sigma)) * (x - mean);
    return std::abs(sampler.sample(chain, f64({1, 1}, {x})).item() - want);
  };
  const auto slope = [&](const Sampler& sampler) {
    return std::log2(error(sampler, 0.05) / error(sampler, 0.025));
  };
  EXPECT_NEAR(slope(Sampler::heun), 2, 0.1);
  EXPECT_GT(slope(Sampler::midpoint), 2.9);
  EXPECT_GT(slope(Sampler::rk4), 2.9);
}

// ---- Distributions

// What is wrong with mean and standard deviation of what a sampler draws of N(0.5, 0.3²), in 5,000 points. Methods
// of first order, and those that end at the first level, are further away.
TEST(Samplers, RecoverMeanAndVariance) {
  const std::set<std::string_view> kFirstOrder = {
      "ddim", "ddpm", "euler", "euler_ancestral", "flow_euler", "edm_euler"};
  const std::vector<Gaussian> data = {{.mean = {0.5}, .covariance = {0.09}}};
  constexpr std::int64_t kPoints = 5000;
  const Tensor x_T = Rng(71, Purpose::sample_start).normal({kPoints, 1});
  for (const BetaSchedule* row :
       {&BetaSchedule::linear, &BetaSchedule::flow, &BetaSchedule::karras, &BetaSchedule::edm})
    for (const Sampler* sampler : Sampler::all) {
      if (sampler->one_picture) continue;  // below
      SampleOptions o = {.steps = 100, .seed = 72};
      o.config.sampler = *sampler;
      o.config.beta_schedule = *row;
      o.config.prediction_type = Prediction::x0;
      o.config.clip_sample = false;
      o.config.timestep_spacing = Spacing::trailing;
      const Schedule s = make_schedule(o.config);
      const testing::Moments m =
          testing::moments(sample(s, o, exact_denoiser(s, data, Prediction::x0), x_T));
      const bool first_order = kFirstOrder.count(sampler->name) > 0;
      EXPECT_NEAR(m.mean, 0.5, 0.02) << sampler->name << " " << row->name;
      EXPECT_NEAR(std::sqrt(m.variance), 0.3, first_order ? 0.035 : 0.017)
          << sampler->name << " " << row->name;
    }
}

// Around Heun's method it is the row `restart`; around any it draws the distribution that the sampler draws.
TEST(Restart, AroundAnySampler) {
  const std::vector<Gaussian> data = {{.mean = {0.5}, .covariance = {0.09}}};
  const Tensor x_T = Rng(71, Purpose::sample_start).normal({3000, 1});
  const auto drawn = [&](const Sampler& sampler, bool restart) {
    SampleOptions o = {.steps = 50, .restart = restart, .seed = 72};
    o.config.sampler = sampler;
    o.config.prediction_type = Prediction::x0;
    o.config.clip_sample = false;
    o.config.timestep_spacing = Spacing::trailing;
    const Schedule s = make_schedule(o.config);
    return sample(s, o, exact_denoiser(s, data, Prediction::x0), x_T);
  };
  EXPECT_EQ(max_difference(drawn(Sampler::heun, true), drawn(Sampler::restart, false)), 0);
  EXPECT_GT(max_difference(drawn(Sampler::dpmpp_2m, true), drawn(Sampler::dpmpp_2m, false)), 0.1);
  for (const Sampler* sampler : Sampler::all) {
    if (sampler->one_picture || sampler->schedule || sampler->restarts) continue;
    const testing::Moments m = testing::moments(drawn(*sampler, true));
    EXPECT_NEAR(m.mean, 0.5, 0.03) << sampler->name;
    EXPECT_NEAR(std::sqrt(m.variance), 0.3, 0.05) << sampler->name;
  }
}

TEST(Dopri5, FollowsTheFlowToItsTolerance) {
  const std::vector<Gaussian> data = {{.mean = {0.5}, .covariance = {0.09}}};
  for (const BetaSchedule* row : {&BetaSchedule::linear, &BetaSchedule::flow}) {
    SampleOptions o = {.steps = 3};
    o.config.sampler = Sampler::dopri5;
    o.config.beta_schedule = *row;
    o.config.prediction_type = Prediction::x0;
    o.config.clip_sample = false;
    o.config.timestep_spacing = Spacing::trailing;
    const Schedule s = make_schedule(o.config);
    const NoiseLevel first = s.level(999);
    const Tensor x = sample(s, o, exact_denoiser(s, data, Prediction::x0), f64({1, 1}, {1}));
    const double spread = std::sqrt(first.signal_variance * 0.09 + first.noise_variance);
    EXPECT_NEAR(x.item(), 0.5 + 0.3 / spread * (1 - first.signal() * 0.5), 3e-3) << row->name;
  }
}

// ---- A picture depends on its number and the seed alone

TEST(Samplers, BatchCountAndThreadsDoNotMatter) {
  const std::int64_t threads = thread_count();
  const Tensor x_T = Rng(41, Purpose::sample_start).normal({5, 3, 3, 1});
  for (const Sampler* sampler : Sampler::all) {
    SampleOptions o = {.steps = 9, .eta = *sampler == Sampler::ddim ? 0.5 : 0, .seed = 42};
    o.config = default_scheduler(Prediction::v, BetaSchedule::cosine, 100);
    o.config.sampler = *sampler;
    const Schedule s = make_schedule(o.config);
    const Denoiser network = [](const Tensor& x, double t) { return 0.3 * x + 0.001 * t * x; };
    const Tensor together = sample(s, o, network, x_T);
    for (const int n : {1, 2, 3}) {
      set_thread_count(n);
      EXPECT_EQ(max_difference(sample(s, o, network, x_T), together), 0) << sampler->name;
    }
    set_thread_count(threads);
    for (std::int64_t begin = 0; begin < 5; begin += 2) {
      const std::int64_t end = std::min<std::int64_t>(begin + 2, 5);
      o.first_picture = begin;
      const Tensor some = sample(s, o, network, x_T.slice(begin, end));
      EXPECT_EQ(max_difference(some, together.slice(begin, end)), 0)
          << sampler->name << " " << begin;
    }
  }
}

}  // namespace
}  // namespace sfumato::diffusion
