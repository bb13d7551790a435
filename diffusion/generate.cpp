#include "diffusion/generate.h"

#include <fmt/format.h>

#include <algorithm>
#include <optional>
#include <vector>

#include "autograd/fixed_weights.h"
#include "diffusion/data/batches.h"
#include "diffusion/names.h"
#include "diffusion/objective.h"
#include "tensor/recorded.h"

namespace sfumato::diffusion {
namespace {

constexpr EnumName<Clip> kClips[] = {
    {Clip::on, "on"}, {Clip::diffusers, "diffusers"}, {Clip::off, "off"}};

constexpr std::int64_t kMaxPixels = std::int64_t{1} << 22;  // of one picture

void expect_size(const nn::Network& network, std::int64_t height, std::int64_t width) {
  if (height < 1 || width < 1)
    throw Error("sample",
                "the model does not say how large its pictures are (sample_size is null): "
                "give a size (--size)");
  if (height > kMaxPixels / width)
    throw Error("sample", fmt::format("pictures of at most {} pixels can be drawn, got {}x{}",
                                      kMaxPixels, height, width));
  const std::int64_t multiple = network.size_multiple;
  if (height % multiple != 0 || width % multiple != 0)
    throw Error("sample",
                fmt::format("this network draws sizes that are multiples of {}, got {}x{}",
                            multiple, height, width));
}

void expect_labels(const Pipeline& model, const std::vector<std::int64_t>& labels) {
  const auto names = static_cast<std::int64_t>(model.class_names.size());
  for (const std::int64_t label : labels) {
    model.conditioning().check(label);
    if (label < names && model.class_names[static_cast<std::size_t>(label)].empty())
      throw Error("sample",
                  fmt::format("label {}: the model was trained without a picture of it", label));
  }
}

// The network with guidance as a function of tensors: x_t, t and, where the model has classes, the labels and, where
// there is guidance, null labels. On a GPU it is recorded, and replayed at each step of the samplers.
Recorded::Function evaluation(const nn::Network& network, double w) {
  return [&network, w](std::span<const Tensor> in) -> std::vector<Tensor> {
    const Tensor &xt = in[0], &t = in[1];
    const Tensor output = network(xt, t, in.size() > 2 ? in[2] : Tensor()).value();
    if (in.size() < 4) return {output};
    return {guided(output, network(xt, t, in[3]).value(), w)};  // ε = ε_u + w (ε_c - ε_u)
  };
}

// `evaluate` for pictures begin..end−1.
Denoiser denoiser_for(const Pipeline& model, const GenerateOptions& o, std::int64_t begin,
                      std::int64_t end, Recorded& evaluate) {
  const std::int64_t n = end - begin;
  const Kind kind{DType::i64, model.params->kind().device};
  Tensor labels, null_labels;
  if (model.conditioning().has_table()) {
    labels = Tensor::from<std::int64_t>({n}, std::span(o.labels).subspan(begin, n)).to(kind.device);
    if (o.guidance != 1)
      null_labels = Tensor::full({n}, static_cast<double>(*model.conditioning().null_label), kind);
  }
  return [=, &o, &evaluate](const Tensor& xt, double t) {
    if (o.cancelled && o.cancelled()) throw Cancelled();
    const Tensor time = Tensor::full({n}, t, {DType::f32, kind.device});
    const std::vector<Tensor>& output = null_labels.defined()
                                            ? evaluate({xt, time, labels, null_labels})
                                        : labels.defined() ? evaluate({xt, time, labels})
                                                           : evaluate({xt, time});
    return output[0].clone();  // the next call may write there
  };
}

SampleOptions chain_options(const Pipeline& model, const GenerateOptions& o) {
  SampleOptions chain{.config = model.scheduler,
                      .steps = o.steps.value_or(default_steps(model, o.sampler)),
                      .eta = o.eta,
                      .seed = o.seed};
  chain.config.sampler = o.sampler;
  if (o.spacing) chain.config.timestep_spacing = *o.spacing;
  if (o.clip) {
    chain.config.clip_sample = *o.clip != Clip::off;
    chain.config.use_clipped_model_output = *o.clip == Clip::on;
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
  const auto [height, width] = model.sample_size;
  return {static_cast<std::int64_t>(o.labels.size()), o.height > 0 ? o.height : height,
          o.width > 0 ? o.width : width, model.network->out_channels};
}

Clip parse_clip(std::string_view name) { return parse_row("clip", kClips, name).value; }

void expect_drawable(const Pipeline& model, const GenerateOptions& o) {
  model.expect_sampling();
  const nn::Network& network = *model.network;
  const nn::Conditioning& conditioning = network.conditioning;
  if (o.labels.empty()) throw Error("sample", "expected at least one picture");
  if (network.in_channels != network.out_channels)
    throw Error("sample", fmt::format("the network maps {} channels to {}: not a denoiser",
                                      network.in_channels, network.out_channels));
  if (network.out_channels != 1 && network.out_channels != 3)
    throw Error("sample",
                fmt::format("pictures of 1 or 3 channels can be written, the network has {}",
                            network.out_channels));
  const Shape shape = picture_shape(model, o);
  expect_size(network, shape[1], shape[2]);
  if (conditioning.kind == nn::Conditioning::Kind::none) {
    if (o.guidance != 1) throw Error("sample", "guidance needs a class-conditional model");
    return;
  }
  if (!conditioning.has_table())
    throw Error("sample",
                "class_embed_type timestep and identity cannot be sampled here; see `predict`");
  expect_labels(model, o.labels);
  if (o.guidance != 1 && !conditioning.null_label)
    throw Error(
        "sample",
        "guidance needs to know which label means 'no class', and this folder does not say: "
        "set it (--null-label)");
}

double default_guidance(const Pipeline& model) { return model.conditioning().null_label ? 2 : 1; }

std::int64_t default_steps(const Pipeline& model, const Sampler& sampler) {
  const std::int64_t T = model.scheduler.num_train_timesteps;
  return sampler.default_steps > 0 ? std::min(sampler.default_steps, T) : T;
}

Tensor generate(const Pipeline& model, const GenerateOptions& o) {
  expect_drawable(model, o);
  NoGrad no_grad;
  FixedWeights fixed_weights;
  const auto total = static_cast<std::int64_t>(o.labels.size());
  const Shape shape = picture_shape(model, o);
  const Schedule schedule = make_schedule(model.scheduler);
  SampleOptions chain = chain_options(model, o);

  // x_T ~ N(0, I), drawn for all pictures at once, so that it does not depend on `batch`.
  const Device device = model.params->kind().device;
  const Tensor x_T = Rng(o.seed, Purpose::sample_start, 0, device).normal(shape);
  Tensor pictures(shape, DType::u8);
  // The x̂_0 of one step come from several batches; they are shown when complete.
  std::vector<Tensor> previews;
  if (o.on_step)
    for (std::int64_t i = 0; i < chain.steps; ++i) previews.emplace_back(shape, DType::u8);

  std::optional<Recorded> evaluate;
  std::int64_t recorded = 0;  // pictures at a time
  const std::int64_t batch = o.sampler.one_picture ? 1 : o.batch;
  for (std::int64_t begin = 0; begin < total; begin += batch) {
    const std::int64_t end = std::min(total, begin + batch);
    if (o.on_step)
      chain.on_step = [&](const Progress& p) {
        previews[p.step].slice(begin, end).copy_from(data::to_bytes(p.x0));
      };
    chain.first_picture = begin;
    if (end - begin != recorded) evaluate.emplace(device, evaluation(*model.network, o.guidance));
    recorded = end - begin;
    const Tensor x0 = sample(schedule, chain, denoiser_for(model, o, begin, end, *evaluate),
                             x_T.slice(begin, end));
    pictures.slice(begin, end).copy_from(data::to_bytes(x0));
  }
  for (std::size_t i = 0; i < previews.size(); ++i)
    o.on_step(static_cast<std::int64_t>(i), previews[i]);
  return pictures;
}

}  // namespace sfumato::diffusion
