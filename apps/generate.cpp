#include "apps/generate.h"

#include <fmt/format.h>

#include <algorithm>

#include "autograd/fixed_weights.h"
#include "diffusion/batches.h"
#include "diffusion/objective.h"

namespace sfumato::apps {
namespace {

void check(const diffusion::Pipeline& model, const GenerateOptions& o) {
  if (o.labels.empty()) throw Error("sample", "expected at least one picture");
  if (model.unet_config.in_channels != model.unet_config.out_channels)
    throw Error("sample",
                fmt::format("the network maps {} channels to {}: not a denoiser",
                            model.unet_config.in_channels, model.unet_config.out_channels));
  constexpr std::int64_t kMostPixels = 1 << 22;
  if (const auto& c = model.unet_config; c.sample_height * c.sample_width > kMostPixels)
    throw Error("sample",
                fmt::format("sample_size {}x{}: pictures of at most {} pixels can be drawn",
                            c.sample_height, c.sample_width, kMostPixels));
  const std::int64_t channels = model.unet_config.out_channels;
  if (channels != 1 && channels != 3)
    throw Error(
        "sample",
        fmt::format("pictures of 1 or 3 channels can be written, the network has {}", channels));
  if (model.unet_config.class_embed == nn::ClassEmbed::none) {
    if (o.guidance != 1) throw Error("sample", "guidance needs a class-conditional model");
    return;
  }
  if (model.unet_config.class_embed != nn::ClassEmbed::table)
    throw Error("sample",
                "class_embed_type timestep and identity cannot be sampled here; see `predict`");
  for (std::int64_t label : o.labels)
    if (label < 0 || label >= model.unet_config.num_class_embeds)
      throw Error("sample", fmt::format("label {}: the model knows 0..{}", label,
                                        std::max<std::int64_t>(0, model.classes() - 1)));
  if (o.guidance != 1 && !model.null_label)
    throw Error(
        "sample",
        "guidance needs to know which label means 'no class', and this folder does not say: "
        "give --null-label");
}

}  // namespace

double default_guidance(const diffusion::Pipeline& model) {
  return model.null_label && model.scheduler.prediction_type != diffusion::Prediction::eps ? 2 : 1;
}

Tensor generate(const diffusion::Pipeline& model, const GenerateOptions& o) {
  check(model, o);
  NoGrad no_grad;
  FixedWeights fixed_weights;
  const nn::UNetConfig& c = model.unet_config;
  const auto total = static_cast<std::int64_t>(o.labels.size());
  const Shape one{1, c.sample_height, c.sample_width, c.out_channels};
  const diffusion::Schedule schedule = diffusion::make_schedule(model.scheduler);
  diffusion::SampleOptions chain{.config = model.scheduler, .steps = o.steps, .eta = o.eta};
  chain.config.method = o.method;

  // x_T ~ N(0, I), drawn for all pictures at once, so that it does not depend on `batch`.
  const Tensor x_T = Rng(o.seed, Purpose::sample_start).normal(one.with(0, total));
  Tensor pictures(one.with(0, total), DType::u8);
  // The thoughts of one step come from several batches; they are shown when complete.
  std::vector<Tensor> thoughts;
  if (o.on_step)
    for (std::int64_t i = 0; i < o.steps; ++i) thoughts.emplace_back(one.with(0, total), DType::u8);

  for (std::int64_t begin = 0; begin < total; begin += o.batch) {
    const std::int64_t end = std::min(total, begin + o.batch), n = end - begin;
    Tensor labels, null_labels;
    if (c.class_embed == nn::ClassEmbed::table) {
      labels = Tensor::from<std::int64_t>({n}, std::span(o.labels).subspan(begin, n));
      if (o.guidance != 1)
        null_labels = Tensor::full({n}, static_cast<double>(*model.null_label), DType::i64);
    }
    const diffusion::Denoiser denoiser = [&](const Tensor& xt, std::int64_t t) {
      const Tensor time = Tensor::full({n}, static_cast<double>(t), DType::i64);
      const Tensor output = (*model.unet)(xt, time, labels).value();
      if (!null_labels.defined()) return output;
      const Tensor free = (*model.unet)(xt, time, null_labels).value();
      return diffusion::guided(output, free, o.guidance);  // ε = ε_u + w (ε_c - ε_u)
    };
    if (o.on_step)
      chain.on_step = [&](const diffusion::Progress& p) {
        thoughts[p.step].slice(begin, end).copy_from(diffusion::to_bytes(p.x0));
      };
    chain.seed =
        o.seed + static_cast<std::uint64_t>(begin);  // each batch its own noise in the steps
    const Tensor x0 = diffusion::sample(schedule, chain, denoiser, x_T.slice(begin, end));
    pictures.slice(begin, end).copy_from(diffusion::to_bytes(x0));
  }
  for (std::size_t i = 0; i < thoughts.size(); ++i)
    o.on_step(static_cast<std::int64_t>(i), thoughts[i]);
  return pictures;
}

}  // namespace sfumato::apps
