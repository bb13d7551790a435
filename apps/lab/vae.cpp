// `sfumato lab vae`: a VAE beside a diffusion model of about the same size that has been trained with the same amount of
// arithmetic.
#include "apps/lab/vae.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>

#include "apps/lab/support.h"
#include "autograd/ops.h"
#include "diffusion/generate.h"
#include "diffusion/training/training.h"
#include "nn/fit.h"
#include "tensor/rng.h"

namespace sfumato::apps {
namespace {

constexpr std::int64_t kCode = 16, kSamplerSteps = 50;
// A step of training costs about three forward passes: its own and, backward, one each for inputs and weights.
constexpr double kForwardPerStep = 3;

nn::VaeConfig vae_config(const LabSetting& setting) {
  const Shape& shape = setting.train.images.shape();
  return {.channels = shape[3],
          .height = shape[1],
          .width = shape[2],
          .layers_per_block = 3,  // about as many parameters as the U-Net then has
          .code = kCode,
          .classes = setting.train.classes};
}

Tensor one_label() { return Tensor::zeros({1}, DType::i64); }

double model_flop(const diffusion::Pipeline& model) {
  const auto [height, width] = model.network->sample_size;
  const Tensor x = Tensor::zeros({1, height, width, model.network->in_channels});
  return count_flop([&] { (*model.network)(Var(x), one_label(), one_label()); });
}

struct Bits {
  double distortion, rate;  // a number of the picture
};
// The bound on the first `count` test pictures.
Bits test_bound(const nn::Vae& vae, const LabSetting& setting, std::int64_t count) {
  NoGrad no_grad;
  const std::int64_t n = std::min(count, setting.test.images.dim(0));
  const Tensor x = data::to_signed(setting.test.images.slice(0, n));
  const nn::Bound bound = nn::bound(vae, x, setting.test.labels.slice(0, n),
                                    Rng(setting.options.seed, Purpose::general, 1));
  return {nn::Bound::bits_per_dim(bound.distortion.value().item(), x.shape()),
          nn::Bound::bits_per_dim(bound.rate.value().item(), x.shape())};
}

std::vector<Cell> row(const std::string& what, double runs, double flop,
                      const LabJudge::Verdict& v) {
  return {what,
          Number{runs, 0},
          Number{flop / 1e6, 1},
          Number{v.agreement, 1},
          Number{v.error, 1},
          distance_cell(v),
          interval_cell(v)};
}

}  // namespace

LabVae::LabVae(const LabSetting& setting)
    : seed_(setting.options.seed), params_(seed_), vae_(params_, vae_config(setting)) {}

void LabVae::train(const data::Batches& batches, std::int64_t steps) {
  nn::fit(params_, {.steps = steps}, [&](std::int64_t k) {
    const auto [x, labels] = batches.at(k);
    const Rng rng(seed_, Purpose::noise, static_cast<std::uint64_t>(k));
    const std::int64_t dimensions = x.size() / x.dim(0);
    return nn::bound(vae_, x, labels, rng).total() * (1 / static_cast<double>(dimensions));
  });
}

Tensor LabVae::draw(const std::vector<std::int64_t>& labels) const {
  NoGrad no_grad;
  const auto n = static_cast<std::int64_t>(labels.size());
  const Tensor z = Rng(seed_, Purpose::sample_start).normal({n, kCode});
  return data::to_bytes(vae_.decode(z, Tensor::from<std::int64_t>({n}, labels)).mean.value());
}

Tensor LabVae::reconstruct(const Tensor& x, const Tensor& labels) const {
  NoGrad no_grad;
  return data::to_bytes(vae_.decode(vae_.encode(x, labels).mean, labels).mean.value());
}

double LabVae::flop() const {
  const nn::VaeConfig& c = vae_.config();
  const Tensor x = Tensor::zeros({1, c.height, c.width, c.channels});
  return count_flop([&] { nn::bound(vae_, x, one_label(), Rng(0)); });
}

double LabVae::decoder_flop() const {
  return count_flop([&] { vae_.decode(Tensor::zeros({1, kCode}), one_label()); });
}

LabResult lab_vae(const LabSetting& setting) {
  const LabOptions& o = setting.options;
  LabResult result;
  result.columns = {"pictures", "network runs",  "Mflop",        "agreement %",
                    "+-",       kDistanceColumn, kIntervalColumn};
  Stopwatch watch;
  const auto lap = [&](const char* what) { result.seconds.emplace_back(what, watch.lap()); };
  const LabJudge judge(setting, labels_in_turn(setting, o.count(1000, 300, 20)));
  lap("judge");

  const data::Batches batches(setting.train.images, setting.train.labels, kLabBatch, o.seed);
  diffusion::Pipeline model = lab_model(setting, diffusion::default_scheduler(), o.seed);
  const std::int64_t steps = o.count(4000, 800);
  diffusion::train_denoiser(model, batches, o.seed, {.steps = steps});
  lap("training the diffusion model");
  LabVae vae(setting);
  const double each = model_flop(model);
  const auto vae_steps =
      std::max<std::int64_t>(1, std::llround(static_cast<double>(steps) * each / vae.flop()));
  vae.train(batches, vae_steps);
  lap("training the VAE");

  const Tensor real = judge.real(), samples = vae.draw(judge.labels());
  const auto n = static_cast<std::int64_t>(judge.labels().size());
  const Tensor again =
      vae.reconstruct(data::to_signed(real), Tensor::from<std::int64_t>({n}, judge.labels()));
  lap("drawing with the VAE");
  const auto drawn = [&](std::int64_t k) {
    return diffusion::generate(model, {.labels = judge.labels(), .steps = k, .seed = o.seed});
  };
  const Tensor one = drawn(1), many = drawn(kSamplerSteps);
  lap("drawing with the diffusion model");

  result.rows = {
      row("real pictures", 0, 0, judge(real)),
      row("VAE: encoded and decoded", 1, vae.flop(), judge(again)),
      row("VAE: drawn in one shot", 1, vae.decoder_flop(), judge(samples)),
      row("diffusion model: one step", 1, each, judge(one)),
      row("diffusion model: 50 steps", kSamplerSteps, kSamplerSteps * each, judge(many))};
  result.picture = picture_of_rows({real, again, samples, one, many}, 10);
  for (const auto& r : result.rows) result.picture_rows.push_back(std::get<std::string>(r[0]));
  const auto tflop = [&](double flop, std::int64_t k) {
    return kForwardPerStep * flop * static_cast<double>(k * kLabBatch) / 1e12;
  };
  const Bits bits = test_bound(vae.network(), setting, o.count(2000, 500, 20));
  result.findings = {
      fmt::format("The VAE has {} parameters and was trained for {} steps of {} pictures "
                  "({:.2f} Tflop), the diffusion model {} and {} ({:.2f} Tflop).",
                  vae.parameters(), vae_steps, kLabBatch, tflop(vae.flop(), vae_steps),
                  model.params->count(), steps, tflop(each, steps)),
      fmt::format("The VAE's bound on test pictures is {:.3f} bits/dim: {:.3f} for the picture "
                  "given its code, {:.3f} for the code. (A stored pixel has 8.)",
                  bits.distortion + bits.rate, bits.distortion, bits.rate)};
  return result;
}

}  // namespace sfumato::apps
