#include "apps/verdict.h"

#include <fmt/format.h>

#include <algorithm>
#include <nlohmann/json.hpp>

namespace sfumato::apps {
namespace {

io::Json bounds(const eval::Estimate& e) {
  return {{"value", e.value}, {"low", e.low}, {"high", e.high}};
}

io::Json measures_to_json(const Verdict& verdict, const DrawnSet& set) {
  io::Json measures = io::Json::object();
  for (std::size_t m = 0; m < verdict.metrics.size(); ++m) {
    if (!set.measures[m]) continue;
    io::Json j = bounds(*set.measures[m]);
    if (verdict.metrics[m]->of_floor) j["of_floor"] = bounds(of_floor(verdict, set, m));
    measures[std::string(verdict.metrics[m]->name)] = j;
  }
  return measures;
}

std::string shown(const eval::Metric& metric, double value) {
  return metric.unit.empty() ? fmt::format("{:.3g}", value) : fmt::format("{:.1f}", value);
}

std::string cell(const Verdict& verdict, const DrawnSet& set, std::size_t m) {
  if (!set.measures[m]) return "-";
  const eval::Metric& metric = *verdict.metrics[m];
  const eval::Estimate& e = *set.measures[m];
  std::string text = fmt::format("{} [{}, {}]", shown(metric, e.value), shown(metric, e.low),
                                 shown(metric, e.high));
  if (!metric.of_floor) return text;
  const eval::Estimate times = of_floor(verdict, set, m);
  return fmt::format("{}  x{:.2f} [{:.2f}, {:.2f}]", text, times.value, times.low, times.high);
}

using Lines = std::vector<std::vector<std::string>>;

// Characters, not bytes: those that do not go on with one.
std::size_t length(const std::string& s) {
  return static_cast<std::size_t>(
      std::count_if(s.begin(), s.end(), [](char c) { return (c & 0xC0) != 0x80; }));
}

std::string aligned(const Lines& lines) {
  std::string text;
  for (const std::vector<std::string>& line : lines) {
    for (std::size_t column = 0; column < line.size(); ++column) {
      std::size_t width = 0;
      for (const std::vector<std::string>& other : lines)
        width = std::max(width, length(other[column]));
      const bool last = column + 1 == line.size();
      text += line[column] + (last ? "\n" : std::string(width - length(line[column]) + 3, ' '));
    }
  }
  return text;
}

}  // namespace

eval::Estimate of_floor(const Verdict& verdict, const DrawnSet& set, std::size_t metric) {
  return *set.measures[metric] / verdict.floors[metric].mean;
}

io::Json to_json(const Verdict& v) {
  io::Json floor = io::Json::object(), drawn = io::Json::array();
  for (std::size_t m = 0; m < v.metrics.size(); ++m)
    floor[std::string(v.metrics[m]->name)] = {{"mean", v.floors[m].mean},
                                              {"deviation", v.floors[m].deviation}};
  for (const DrawnSet& set : v.sets) {
    io::Json j{{"pictures", set.name}, {"measures", measures_to_json(v, set)}};
    if (set.guidance) j["guidance"] = *set.guidance;
    if (set.drawn) j["sampler"] = set.drawn->sampler.name, j["steps"] = set.drawn->steps;
    if (set.drawn && set.drawn->evaluations > 0) j["column"] = set.drawn->evaluations;
    if (set.from_flow) j["from_flow"] = *set.from_flow;
    if (set.evaluations) j["evaluations"] = *set.evaluations;
    drawn.push_back(j);
  }
  return {{"count", v.count},
          {"classifier", {{"accuracy", v.classifier_accuracy}, {"test_pictures", v.test_pictures}}},
          {"floor", {{"draws", kFloorDraws}, {"measures", floor}}},
          {"drawn", drawn}};
}

std::string as_text(const Verdict& v) {
  Lines lines{{"measure", "real pictures"}};
  for (const DrawnSet& set : v.sets) lines[0].push_back(set.name);
  if (std::any_of(v.sets.begin(), v.sets.end(), [](auto& set) { return set.evaluations; })) {
    lines.push_back({"evaluations", "-"});
    for (const DrawnSet& set : v.sets)
      lines.back().push_back(set.evaluations ? std::to_string(*set.evaluations) : "-");
  }
  for (std::size_t m = 0; m < v.metrics.size(); ++m) {
    const eval::Metric& metric = *v.metrics[m];
    const Judge::Floor& floor = v.floors[m];
    lines.push_back(
        {std::string(metric.name) + (metric.unit.empty() ? "" : " ") + std::string(metric.unit),
         fmt::format("{} ± {}", shown(metric, floor.mean), shown(metric, floor.deviation))});
    for (const DrawnSet& set : v.sets) lines.back().push_back(cell(v, set, m));
  }
  std::string text = aligned(lines) + "\n";
  for (const eval::Metric* metric : v.metrics)
    text += fmt::format("{:<10} {}\n", metric->name, metric->help);
  const auto lacks_one = [](const DrawnSet& set) {
    return std::any_of(set.measures.begin(), set.measures.end(), [](auto& e) { return !e; });
  };
  if (std::any_of(v.sets.begin(), v.sets.end(), lacks_one))
    text +=
        "-: pictures without labels (a folder's are its sub-folders, those of NAME.npy are in "
        "NAME_labels.npy)\n";
  return text +
         fmt::format(
             "[95 % interval over the pictures]; x: multiple of the real pictures' mean\n"
             "real pictures: mean ± standard deviation of {} draws of {} training pictures\n",
             kFloorDraws, v.count);
}

std::string sampler_table(const Verdict& v) {
  const auto place = [&](const eval::Metric& metric) {
    return static_cast<std::size_t>(std::find(v.metrics.begin(), v.metrics.end(), &metric) -
                                    v.metrics.begin());
  };
  const std::size_t agreement = place(eval::Metric::agreement), fd = place(eval::Metric::fd);
  std::vector<SamplerResult> cells;
  for (const DrawnSet& set : v.sets) {
    const auto& read = set.measures[agreement];
    cells.push_back({*set.drawn, read ? std::optional(read->value) : std::nullopt,
                     of_floor(v, set, fd).value, set.from_flow});
  }
  return sampler_table(cells);
}

}  // namespace sfumato::apps
