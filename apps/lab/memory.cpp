// `sfumato lab memory`: does a model copy its training pictures, or draw new ones? It depends on how many there were.
#include <fmt/format.h>

#include <algorithm>
#include <span>
#include <string>
#include <vector>

#include "apps/judge.h"
#include "apps/lab/support.h"
#include "diffusion/data/batches.h"
#include "diffusion/eval/neighbours.h"
#include "diffusion/generate.h"
#include "diffusion/training/training.h"

namespace sfumato::apps {
namespace {

constexpr std::int64_t kMemorySteps = 20;  // of the sampler
constexpr std::int64_t kSets[] = {10, 30, 100, 300, 1000, 10000};
constexpr std::int64_t kQuickSets[] = {10, 100, 1000, 10000};

// How drawn pictures lie to a set.
struct Copies {
  double percent = 0, distance = 0;  // copied by the one-third rule; to the nearest, on average
  std::vector<std::int64_t> nearest;
};
Copies copies(const Tensor& pictures, const Tensor& set) {
  Copies c;
  const std::vector<eval::Neighbours> found = eval::nearest(pictures, set);
  const auto n = static_cast<double>(found.size());
  for (const eval::Neighbours& f : found) {
    c.percent += f.copied() ? 100 / n : 0;
    c.distance += f.first_distance / n;
    c.nearest.push_back(f.first);
  }
  return c;
}

Tensor rows_of(const Tensor& set, const std::vector<std::int64_t>& numbers, std::int64_t count) {
  Tensor rows(set.shape().with(0, count), DType::u8);
  for (std::int64_t i = 0; i < count; ++i) {
    const std::int64_t at = numbers[static_cast<std::size_t>(i)];
    rows.slice(i, i + 1).copy_from(set.slice(at, at + 1));
  }
  return rows;
}

}  // namespace

LabResult lab_memory(const LabSetting& setting) {
  const LabOptions& o = setting.options;
  LabResult result;
  result.columns = {"training pictures",
                    "each seen",
                    "copied %",
                    "to the nearest",
                    "new digits: copied %",
                    "new digits: to the nearest",
                    kDistanceColumn,
                    kIntervalColumn};
  const LabJudge judge(setting, labels_in_turn(setting, o.count(500, 200, 20)));
  const Tensor fresh = real_pictures(setting.test, judge.labels());
  const std::int64_t steps = o.count(1200, 400), columns = std::min<std::int64_t>(10, fresh.dim(0));
  const std::int64_t available = setting.train.images.dim(0);
  std::vector<Tensor> shown;
  std::string onset = "none";
  for (const std::int64_t size :
       o.quick ? std::span<const std::int64_t>(kQuickSets) : std::span<const std::int64_t>(kSets)) {
    if (size > available) break;
    Stopwatch watch;
    // As many of each class, so that each label has a picture.
    const std::vector<std::int64_t> labels = labels_in_turn(setting, size);
    const Tensor set = real_pictures(setting.train, labels);
    diffusion::Pipeline model = lab_model(setting, diffusion::default_scheduler(), o.seed);
    diffusion::train_denoiser(
        model, data::Batches(set, Tensor::from<std::int64_t>({size}, labels), kLabBatch, o.seed),
        o.seed, {.steps = steps});
    const Tensor drawn = diffusion::generate(
        model, {.labels = judge.labels(), .steps = kMemorySteps, .seed = o.seed});
    const Copies copied = copies(drawn, set), control = copies(fresh, set);
    const LabJudge::Verdict v = judge(drawn);
    result.rows.push_back(
        {Number{static_cast<double>(size), 0},
         Number{static_cast<double>(steps * kLabBatch) / static_cast<double>(size), 0},
         Number{copied.percent, 1}, Number{copied.distance, 3}, Number{control.percent, 1},
         Number{control.distance, 3}, distance_cell(v), interval_cell(v)});
    if (copied.percent >= 50) onset = std::to_string(size);
    shown.insert(shown.end(), {drawn, rows_of(set, copied.nearest, columns)});
    result.picture_rows.push_back(fmt::format("{} training pictures: drawn", size));
    result.picture_rows.push_back("the training picture nearest to each");
    result.seconds.emplace_back(fmt::format("{} pictures", size), watch.lap());
  }
  result.picture = picture_of_rows(shown, columns);
  result.findings = {fmt::format("The most training pictures of which half of the drawn ones are "
                                 "copies, after {} steps: {}.",
                                 steps, onset),
                     "A picture counts as copied when its nearest training picture is less than a "
                     "third as far as the second nearest "
                     "(Yoon 2023). New digits, of the test set, say what the rule makes of "
                     "pictures that cannot be copies."};
  return result;
}

}  // namespace sfumato::apps
