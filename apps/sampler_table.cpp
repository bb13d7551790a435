#include "apps/sampler_table.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <iterator>
#include <set>

#include "diffusion/sampler.h"

namespace sfumato::apps {

std::vector<SamplerCell> sampler_cells(const diffusion::Pipeline& model, std::int64_t most) {
  const diffusion::Schedule schedule = diffusion::make_schedule(model.scheduler);
  std::vector<SamplerCell> cells;
  for (const diffusion::Sampler* sampler : diffusion::Sampler::all) {
    if (sampler->one_picture) continue;
    if (sampler->schedule && !(*sampler->schedule == model.scheduler.beta_schedule)) continue;
    diffusion::SampleOptions options{.config = model.scheduler};
    options.config.sampler = *sampler;
    options.steps = std::min(options.steps, schedule.steps());
    const bool adds_noise = diffusion::adds_noise(schedule, options);
    for (const std::int64_t allowed : kEvaluations) {
      if (allowed > most) break;
      options.steps = std::min(allowed, schedule.steps());
      while (options.steps > 0 && diffusion::evaluations(schedule, options) > allowed)
        --options.steps;
      if (options.steps > 0) cells.push_back({*sampler, allowed, options.steps, adds_noise});
    }
  }
  return cells;
}

Tensor pictures_of_flow(const diffusion::Pipeline& model, diffusion::GenerateOptions options) {
  const std::int64_t evaluations = *std::rbegin(kEvaluations);
  options.sampler = diffusion::Sampler::flow_reference;
  options.steps = std::min(evaluations / 2, model.scheduler.num_train_timesteps);
  return diffusion::generate(model, options);
}

double distance(const Tensor& pictures, const Tensor& others) {
  double sum = 0;
  for (std::int64_t i = 0; i < pictures.size(); ++i) {
    const double difference =
        (pictures.data<std::uint8_t>()[i] - others.data<std::uint8_t>()[i]) / 127.5;
    sum += difference * difference;
  }
  return std::sqrt(sum / static_cast<double>(pictures.size()));
}

namespace {

std::string text(const SamplerResult& r) {
  std::string text = fmt::format("×{:.2f}", r.of_floor);
  if (r.agreement) text = fmt::format("{:.1f} % ", *r.agreement) + text;
  return r.from_flow ? text + fmt::format(" {:.3f}", *r.from_flow) : text;
}

}  // namespace

std::string sampler_table(const std::vector<SamplerResult>& results) {
  std::string header = "| sampler |", line = "|---|", table;
  std::set<std::int64_t> columns;
  for (const SamplerResult& r : results) columns.insert(r.cell.evaluations);
  for (const std::int64_t n : columns) {
    header += fmt::format(" {} |", n);
    line += "---|";
  }
  for (const diffusion::Sampler* sampler : diffusion::Sampler::all) {
    std::string row = fmt::format("| {} |", sampler->name);
    bool any = false;
    for (const std::int64_t n : columns) {
      const auto found = std::find_if(results.begin(), results.end(), [&](const SamplerResult& r) {
        return r.cell.sampler == *sampler && r.cell.evaluations == n;
      });
      any = any || found != results.end();
      row += found == results.end() ? " - |" : fmt::format(" {} |", text(*found));
    }
    if (any) table += row + "\n";
  }
  return header + "\n" + line + "\n" + table;
}

}  // namespace sfumato::apps
