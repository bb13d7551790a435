#include "apps/sampler_table.h"

#include <fmt/format.h>

#include <algorithm>
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
    for (const std::int64_t allowed : kEvaluations) {
      if (allowed > most) break;
      options.steps = std::min(allowed, schedule.steps());
      while (options.steps > 0 && diffusion::evaluations(schedule, options) > allowed)
        --options.steps;
      if (options.steps > 0) cells.push_back({*sampler, allowed, options.steps});
    }
  }
  return cells;
}

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
      if (found == results.end())
        row += " - |";
      else if (found->agreement)
        row += fmt::format(" {:.1f} % ×{:.2f} |", *found->agreement, found->of_floor);
      else
        row += fmt::format(" ×{:.2f} |", found->of_floor);
    }
    if (any) table += row + "\n";
  }
  return header + "\n" + line + "\n" + table;
}

}  // namespace sfumato::apps
