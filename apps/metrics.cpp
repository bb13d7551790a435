#include "apps/metrics.h"

#include <fmt/format.h>

#include <algorithm>
#include <iterator>

#include "diffusion/names.h"

namespace sfumato::apps {

Judge::Metrics parse_metrics(std::string_view text) {
  Judge::Metrics asked;
  for (std::size_t begin = 0; begin <= text.size();) {
    const std::size_t end = std::min(text.find(',', begin), text.size());
    const std::string_view name = text.substr(begin, end - begin);
    begin = end + 1;
    const bool several = name == "all" || name == "default";
    if (!several && !diffusion::find_row(eval::Metric::all, name))
      throw Error("metrics", fmt::format("expected all, default or some of {}, got {}",
                                         diffusion::names_in(eval::Metric::all),
                                         io::in_quotes(std::string(name))));
    for (const eval::Metric* metric : eval::Metric::all)
      if (name == "all" || name == metric->name || (name == "default" && metric->by_default))
        asked.push_back(metric);
  }
  Judge::Metrics ordered;
  std::copy_if(std::begin(eval::Metric::all), std::end(eval::Metric::all),
               std::back_inserter(ordered), [&](const eval::Metric* metric) {
                 return std::find(asked.begin(), asked.end(), metric) != asked.end();
               });
  return ordered;
}

std::string metrics_help() {
  std::string help = "Measures, separated by commas (default: all but those that are slow)";
  for (const eval::Metric* metric : eval::Metric::all)
    help += fmt::format("{} {} ({})", metric == eval::Metric::all[0] ? ":" : ",", metric->name,
                        metric->help);
  return help;
}

}  // namespace sfumato::apps
