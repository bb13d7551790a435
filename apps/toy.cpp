// `sfumato toy`: data in the plane, samplers at work on them, and how wrong these are.
#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <filesystem>
#include <iterator>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "apps/command_line.h"
#include "apps/lab/lab.h"
#include "apps/toy_pictures.h"
#include "diffusion/toy/learn.h"
#include "diffusion/toy/walks.h"
#include "tensor/io/file.h"

namespace sfumato::apps {
namespace {

namespace toy = diffusion::toy;

// T; the numbers of steps at which errors are measured, and of how many points.
constexpr std::int64_t kTimesteps = 1000, kSweep[] = {5, 10, 20, 40, 80, 160}, kErrorPoints = 200;

// By name: no file but its own knows a sampler.
constexpr const char* kSamplers[] = {"euler", "heun", "dpmpp_2m", "rk4"};

struct ToyOptions {
  std::optional<toy::Distribution> data = toy::Distribution::mixture;
  std::vector<diffusion::Sampler> samplers;  // empty: kSamplers
  std::optional<diffusion::BetaSchedule> schedule = diffusion::BetaSchedule::linear;
  std::optional<diffusion::Prediction> prediction = diffusion::Prediction::v;
  std::optional<diffusion::Spacing> spacing = {};
  std::string out;
  std::optional<std::int64_t> train;
  std::int64_t steps = 20, count = 1000;
  std::uint64_t seed = 0;
};

// Who answers, and how samplers walk.
class Bench {
 public:
  Bench(const ToyOptions& o, const diffusion::SchedulerConfig& config,
        const diffusion::Schedule& schedule, const toy::Answer& answer, const Tensor& data)
      : config_(config),
        schedule_(schedule),
        denoiser_(toy::denoiser(schedule, config.prediction_type, answer)),
        data_(data),
        seed_(o.seed),
        x_T_(Rng(o.seed, Purpose::sample_start).normal({o.count, 2}, DType::f64)) {}

  ToyWalk walk(const diffusion::Sampler& sampler, std::int64_t steps) {
    ToyWalk walk{std::string(sampler.name), {}};
    walk.measure = measure(sampler, steps, &walk.path);
    if (sampler.one_picture) return walk;
    std::vector<double> counts, errors;
    for (const std::int64_t n : kSweep) {
      const ToyMeasure m = walk.sweep.emplace_back(measure(sampler, n));
      if (!m.error) continue;
      counts.push_back(m.steps);
      errors.push_back(*m.error);
    }
    if (errors.size() == std::size(kSweep)) walk.slope = toy::slope(counts, errors);
    return walk;
  }

 private:
  diffusion::SampleOptions options(const diffusion::Sampler& sampler, std::int64_t steps) const {
    diffusion::SampleOptions o{.config = config_, .steps = steps, .seed = seed_};
    o.config.sampler = sampler;
    return o;
  }

  ToyMeasure measure(const diffusion::Sampler& sampler, std::int64_t steps,
                     std::vector<std::vector<io::SvgPoint>>* path = nullptr) {
    std::int64_t asked = 0;
    diffusion::Chain chain =
        diffusion::make_chain(schedule_, options(sampler, steps), toy::counted(denoiser_, asked));
    const Tensor x = diffusion::start(chain, x_T_);
    if (path) {
      path->resize(static_cast<std::size_t>(steps) + 1);
      // Of the size of DDPM's x. Samplers that go point by point come here once for each.
      const auto keep = [path, levels = chain.levels](std::size_t i, const Tensor& points) {
        const double size = diffusion::Path::variance_preserving.size(levels[i]);
        const auto xy = points.values<double>();
        for (std::size_t k = 0; k < xy.size(); k += 2)
          (*path)[i].push_back({xy[k] / size, xy[k + 1] / size});
      };
      keep(0, x);
      chain.on_step = [keep](const diffusion::Progress& p) {
        keep(static_cast<std::size_t>(p.step) + 1, p.x);
      };
    }
    const double distance = toy::sliced_wasserstein(diffusion::walk(chain, x), data_);
    return {static_cast<double>(steps), static_cast<double>(asked) / static_cast<double>(x.dim(0)),
            error(sampler, steps), distance};
  }

  // From the exact flow; none for a sampler that adds noise.
  std::optional<double> error(const diffusion::Sampler& sampler, std::int64_t steps) {
    if (diffusion::adds_noise(schedule_, options(sampler, steps))) return {};
    const diffusion::Chain chain =
        toy::chain_to_first_level(schedule_, options(sampler, steps), denoiser_);
    const Tensor x = diffusion::start(chain, x_T_.slice(0, std::min(kErrorPoints, x_T_.dim(0))));
    const Tensor got = diffusion::walk(chain, x);
    // Spacings differ in where they begin, which few steps change.
    const double first = chain.levels.front().log_snr();
    if (!exact_.defined() || first != exact_from_) {
      exact_ = toy::exact_flow(chain, x);
      exact_from_ = first;
    }
    return toy::mean_distance(got, exact_);
  }

  diffusion::SchedulerConfig config_;
  diffusion::Schedule schedule_;
  diffusion::Denoiser denoiser_;
  Tensor data_;
  std::uint64_t seed_;
  Tensor x_T_, exact_;     // f64 [N, 2]
  double exact_from_ = 0;  // the log-SNR where exact_ began
};

// Even in the seventh root of σ / a, where the schedule's last σ is finite.
diffusion::Spacing spacing_of(const ToyOptions& o, const diffusion::Schedule& schedule) {
  if (o.spacing) return *o.spacing;
  return schedule.alpha_bar.back() > 0 ? diffusion::Spacing::karras : diffusion::Spacing::trailing;
}

void expect_different(const std::vector<diffusion::Sampler>& samplers) {
  for (auto i = samplers.begin(); i != samplers.end(); ++i)
    if (std::find(samplers.begin(), i, *i) != i)
      throw Error("toy",
                  fmt::format("--sampler: expected different samplers, got {} twice", i->name));
}

std::string table(const ToyResult& r, const std::string& answers) {
  LabResult t{.columns = {"sampler", "steps", "evaluations", "error", "distance to data", "slope"},
              .rows = {}};
  for (const ToyWalk& walk : r.walks) {
    const ToyMeasure& m = walk.measure;
    t.rows.push_back({walk.name, Number{m.steps, 0}, Number{m.evaluations, 0},
                      m.error ? fmt::format("{:.2e}", *m.error) : "-", Number{m.distance, 4},
                      walk.slope ? Cell(Number{*walk.slope, 2}) : "-"});
  }
  t.findings = {
      answers,
      "error: mean distance from the exact flow, at the schedule's first level; - for samplers "
      "that add noise.",
      fmt::format("slope: of the error, from {} steps to {}; the order of the method.",
                  *(std::end(kSweep) - 2), *(std::end(kSweep) - 1)),
      fmt::format("distance to data: sliced Wasserstein, of {} points; {:.4f} between two draws of "
                  "the data.",
                  r.data.dim(0), r.floor)};
  return as_text(t);
}

void write(const std::string& out, const ToyResult& r) {
  const std::filesystem::path dir = out;
  io::write_file_atomic(dir / "samples.svg", samples_picture(r));
  io::write_file_atomic(dir / "score.svg", score_picture(r));
  io::write_file_atomic(dir / "trajectories.svg", trajectories_picture(r));
  io::write_file_atomic(dir / "error.svg", error_picture(r));
}

void run(const ToyOptions& o) {
  expect_different(o.samplers);
  if (!o.out.empty()) io::make_directories(o.out);  // before the work: it may not be possible
  const toy::Distribution& data = *o.data;
  diffusion::SchedulerConfig config =
      diffusion::default_scheduler(*o.prediction, *o.schedule, kTimesteps);
  config.clip_sample = false;
  ToyResult r{std::string(data.name), diffusion::make_schedule(config),
              data.draw(o.count, Rng(o.seed, Purpose::test))};
  config.timestep_spacing = spacing_of(o, r.schedule);
  if (const std::string problem = diffusion::combination_problem(config); !problem.empty())
    throw Error("toy", problem);
  r.floor = toy::sliced_wasserstein(r.data, data.draw(o.count, Rng(o.seed, Purpose::test, 1)));
  if (data.exact) r.answers.emplace_back("exact", data.exact);
  std::string who = "The exact denoiser answers.";
  if (o.train || !data.exact) {
    toy::LearnOptions learn{.prediction = *o.prediction, .seed = o.seed};
    learn.steps = o.train.value_or(learn.steps);
    double loss = 0;
    std::int64_t counted = 0;
    learn.on_step = [&](std::int64_t k, double l) {
      if (10 * k >= 9 * learn.steps) loss += l, ++counted;
    };
    r.answers.emplace_back("learned", toy::learn(data, r.schedule, learn));
    who = fmt::format(
        "A network answers, after {} steps of training; the loss of the last tenth is {:.4f}.",
        learn.steps, loss / static_cast<double>(counted));
  }
  Bench bench(o, config, r.schedule, r.answers.back().second, r.data);
  std::vector<diffusion::Sampler> samplers = o.samplers;
  if (samplers.empty())
    for (const char* name : kSamplers) samplers.push_back(diffusion::parse_sampler(name));
  for (const diffusion::Sampler& sampler : samplers)
    r.walks.push_back(bench.walk(sampler, o.steps));
  fmt::print("{}", table(r, who));
  if (!o.out.empty()) write(o.out, r);
}

}  // namespace

RunSubcommand declare_toy(CommandLine& line) {
  const auto o = std::make_shared<ToyOptions>();
  line(o->data, {"data", "Points to draw; default mixture"},
       Choices<toy::Distribution>(toy::Distribution::all));
  line(o->out, {"out", "Folder for samples.svg, score.svg, trajectories.svg and error.svg"});
  line(o->train,
       {"train",
        "Train a small network for so many steps, and ask it instead of the exact "
        "denoiser (default: 3000 where no exact one is known)"},
       {1, 1000000});
  line(o->samplers, {"sampler", "Names with commas between; default euler,heun,dpmpp_2m,rk4"},
       Choices<diffusion::Sampler>(diffusion::Sampler::all));
  line(o->schedule, {"schedule", "How noise grows; default linear"},
       Choices<diffusion::BetaSchedule>(diffusion::BetaSchedule::all));
  line(o->prediction, {"prediction", "What the network predicts; default v"},
       Choices<diffusion::Prediction>(diffusion::Prediction::all));
  line(o->spacing,
       {"spacing",
        "How the noise levels of the steps are chosen (default: karras, or trailing "
        "where the schedule ends without signal)"},
       diffusion::kSpacings);
  line(o->steps, {"steps", "Steps of each sampler"}, {1, kTimesteps - 1});
  line(o->count, {"count", "Points"}, {1, 100000});
  line(o->seed, {"seed", "Seed of everything random"}, kSeeds);
  line.example("sfumato toy --data checkerboard --sampler ddim,heun,ddpm --out toy");
  return [o](Device device) {
    if (const Device cpu{}; device != cpu)
      throw Error("toy",
                  fmt::format("expected --device cpu, on which toys run, got {}", name(device)));
    run(*o);
  };
}

}  // namespace sfumato::apps
