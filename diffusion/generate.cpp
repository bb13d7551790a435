#include "diffusion/generate.h"

#include <fmt/format.h>

#include <algorithm>
#include <functional>
#include <limits>
#include <optional>
#include <span>
#include <utility>
#include <vector>

#include "autograd/fixed_weights.h"
#include "autograd/ops.h"
#include "diffusion/classifier_guidance.h"
#include "diffusion/data/batches.h"
#include "diffusion/names.h"
#include "diffusion/objective.h"
#include "tensor/recorded.h"

namespace sfumato::diffusion {
namespace {

constexpr EnumName<Clip> kClips[] = {{Clip::on, "on"},
                                     {Clip::diffusers, "diffusers"},
                                     {Clip::dynamic, "dynamic"},
                                     {Clip::off, "off"}};

constexpr std::int64_t kMaxPixels = std::int64_t{1} << 22;  // of one picture

void expect_size(const nn::Network& network, std::int64_t height, std::int64_t width) {
  if (height < 1 || width < 1)
    throw Error("sample",
                "the model does not say how large its pictures are (sample_size is null): "
                "give a size (--size)");
  if (height > kMaxPixels / width)
    throw Error("sample", fmt::format("pictures of at most {} pixels can be drawn, got {}x{}",
                                      kMaxPixels, height, width));
  if (const std::string problem = network.size_problem(height, width); !problem.empty())
    throw Error("sample", problem);
}

// The channels of pictures, given back once, or twice where a variance is learned.
void expect_channels(const nn::Network& network, const SchedulerConfig& scheduler) {
  if (const std::string problem = variance_problem(network, scheduler); !problem.empty())
    throw Error("sample", problem);
  const std::int64_t in = network.in_channels, out = network.out_channels;
  // The file of another class than DDPM's does not say whether the variance is learned.
  const bool silent = !scheduler.sampler.takes_variance();
  const bool may_be_learned = silent || scheduler.variance_type == Variance::learned_range;
  if (out != in && !(may_be_learned && out == 2 * in))
    throw Error("sample", fmt::format("the network maps {} channels to {}: not a denoiser, with "
                                      "variance_type {}",
                                      in, out, name(scheduler.variance_type)));
  if (in != 1 && in != 3)
    throw Error("sample",
                fmt::format("pictures of 1 or 3 channels can be written, the network has {}", in));
}

// The variance of DDPM's steps, where it is asked for.
void expect_variance(const SchedulerConfig& scheduler, const GenerateOptions& o) {
  if (!o.variance) return;
  if (!o.sampler.takes_variance())
    throw Error("sample", fmt::format("variance {}: expected the sampler ddpm, got {}",
                                      name(*o.variance), o.sampler.name));
  if (scheduler.variance_type == Variance::learned_range)
    throw Error("sample", fmt::format("variance {}: the network says the variance itself",
                                      name(*o.variance)));
}

// By the same network and another label, a negative class or none.
bool guides_by_label(const GenerateOptions& o) { return guides(o) && !o.guide && !o.classifier; }

void expect_labels(const Pipeline& model, const std::vector<std::int64_t>& labels) {
  const auto names = static_cast<std::int64_t>(model.class_names.size());
  for (const std::int64_t label : labels) {
    model.conditioning().check(label);
    if (label < names && model.class_names[static_cast<std::size_t>(label)].empty())
      throw Error("sample",
                  fmt::format("label {}: the model was trained without a picture of it", label));
  }
}

// The negative class, and the second ones.
void expect_more_labels(const Pipeline& model, const GenerateOptions& o) {
  if (o.negative) {
    expect_labels(model, {*o.negative});
    if (o.guide) throw Error("sample", "expected a negative class or a guide, got both");
    if (!guides(o))
      throw Error("sample",
                  fmt::format("a negative class acts by guidance: expected a scale other than 1, "
                              "got {}",
                              o.guidance));
  }
  if (!o.mix.empty() && o.mix.size() != o.labels.size())
    throw Error("sample", fmt::format("expected a second class for each of {} pictures, got {}",
                                      o.labels.size(), o.mix.size()));
  for (const Mix& mix : o.mix) {
    expect_labels(model, {mix.label});
    if (!(mix.share >= 0 && mix.share <= 1))
      throw Error("sample",
                  fmt::format("expected a share of the second class in [0, 1], got {}", mix.share));
  }
}

// The network as a function of tensors: x_t, t and, where the model has classes, the labels. On a GPU it is recorded, and
// replayed at each step of the samplers.
Recorded::Function evaluation(const nn::Network& network) {
  return [&network](std::span<const Tensor> in) -> std::vector<Tensor> {
    return {network(in[0], in[1], in.size() > 2 ? in[2] : Tensor()).value()};
  };
}

// `evaluate` for the labels [N], undefined where there are none.
Denoiser denoiser_for(const GenerateOptions& o, const Tensor& labels, Recorded& evaluate) {
  return [=, &o, &evaluate](const Tensor& xt, double t) {
    if (o.cancelled && o.cancelled()) throw Cancelled();
    const Tensor time = Tensor::full({xt.dim(0)}, t, {DType::f32, xt.device()});
    const std::vector<Tensor>& output =
        labels.defined() ? evaluate({xt, time, labels}) : evaluate({xt, time});
    return output[0].clone();  // the next call may write there
  };
}

// The networks for some number of pictures at a time: the model's, and the one that its answers are guided away from.
struct Networks {
  Recorded model;
  std::optional<Recorded> guide;
  Networks(Device device, const Pipeline& pipeline, const GenerateOptions& o)
      : model(device, evaluation(*pipeline.network)) {
    if (o.guide) guide.emplace(device, evaluation(*o.guide->network));
  }
};

// (1 − share) answer + share (the answer for the second class), for pictures begin..begin+n−1.
Denoiser mixed(const GenerateOptions& o, std::int64_t begin, std::int64_t n, Device device,
               const Denoiser& first, Recorded& evaluate) {
  std::vector<std::int64_t> labels, rows;
  std::vector<double> shares;
  for (std::int64_t i = 0; i < n; ++i) {
    const Mix& mix = o.mix[static_cast<std::size_t>(begin + i)];
    labels.push_back(mix.label), shares.push_back(mix.share), rows.push_back(i);
  }
  const auto tensor = [&](const std::vector<std::int64_t>& values) {
    return Tensor::from<std::int64_t>({n}, std::span(values)).to(device);
  };
  const Denoiser second = denoiser_for(o, tensor(labels), evaluate);
  const Coefficient share(shares, tensor(rows));
  return [=](const Tensor& xt, double t) {
    return (1.0 + -share) * first(xt, t) + share * second(xt, t);
  };
}

// log p(label) as the classifier reads it, of each picture. Labels i64 [N], on its device.
std::function<Var(const Var&)> log_probability(const PictureClassifier& classifier,
                                               std::span<const std::int64_t> labels,
                                               Device device) {
  constexpr double kSmallest = 1e-30;
  const auto n = static_cast<std::int64_t>(labels.size());
  Tensor one_hot = Tensor::zeros({n, classifier.classes});
  for (std::int64_t i = 0; i < n; ++i)
    one_hot.data<float>()[i * classifier.classes + labels[static_cast<std::size_t>(i)]] = 1;
  return [&classifier, n, here = one_hot.to(device)](const Var& x0) {
    const Var p = sum_to(softmax(classifier.logits(x0)) * Var(here), Shape{n, 1});
    return reshape(log(p + kSmallest), {n});
  };
}

// What draws pictures begin..end−1: the denoiser, and what guides it.
struct Denoisers {
  Denoiser denoiser;
  Guide guide;
};
Denoisers denoisers_for(const Pipeline& model, const GenerateOptions& o, std::int64_t begin,
                        std::int64_t end, Networks& networks) {
  const std::int64_t n = end - begin;
  const Kind kind{DType::i64, model.params->kind().device};
  Tensor labels, away;
  if (model.conditioning().has_table()) {
    labels = Tensor::from<std::int64_t>({n}, std::span(o.labels).subspan(begin, n)).to(kind.device);
    away = labels;
    if (guides_by_label(o))
      away = Tensor::full(
          {n}, static_cast<double>(o.negative ? *o.negative : *model.conditioning().null_label),
          kind);
  }
  Denoisers result{.denoiser = denoiser_for(o, labels, networks.model),
                   .guide = {.method = o.method, .scale = o.guidance}};
  if (!o.mix.empty())
    result.denoiser = mixed(o, begin, n, kind.device, result.denoiser, networks.model);
  if (o.classifier)
    result.guide.score = score_of_estimate(
        log_probability(*o.classifier, std::span(o.labels).subspan(begin, n), kind.device),
        model.scheduler.clip_sample_range);
  else if (guides(o))
    result.guide.away = denoiser_for(o, away, networks.guide ? *networks.guide : networks.model);
  return result;
}

SampleOptions chain_options(const Pipeline& model, const GenerateOptions& o) {
  SampleOptions chain{.config = model.scheduler,
                      .steps = o.steps.value_or(default_steps(model, o.sampler)),
                      .eta = o.eta,
                      .restart = o.restart,
                      .seed = o.seed,
                      .self_condition = model.network->takes_estimate};
  chain.config.sampler = o.sampler;
  if (o.spacing) chain.config.timestep_spacing = *o.spacing;
  if (o.variance) chain.config.variance_type = *o.variance;
  if (o.clip) {
    chain.config.clip_sample = *o.clip != Clip::off;
    chain.config.thresholding = *o.clip == Clip::dynamic;
    if (chain.config.thresholding)
      chain.config.sample_max_value = std::numeric_limits<double>::max();
    chain.config.use_clipped_model_output = *o.clip != Clip::diffusers;
  }
  return chain;
}

}  // namespace

std::vector<std::int64_t> drawable_labels(const Pipeline& model) {
  std::vector<std::int64_t> labels;
  for (std::int64_t k = 0; k < model.conditioning().rows; ++k) {
    const auto i = static_cast<std::size_t>(k);
    const bool unseen = i < model.class_names.size() && model.class_names[i].empty();
    if (k != model.conditioning().null_label && !unseen) labels.push_back(k);
  }
  return labels;
}

std::string class_name(std::int64_t label, const Pipeline& model) {
  const auto i = static_cast<std::size_t>(label);
  return i < model.class_names.size() ? model.class_names[i] : std::to_string(label);
}

Shape picture_shape(const Pipeline& model, const GenerateOptions& o) {
  const auto [height, width] = model.network->sample_size;
  return {static_cast<std::int64_t>(o.labels.size()), o.height > 0 ? o.height : height,
          o.width > 0 ? o.width : width, model.network->in_channels};
}

void PictureClassifier::expect_class(std::int64_t label) const {
  if (label < 0 || label >= classes)
    throw Error("sample", fmt::format("label {}: the classifier knows 0..{}", label, classes - 1));
}

Clip parse_clip(std::string_view name) { return parse_row("clip", kClips, name).value; }

namespace {

// By a classifier, and by nothing else.
void expect_classifier(const GenerateOptions& o) {
  o.method.expect_classifier(o.classifier != nullptr);
  if (o.guide) throw Error("sample", "expected a classifier or a guide, got both");
  if (o.negative || !o.mix.empty())
    throw Error("sample", "a classifier guides to the label: expected no negative or second class");
  for (const std::int64_t label : o.labels) o.classifier->expect_class(label);
}

}  // namespace

void expect_drawable(const Pipeline& model, const GenerateOptions& o) {
  model.expect_sampling();
  const nn::Network& network = *model.network;
  const nn::Conditioning& conditioning = network.conditioning;
  if (o.labels.empty()) throw Error("sample", "expected at least one picture");
  expect_channels(network, model.scheduler);
  expect_variance(model.scheduler, o);
  const Shape shape = picture_shape(model, o);
  expect_size(network, shape[1], shape[2]);
  if (o.classifier || o.method.by_classifier) expect_classifier(o);
  if (o.guide) expect_guide(model, *o.guide);
  if (conditioning.kind == nn::Conditioning::Kind::none) {
    if (o.negative || !o.mix.empty())
      throw Error("sample", "a negative or a second class needs a class-conditional model");
    if (guides_by_label(o)) throw Error("sample", "guidance needs a class-conditional model");
    return;
  }
  if (!conditioning.has_table())
    throw Error("sample",
                "class_embed_type timestep and identity cannot be sampled here; see `predict`");
  expect_labels(model, o.labels);
  expect_more_labels(model, o);
  if (guides_by_label(o) && !o.negative && !conditioning.null_label)
    throw Error(
        "sample",
        "guidance needs to know which label means 'no class', and this folder does not say: "
        "set it (--null-label)");
}

void expect_guide(const Pipeline& model, const Pipeline& guide) {
  const auto expect_same = [](const char* what, const auto& got, const auto& expected) {
    if (got != expected)
      throw Error("sample",
                  fmt::format("the guide is of another kind than the model: {} {}, expected {}",
                              what, got, expected));
  };
  guide.expect_sampling();
  const SchedulerConfig &a = model.scheduler, &b = guide.scheduler;
  expect_same("prediction", b.prediction_type.name, a.prediction_type.name);
  expect_same("schedule", b.beta_schedule.name, a.beta_schedule.name);
  expect_same("timesteps", b.num_train_timesteps, a.num_train_timesteps);
  expect_same("channels", guide.network->out_channels, model.network->out_channels);
  expect_same("self-conditioned", guide.network->takes_estimate, model.network->takes_estimate);
  expect_same("classes", guide.conditioning().rows, model.conditioning().rows);
}

bool guides(const GenerateOptions& o) { return o.guidance != o.method.none() || o.method.own_eps; }

double default_guidance(const Pipeline& model, const Guidance& method, const Pipeline* guide) {
  return guide || method.by_classifier || model.conditioning().null_label ? method.default_scale
                                                                          : 1;
}

const Sampler& default_sampler(const Pipeline& model) {
  const Sampler& told = model.scheduler.sampler;
  return told == Sampler::ddpm ? Sampler::ddim : told;
}

std::int64_t default_steps(const Pipeline& model, const Sampler& sampler) {
  const std::int64_t T = model.scheduler.num_train_timesteps;
  return sampler.default_steps > 0 ? std::min(sampler.default_steps, T) : T;
}

void draw(const Pipeline& model, const GenerateOptions& o,
          const std::function<void(Drawing&)>& each) {
  expect_drawable(model, o);
  NoGrad no_grad;
  FixedWeights fixed_weights;
  const auto total = static_cast<std::int64_t>(o.labels.size());
  const Schedule schedule = make_schedule(model.scheduler);

  // x_T ~ N(0, I), drawn for all pictures at once, so that it does not depend on `batch`.
  const Device device = model.params->kind().device;
  const Tensor x_T = Rng(o.seed, Purpose::sample_start, 0, device).normal(picture_shape(model, o));
  std::optional<Networks> networks;
  std::int64_t recorded = 0;  // pictures at a time
  const std::int64_t batch = o.sampler.one_picture ? 1 : o.batch;
  for (std::int64_t begin = 0; begin < total; begin += batch) {
    const std::int64_t end = std::min(total, begin + batch);
    if (end - begin != recorded) networks.emplace(device, model, o);
    recorded = end - begin;
    const Denoisers d = denoisers_for(model, o, begin, end, *networks);
    Drawing drawing{
        begin, end, schedule, chain_options(model, o), d.denoiser, x_T.slice(begin, end)};
    drawing.options.first_picture = begin;
    drawing.options.guide = d.guide;
    each(drawing);
  }
}

Tensor generate(const Pipeline& model, const GenerateOptions& o) {
  expect_drawable(model, o);
  const Shape shape = picture_shape(model, o);
  Tensor pictures(shape, DType::u8);
  // The x̂_0 of one step come from several batches; they are shown when complete.
  std::vector<Tensor> previews;
  draw(model, o, [&](Drawing& d) {
    if (o.on_step)
      d.options.on_step = [&](const Progress& p) {
        while (static_cast<std::int64_t>(previews.size()) <= p.step)
          previews.emplace_back(shape, DType::u8);
        previews[p.step].slice(d.begin, d.end).copy_from(data::to_bytes(p.x0));
      };
    const Tensor x0 = sample(d.schedule, d.options, d.denoiser, d.x_T);
    pictures.slice(d.begin, d.end).copy_from(data::to_bytes(x0));
  });
  for (std::size_t i = 0; i < previews.size(); ++i)
    o.on_step(static_cast<std::int64_t>(i), previews[i]);
  return pictures;
}

}  // namespace sfumato::diffusion
