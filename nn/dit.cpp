#include "nn/dit.h"

#include <fmt/format.h>

#include <array>
#include <nlohmann/json.hpp>

#include "autograd/checkpoint.h"

namespace sfumato::nn {
namespace {

constexpr std::int64_t kTimeFeatures = 256;
constexpr double kLayerNormEps = 1e-6;        // of the norms without an affine part
constexpr double kEmbeddingDeviation = 0.02;  // this and the next: as the authors' code begins

Linear dense(const Scope& s, std::int64_t in, std::int64_t out) {
  return Linear(s, in, out, xavier_uniform(in, out), zeros());
}

// What is 0 in a new network.
Linear silent(const Scope& s, std::int64_t in, std::int64_t out) {
  return Linear(s, in, out, zeros(), zeros());
}

}  // namespace

DiT::Condition::Condition(const Scope& s, std::int64_t width, std::int64_t rows)
    : time(s / "timestep_embedder", kTimeFeatures, width, kEmbeddingDeviation),
      label(s / "class_embedder" / "embedding_table", rows, width, kEmbeddingDeviation) {}

DiT::Block::Block(const Scope& s, const DiTConfig& c)
    : condition(s.exact() / "norm1" / "emb", c.width(), c.num_embeds_ada_norm + 1),
      modulation(silent(s.exact() / "norm1" / "linear", c.width(), 6 * c.width())),
      to_q(dense(s / "attn1" / "to_q", c.width(), c.width())),
      to_k(dense(s / "attn1" / "to_k", c.width(), c.width())),
      to_v(dense(s / "attn1" / "to_v", c.width(), c.width())),
      to_out(dense(s / "attn1" / "to_out" / "0", c.width(), c.width())),
      to_qkv(s, std::array{&to_q, &to_k, &to_v}),
      norm_attention(s / "norm1" / "norm", c.width(), kLayerNormEps, false),
      norm_feed(s / "norm3", c.width(), c.norm_eps, c.norm_elementwise_affine),
      feed_in(dense(s / "ff" / "net" / 0 / "proj", c.width(), 4 * c.width())),
      feed_out(dense(s / "ff" / "net" / 2, 4 * c.width(), c.width())),
      dropout_attention(s, c.dropout),
      dropout_feed(s, c.dropout),
      heads(c.num_attention_heads),
      gelu_approximate(c.gelu_approximate) {}

Var DiT::Block::attend(const Var& h) const {
  return to_out(self_attention(linear(h, to_qkv.weight, to_qkv.bias), heads));
}

Var DiT::Block::feed(const Var& h, const Mode& mode) const {
  const Var inside = feed_in(h);
  return feed_out(dropout_feed(gelu_approximate ? gelu_tanh(inside) : gelu(inside), mode));
}

// (α_1, β_1, γ_1, ...) = modulation(silu(c)), and h + α_1 attend(γ_1 LN(h) + β_1) likewise in both parts (figure 3)
Var DiT::Block::operator()(const Var& h, const Tensor& features, const Tensor& labels,
                           const Mode& mode) const {
  const std::int64_t width = h.dim(2);
  const Vars told =  // each [N, width]
      split_last(modulation(condition(features, labels), {.silu = true}),
                 std::array{width, width, width, width, width, width});
  const Var seen = modulate(norm_attention(h), told[0], told[1]);
  const Var between = gated_sum(h, told[2], dropout_attention(attend(seen), mode));
  return gated_sum(between, told[5], feed(modulate(norm_feed(between), told[3], told[4]), mode));
}

DiT::DiT(const Scope& s, const DiTConfig& config)
    : config_((config.check(), config)),
      patch_weight_(
          (s / "pos_embed" / "proj")
              .param("weight",
                     {config.width(), config.in_channels, config.patch_size, config.patch_size},
                     xavier_uniform(config.in_channels * config.patch_size * config.patch_size,
                                    config.width()))),
      patch_bias_((s / "pos_embed" / "proj").param("bias", {config.width()}, zeros())),
      norm_out_(s / "norm_out", config.width(), kLayerNormEps, false),
      proj_out_1_(silent(s.exact() / "proj_out_1", config.width(), 2 * config.width())),
      proj_out_2_(silent(s / "proj_out_2", config.width(),
                         config.patch_size * config.patch_size *
                             config.out_channels.value_or(config.in_channels))) {
  for (std::int64_t i = 0; i < config.num_layers; ++i)
    blocks_.emplace_back(s / "transformer_blocks" / i, config);
  in_channels = config.in_channels;
  out_channels = config.out_channels.value_or(config.in_channels);
  size_multiple = config.patch_size;
  square = true;
  sample_size = {config.sample_size, config.sample_size};
  if (config.num_embeds_ada_norm > 0)
    conditioning = {.kind = Conditioning::Kind::table,
                    .rows = config.num_embeds_ada_norm + 1,
                    .width = config.width(),
                    .null_label = config.num_embeds_ada_norm};
}

io::Json DiT::config() const {
  DiTConfig config = config_;
  config.sample_size = sample_size.height;
  return to_json(config);
}

void DiT::expect_input(const Var& x, const Tensor& t) const {
  expect_rank("dit", "input", x.value(), 4);
  if (x.dim(3) != config_.in_channels)
    throw Error("dit", fmt::format("input {} has {} channels, expected {}", x.shape().str(),
                                   x.dim(3), config_.in_channels));
  if (const std::string problem = size_problem(x.dim(1), x.dim(2)); !problem.empty())
    throw Error("dit", problem);
  expect_shape("dit", "timestep", t, {x.dim(0)});
}

// [N, H/p, p, W/p, p, C] -> a row of p x p x C numbers for each patch: a convolution of stride p is a product with them.
Var DiT::patchify(const Var& x) const {
  const std::int64_t n = x.dim(0), p = config_.patch_size, c = x.dim(3), h = x.dim(1) / p,
                     w = x.dim(2) / p, width = config_.width();
  const Var patches =
      reshape(permute(reshape(x, {n, h, p, w, p, c}), {0, 1, 3, 5, 2, 4}), {n, h * w, c * p * p});
  const Tensor places = sincos_positions(
      {.height = h, .width = w, .base = static_cast<double>(patches_a_side())}, width, x.kind());
  return linear(patches, reshape(patch_weight_, {width, c * p * p}), patch_bias_) + Var(places);
}

Var DiT::unpatchify(const Var& tokens, const Var& like) const {
  const std::int64_t n = like.dim(0), p = config_.patch_size, h = like.dim(1) / p,
                     w = like.dim(2) / p;
  return reshape(permute(reshape(tokens, {n, h, w, p, p, out_channels}), {0, 1, 3, 2, 4, 5}),
                 {n, h * p, w * p, out_channels});
}

Var DiT::operator()(const Var& x, const Tensor& t, const Tensor& labels, const Mode& mode) const {
  expect_input(x, t);
  conditioning.check(labels, x.dim(0));
  const Tensor features = sinusoidal_embedding(t, kTimeFeatures, true, 1, x.dtype());
  const Tensor rows =
      labels.defined() ? labels : Tensor::zeros({x.dim(0)}, {DType::i64, x.value().device()});
  const DType inside = patch_weight_.var().dtype();  // bf16, if matrices are used so
  Var h = patchify(cast(x, inside));
  for (const Block& block : blocks_) {
    const auto run = [&block, features, rows, mode](std::span<const Var> in) {
      return block(in[0], features, rows, mode);
    };
    h = mode.recompute ? checkpoint(run, {h}) : run(std::array{h});
  }
  // diffusers takes what the first block is told.
  const std::int64_t width = config_.width();
  const Vars told = split_last(proj_out_1_(blocks_[0].condition(features, rows), {.silu = true}),
                               std::array{width, width});
  h = modulate(norm_out_(h), told[0], told[1]);
  return cast(unpatchify(proj_out_2_(h), x), x.dtype());
}

BuildNetwork read_dit(const io::JsonObject& config, std::vector<std::string>* notes) {
  return [parsed = parse_dit_config(config, notes)](const Scope& scope) {
    return std::make_unique<DiT>(scope, parsed);
  };
}

}  // namespace sfumato::nn
