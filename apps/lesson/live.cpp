// Chapter 6 with digits: a network of 0.16 M parameters that learns the page's pictures at 16x16 while the reader looks.
// It predicts x_0, in batches of 16: of what was tried, readable soonest (docs/page.md).
#include <algorithm>
#include <optional>
#include <vector>

#include "apps/lesson/bridge.h"
#include "autograd/ops.h"
#include "diffusion/data/batches.h"
#include "diffusion/forward.h"
#include "diffusion/generate.h"
#include "diffusion/objective.h"
#include "nn/optim.h"
#include "nn/unet_config.h"
#include "tensor/io/resize.h"
#include "tensor/rng.h"

namespace sfumato::lesson {
namespace {

constexpr std::int64_t kSide = 16, kBatch = 16;

std::int64_t classes_of_pictures() {
  const auto labels = pictures().labels.values<std::int64_t>();
  return *std::max_element(labels.begin(), labels.end()) + 1;
}

nn::UNetConfig small_unet(std::int64_t channels, std::int64_t classes) {
  nn::UNetConfig c;
  c.in_channels = c.out_channels = channels;
  c.block_out_channels = {16, 32};
  c.down_attention = c.up_attention = {false, false};
  c.layers_per_block = 1;
  c.norm_num_groups = 8;
  c.add_attention = false;
  c.conditioning = {
      .kind = nn::Conditioning::Kind::table, .rows = classes + 1, .null_label = classes};
  return c;
}

Tensor shrunk(const Tensor& images) {
  const std::int64_t n = images.dim(0), channels = images.dim(3);
  Tensor small({n, kSide, kSide, channels}, DType::u8);
  for (std::int64_t i = 0; i < n; ++i)
    small.slice(i, i + 1).copy_from(
        io::fit_to(images.slice(i, i + 1).reshape({images.dim(1), images.dim(2), channels}),
                   {kSide, kSide})
            .reshape({1, kSide, kSide, channels}));
  return small;
}

// What is being learned, from live_start on.
struct Live {
  explicit Live(std::uint64_t s)
      : seed(s),
        classes(classes_of_pictures()),
        model(diffusion::make_pipeline(small_unet(pictures().images.dim(3), classes),
                                       diffusion::default_scheduler(diffusion::Prediction::x0), s)),
        schedule(diffusion::make_schedule(model.scheduler)),
        batches(shrunk(pictures().images), pictures().labels, kBatch, s, classes, 0.1),
        adam(*model.params, {}),
        ema(*model.params, 0.999) {
    model.network->sample_size = {kSide, kSide};
  }

  std::uint64_t seed;
  std::int64_t classes;
  diffusion::Pipeline model;
  diffusion::Schedule schedule;
  data::Batches batches;
  nn::AdamW adam;
  nn::Ema ema;
  std::int64_t step = 0;
};
std::optional<Live> live;

Live& current() {
  if (!live) throw Error("live", "expected live_start first");
  return *live;
}

// {seed}: a new network.
Json live_start(const Json& args) {
  live.emplace(args.value("seed", std::uint64_t{0}));
  return {
      {"parameters", live->model.params->count()}, {"batch", kBatch}, {"classes", live->classes}};
}

// One step of training. `watched`: each of its five stages is emitted when it is done, with a picture of it.
double train_step(Live& l, double progress, bool watched) {
  const auto k = static_cast<std::uint64_t>(l.step);
  const auto show = [&](int stage, const Tensor& x) {
    if (watched) emit({{"stage", stage}, {"x", pixels(x.slice(0, 1))}});
  };
  const auto [x0, label] = l.batches.at(l.step);
  show(1, x0);
  const Tensor t = Rng(l.seed, Purpose::timestep, k).randint({kBatch}, l.schedule.steps());
  const Tensor eps = Rng(l.seed, Purpose::noise, k).normal(x0.shape());
  if (watched)
    emit({{"t", t.values<std::int64_t>()[0]}, {"label", label.values<std::int64_t>()[0]}});
  show(2, eps);
  const Tensor xt = diffusion::q_sample(l.schedule, x0, t, eps);
  show(3, xt);
  const diffusion::Prediction prediction = l.model.scheduler.prediction_type;
  l.model.params->zero_grad();
  const Var output = (*l.model.network)(xt, t, label, {.training = true});
  const Var loss = mse(output, diffusion::target(prediction, l.schedule, x0, eps, t));
  show(4, diffusion::to_x0(prediction, l.schedule, output.value(), xt, t));
  loss.backward();
  const double lr = 2e-3 * nn::warmup_cosine(l.step, 50, progress, 0.02);
  l.adam.step(lr, {.norm = nn::gradient_norm(*l.model.params), .max_norm = 1}, &l.ema);
  if (watched) emit({{"stage", 5}, {"lr", lr}});
  ++l.step;
  return loss.value().item();
}

// {count, progress}: `count` steps; progress in [0, 1] is the share of the time that is over. -> the mean loss.
Json live_train(const Json& args) {
  Live& l = current();
  const int count = args.value("count", 5);
  double sum = 0;
  for (int i = 0; i < count; ++i) sum += train_step(l, args.value("progress", 0.0), i == 0);
  return {{"step", l.step}, {"loss", sum / count}};
}

// {labels, guidance, steps, seed}: pictures by the moving average of the weights.
Json live_draw(const Json& args) {
  Live& l = current();
  const nn::SwapValues average(*l.model.params, l.ema.average);
  diffusion::GenerateOptions o;
  o.labels = args.value("labels", std::vector<std::int64_t>{0, 1, 2, 3, 4, 5, 6, 7, 8, 9});
  o.guidance = args.value("guidance", 2.0);
  o.steps = args.value("draw_steps", 20);
  o.seed = args.value("seed", std::uint64_t{0});
  return {{"x", Json(diffusion::generate(l.model, o).values<std::uint8_t>())},
          {"labels", o.labels}};
}

constexpr Function kFunctions[] = {
    {"live_start", live_start}, {"live_train", live_train}, {"live_draw", live_draw}};

}  // namespace

std::span<const Function> live_functions() { return kFunctions; }

}  // namespace sfumato::lesson
