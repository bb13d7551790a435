// `sfumato lab one-step`: pictures in few evaluations of the network. What makes the difference is not how hard the
// network is trained but what it is asked.
#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <iterator>
#include <optional>

#include "apps/judge.h"
#include "apps/lab/support.h"
#include "apps/lab/vae.h"
#include "diffusion/data/batches.h"
#include "diffusion/eval/class_mean.h"
#include "diffusion/eval/neighbours.h"
#include "diffusion/generate.h"
#include "diffusion/training/training.h"

namespace sfumato::apps {
namespace {

using diffusion::Pipeline;

constexpr std::int64_t kTeacherSteps = 16;  // of the sampler that distillation starts from
constexpr std::int64_t kDistances = 200;    // pictures whose distances are measured

// Root mean square difference of the pixels to the mean of the picture's class, averaged over the pictures.
double distance_to_class_mean(const Tensor& pictures, const std::vector<std::int64_t>& labels,
                              const Tensor& means) {
  const Tensor x = data::to_signed(pictures);
  const std::int64_t n = x.dim(0), pixels = x.size() / n;
  double total = 0;
  for (std::int64_t i = 0; i < n; ++i) {
    const float* a = x.data<float>() + i * pixels;
    const float* b = means.data<float>() + labels[static_cast<std::size_t>(i)] * pixels;
    double sum = 0;
    for (std::int64_t p = 0; p < pixels; ++p) sum += std::pow(a[p] - b[p], 2);
    total += std::sqrt(sum / static_cast<double>(pixels));
  }
  return total / static_cast<double>(n);
}

double distance_to_nearest(const Tensor& pictures, const Tensor& set) {
  double total = 0;
  for (const eval::Neighbours& n : eval::nearest(pictures, set)) total += n.first_distance;
  return total / static_cast<double>(pictures.dim(0));
}

class OneStep {
 public:
  explicit OneStep(const LabSetting& setting)
      : setting_(setting),
        o_(setting.options),
        judge_(setting, labels_in_turn(setting, o_.count(300, 200, 20))),
        batches_(setting.train.images, setting.train.labels, kLabBatch, o_.seed),
        means_(eval::class_means(setting.train)),
        teacher_(lab_model(setting, diffusion::default_scheduler(), o_.seed)) {
    result_.columns = {"what the network was asked",
                       "training steps",
                       "evaluations",
                       "agreement %",
                       "+-",
                       kDistanceColumn,
                       kIntervalColumn,
                       "to class mean",
                       "to nearest digit"};
    lap("judge");
  }

  void references();
  void plain();
  void regression();
  void pairs();
  void progressive();
  void consistency();
  void shortcut();
  void vae();
  LabResult finish();

 private:
  void lap(const char* what) { result_.seconds.emplace_back(what, watch_.lap()); }
  Tensor draw(const Pipeline& model, std::int64_t steps) const {
    return diffusion::generate(model, {.labels = judge_.labels(), .steps = steps, .seed = o_.seed});
  }
  struct Distances {
    double to_mean, to_digit;
  };
  // A row of the table; `shown` where it is a row of the picture too.
  Distances add(const std::string& what, std::int64_t steps, std::int64_t evaluations,
                const Tensor& pictures, bool shown = false);
  Pipeline new_flow(std::int64_t rows_per_label = 1) const {
    return lab_model(
        setting_,
        diffusion::default_scheduler(diffusion::Prediction::flow, diffusion::BetaSchedule::flow),
        o_.seed, rows_per_label);
  }
  nn::FitOptions further(std::int64_t full, std::int64_t quick) const {
    return {.steps = o_.count(full, quick), .lr = 1e-3, .ema = 0.99};
  }

  const LabSetting& setting_;
  const LabOptions& o_;
  Stopwatch watch_;
  const LabJudge judge_;
  const data::Batches batches_;
  const Tensor means_;  // f32 [classes,H,W,C]
  Pipeline teacher_;    // the plain model of the longest training
  std::int64_t teacher_steps_ = 0;
  Distances one_step_ = {};  // of the teacher
  std::vector<Tensor> shown_;
  LabResult result_;
};

OneStep::Distances OneStep::add(const std::string& what, std::int64_t steps,
                                std::int64_t evaluations, const Tensor& pictures, bool shown) {
  const LabJudge::Verdict v = judge_(pictures);
  const Tensor some = pictures.slice(0, std::min(kDistances, pictures.dim(0)));
  const Distances d = {distance_to_class_mean(some, judge_.labels(), means_),
                       distance_to_nearest(some, setting_.train.images)};
  result_.rows.push_back({what, Number{static_cast<double>(steps), 0},
                          Number{static_cast<double>(evaluations), 0}, Number{v.agreement, 1},
                          Number{v.error, 1}, distance_cell(v), interval_cell(v),
                          Number{d.to_mean, 3}, Number{d.to_digit, 3}});
  if (!shown) return d;
  shown_.push_back(pictures);
  result_.picture_rows.push_back(
      evaluations > 0
          ? fmt::format("{}: {} evaluation{}", what, evaluations, evaluations > 1 ? "s" : "")
          : what);
  return d;
}

// Test pictures, which tell how near to a training picture a new digit lies; and the exact class means.
void OneStep::references() {
  Tensor means(judge_.real().shape(), DType::u8);
  for (std::size_t i = 0; i < judge_.labels().size(); ++i) {
    const std::int64_t label = judge_.labels()[i], row = static_cast<std::int64_t>(i);
    means.slice(row, row + 1).copy_from(data::to_bytes(means_.slice(label, label + 1)));
  }
  add("(real pictures, of the test set)", 0, 0, real_pictures(setting_.test, judge_.labels()),
      true);
  add("(the exact mean of each class)", 0, 0, means, true);
  lap("references");
}

// The noise in x_t, trained for three lengths.
void OneStep::plain() {
  const std::int64_t evaluations[] = {1, 2, 4, 8, 16, 50, 250, 1000};
  constexpr struct {
    std::int64_t full, quick;
  } kLengths[] = {{500, 200}, {1500, 500}, {4000, 1600}};
  for (const auto& length : kLengths) {
    Pipeline model = lab_model(setting_, diffusion::default_scheduler(), o_.seed);
    teacher_steps_ = o_.count(length.full, length.quick);
    diffusion::train_denoiser(model, batches_, o_.seed, {.steps = teacher_steps_});
    const bool longest = &length + 1 == std::end(kLengths);
    for (const std::int64_t k : evaluations) {
      if (o_.quick && k > 50) break;
      const bool shown = longest && (k == 1 || k == 4 || k == 50);
      const Distances d = add("v of x_t", teacher_steps_, k, draw(model, k), shown);
      if (k == 1) one_step_ = d;
    }
    if (longest) diffusion::copy_weights(model, teacher_);
    lap(fmt::format("plain, {} steps", teacher_steps_).c_str());
  }
}

// Which picture it was, of noise that belongs to no picture.
void OneStep::regression() {
  Pipeline model = lab_model(setting_, diffusion::default_scheduler(), o_.seed);
  const std::int64_t steps = o_.count(1500, 400);
  diffusion::train_at_last_time(model, batches_, o_.seed, {.steps = steps});
  add("x_0 of noise", steps, 1, draw(model, 1), true);
  lap("regression");
}

// Which picture the sampler makes of this noise: at once, and along straight paths first.
void OneStep::pairs() {
  // Other noise than that which the pictures of the table are drawn from.
  const diffusion::Pairs pairs = diffusion::draw_pairs(
      teacher_, labels_in_turn(setting_, o_.count(5000, 2000, 32)), kTeacherSteps, o_.seed + 1);
  lap("pairs");
  const nn::FitOptions fit = further(1500, 400);
  Pipeline direct = copy_of(setting_, teacher_);
  diffusion::train_reflow(direct, pairs, {kLabBatch, true}, o_.seed, fit);
  add("the sampler's picture of noise", fit.steps, 1, draw(direct, 1), true);
  Pipeline flow = new_flow();
  const nn::FitOptions long_fit{.steps = o_.count(3000, 800)};
  diffusion::train_reflow(flow, pairs, {kLabBatch, false}, o_.seed, long_fit);
  for (const std::int64_t k : {1, 2, 4})
    add("reflow: straight paths", long_fit.steps, k, draw(flow, k), k == 1);
  diffusion::train_reflow(flow, pairs, {kLabBatch, true}, o_.seed, fit);
  add("reflow, then distilled", long_fit.steps + fit.steps, 1, draw(flow, 1), true);
  lap("reflow");
}

// Where two steps lead, halved until one is left.
void OneStep::progressive() {
  const nn::FitOptions fit = further(750, 200);
  Pipeline teacher = copy_of(setting_, teacher_), student = copy_of(setting_, teacher_);
  std::int64_t trained = 0;
  for (std::int64_t steps = kTeacherSteps / 2; steps >= 1; steps /= 2) {
    diffusion::train_progressive(student, teacher, steps, batches_, o_.seed + 2, fit);
    trained += fit.steps;
    add("progressive distillation", trained, steps, draw(student, steps), steps == 1);
    diffusion::copy_weights(student, teacher);
  }
  lap("progressive distillation");
}

// The same picture from all along a path.
void OneStep::consistency() {
  Pipeline model = copy_of(setting_, teacher_);
  const nn::FitOptions fit = further(2500, 800);
  diffusion::train_consistency(model, batches_, o_.seed + 3, fit);
  for (const std::int64_t k : {1, 2, 4})
    add("consistency (ECT)", fit.steps, k,
        diffusion::sample_consistency(model, judge_.labels(), k, o_.seed), k <= 2);
  lap("consistency");
}

// The line to where a step of the given length ends.
void OneStep::shortcut() {
  Pipeline model = new_flow(diffusion::kShortcutSizes);
  const nn::FitOptions fit{.steps = o_.count(2500, 800)};
  diffusion::train_shortcut(model, batches_, o_.seed + 4, fit);
  for (const std::int64_t k : {1, 2, 4, 16})
    add("shortcut", fit.steps, k, diffusion::sample_shortcut(model, judge_.labels(), k, o_.seed),
        k == 1);
  lap("shortcut");
}

void OneStep::vae() {
  LabVae vae(setting_);
  const std::int64_t steps = o_.count(2500, 800);
  vae.train(batches_, steps);
  add("VAE: the picture of a code", steps, 1, vae.draw(judge_.labels()), true);
  lap("VAE");
}

LabResult OneStep::finish() {
  result_.picture = picture_of_rows(shown_, 10);
  result_.findings = {
      fmt::format("One step of the plain model, trained for {} steps, lies {:.3f} from the mean of "
                  "its class and {:.3f} from the nearest digit.",
                  teacher_steps_, one_step_.to_mean, one_step_.to_digit),
      fmt::format("Distillation and consistency start from that model; their steps are counted "
                  "without its {}.",
                  teacher_steps_)};
  return std::move(result_);
}

}  // namespace

LabResult lab_one_step(const LabSetting& setting) {
  OneStep lab(setting);
  lab.references();
  lab.plain();
  lab.regression();
  lab.pairs();
  lab.progressive();
  lab.consistency();
  lab.shortcut();
  lab.vae();
  return lab.finish();
}

}  // namespace sfumato::apps
