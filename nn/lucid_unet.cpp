#include "nn/lucid_unet.h"

#include <fmt/format.h>

#include <array>
#include <cmath>
#include <nlohmann/json.hpp>

#include "autograd/checkpoint.h"

namespace sfumato::nn {
namespace {

constexpr double kLucidNormEps = 1e-5;  // of GroupNorm, LayerNorm and standardised filters
constexpr double kZeroPower = 1e-24;    // RMSNorm of zeros is zeros

// PyTorch's (C p1 p2) channels of 2x2 pixels: a filter [out, 4 C, 1, 1] of them is one of size 2 and stride 2.
Var unshuffled_conv(const Conv2d& conv, const Var& x) {
  const Var& w = conv.weight;
  return conv2d(x, reshape(w, {w.dim(0), w.dim(1) / 4, 2, 2}), conv.bias, {.stride = 2});
}

// Where the attention's parameters are, but for its norm.
Scope inside(const Scope& s, const LucidVersion& version) {
  return version.wraps_attention ? s / "fn" / "fn" : s;
}

// [N, a C], [N, b C] -> [N, a + b, C]
Var concat_tokens(const Var& a, const Var& b, std::int64_t c) {
  const std::int64_t n = a.dim(0), tokens = (a.dim(1) + b.dim(1)) / c;
  return reshape(concat(a, b), {n, tokens, c});
}

}  // namespace

LucidUnet::ChannelNorm::ChannelNorm(const Scope& s, std::int64_t channels, bool rms)
    : g(s.exact().param("g", {1, channels, 1, 1}, ones())),
      unit(s, channels, kZeroPower, false),
      rms(rms) {}

Var LucidUnet::ChannelNorm::operator()(const Var& x) const {
  const Var gain = reshape(g, {x.dim(-1)});
  return rms ? unit(x) * cast(gain, x.dtype()) : layer_norm(x, gain, Var(), kLucidNormEps);
}

LucidUnet::Block::Block(const Scope& s, std::int64_t in, std::int64_t out,
                        const LucidUnetConfig& config)
    : proj(s / "proj", in, out, 3, Conv2dOptions::padded(1)),
      standardizes(config.version.standardizes) {
  if (config.version.block_rms_norm)
    rms_norm.emplace(s / "norm", out, true);
  else
    group_norm.emplace(s / "norm", out, config.resnet_block_groups, kLucidNormEps);
}

// Each filter with mean 0 and variance 1                                       [Qiao 2019, eq. 4 and 5]
Var LucidUnet::Block::weight() const {
  const Var& w = proj.weight;
  if (!standardizes) return w;
  const Shape filters{w.dim(0), 1, 1, 1};
  const double size = static_cast<double>(w.value().size()) / static_cast<double>(w.dim(0));
  const Var centred = w - sum_to(w, filters) * (1 / size);
  const Var variance = sum_to(sfumato::square(centred), filters) * (1 / size);
  return centred / sqrt(variance + kLucidNormEps);
}

Var LucidUnet::Block::operator()(const Var& x, const Var& skip, const Var& told) const {
  const Var h = conv2d(x, weight(), proj.bias, proj.options, {.skip = skip});
  if (group_norm && !told.defined()) return group_norm->then_silu(h);
  const Var y = group_norm ? (*group_norm)(h) : (*rms_norm)(h);
  if (!told.defined()) return silu(y);
  const std::int64_t n = h.dim(0), height = h.dim(1), width = h.dim(2), c = h.dim(3);
  const Vars parts = split_last(told, std::array{c, c});  // scale, shift
  const Var moved = modulate(reshape(y, {n, height * width, c}), parts[1], parts[0]);
  return silu(reshape(moved, {n, height, width, c}));
}

LucidUnet::Resnet::Resnet(const Scope& s, std::int64_t in, std::int64_t out,
                          const LucidUnetConfig& config)
    : mlp(s.exact() / "mlp" / 1, 4 * config.dim, 2 * out),
      block1(s / "block1", in, out, config),
      block2(s / "block2", out, out, config),
      dropout(s, config.dropout) {
  if (in != out) res_conv.emplace(s / "res_conv", in, out, 1, Conv2dOptions{});
}

Var LucidUnet::Resnet::operator()(const Var& x, const Var& temb, const Mode& mode,
                                  const Var& skip) const {
  const Var told = mlp(temb, {.silu = true});
  const Var h = block2(dropout(block1(x, skip, told), mode), {}, {});
  return h + (res_conv ? (*res_conv)(x, {.skip = skip}) : x);
}

LucidUnet::Attention::Attention(const Scope& s, const Options& o, const LucidVersion& version)
    : options(o),
      version(version),
      norm(version.wraps_attention ? s / "fn" / "norm" : s / "norm", o.channels,
           version.attention_rms_norm),
      to_qkv((inside(s, version) / "to_qkv")
                 .param("weight", {3 * o.heads * o.head_dim, o.channels, 1, 1},
                        uniform_fan_in(o.channels))),
      to_out(o.full ? inside(s, version) / "to_out" : inside(s, version) / "to_out" / 0,
             o.heads * o.head_dim, o.channels, 1, Conv2dOptions{}) {
  if (!o.full)
    norm_out.emplace(inside(s, version) / "to_out" / 1, o.channels, version.attention_rms_norm);
}

Var LucidUnet::Attention::operator()(const Var& x) const {
  const std::int64_t n = x.dim(0), height = x.dim(1), width = x.dim(2);
  const std::int64_t inner = options.heads * options.head_dim;
  const Var qkv = reshape(conv2d(norm(x), to_qkv, Var(), {}), {n, height * width, 3 * inner});
  const Var y = to_out(reshape(options.full ? dense_attention(qkv) : linear_attention(qkv),
                               {n, height, width, inner}));
  return x + (norm_out ? (*norm_out)(y) : y);
}

// What each of n pictures remembers: keys (which = 0) or values (1) -> [N, M heads d], as the parameter lies there.
Var LucidUnet::Attention::remembered(std::int64_t which, std::int64_t n, DType dtype) const {
  const Var& m = *memory;
  const std::int64_t half = m.value().size() / 2;
  const Var one =
      cast(slice_last(reshape(m, {1, 2 * half}), which * half, (which + 1) * half), dtype);
  return one + Var(Tensor::zeros({n, 1}, {dtype, one.value().device()}));
}

Var LucidUnet::Attention::dense_attention(const Var& qkv) const {
  if (!memory) return self_attention(qkv, options.heads);
  const std::int64_t n = qkv.dim(0), t = qkv.dim(1), h = options.heads, d = options.head_dim,
                     c = h * d;
  const Vars parts = split_last(qkv, std::array{c, c, c});
  const auto with_memory = [&](int which) {
    const Var held = remembered(which, n, qkv.dtype());  // of each head M rows
    const std::int64_t m = held.dim(1) / c;
    const Var rows = reshape(permute(reshape(held, {n, h, m, d}), {0, 2, 1, 3}), {n, m * c});
    return concat_tokens(rows, reshape(parts[1 + which], {n, t * c}), c);
  };
  return sfumato::attention(parts[0], with_memory(0), with_memory(1), h);
}

// softmax over d of q, softmax over the pixels of k; then q (kᵀ v) instead of (q kᵀ) v.      [Shen 2018, eq. 4]
Var LucidUnet::Attention::linear_attention(const Var& qkv) const {
  const std::int64_t n = qkv.dim(0), t = qkv.dim(1), h = options.heads, d = options.head_dim,
                     c = h * d;
  const Vars parts = split_last(qkv, std::array{c, c, c});
  const auto heads = [&](int part) { return reshape(parts[part], {n, t, h, d}); };
  const Var q = permute(softmax(heads(0)), {0, 2, 1, 3});  // [N,h,T,d]
  Var k = permute(heads(1), {0, 2, 3, 1});                 // [N,h,d,T]
  Var v = permute(heads(2), {0, 2, 1, 3});                 // [N,h,T,d]
  std::int64_t tokens = t;
  if (memory) {
    const std::int64_t m = memory->shape()[3];
    tokens += m;
    k = concat(reshape(remembered(0, n, k.dtype()), {n, h, d, m}), k);
    const Var held = reshape(remembered(1, n, v.dtype()), {n, h, d, m});
    v = concat(reshape(permute(held, {0, 1, 3, 2}), {n, h, m * d}), reshape(v, {n, h, t * d}));
  }
  const Var context = bmm(reshape(softmax(k), {n * h, d, tokens}), reshape(v, {n * h, tokens, d}));
  const double scale = 1 / std::sqrt(static_cast<double>(d)) /
                       (version.averages_values ? static_cast<double>(t) : 1.0);
  const Var y = bmm(reshape(q, {n * h, t, d}), context * scale);
  return reshape(permute(reshape(y, {n, h, t, d}), {0, 2, 1, 3}), {n, t, c});
}

LucidUnet::Attention LucidUnet::attention(const Scope& s, std::int64_t channels, std::size_t level,
                                          bool full) const {
  const std::int64_t h = config_.heads(level), d = config_.head_dim(level), m = config_.num_mem_kv;
  Attention a(s, {.channels = channels, .heads = h, .head_dim = d, .full = full}, config_.version);
  if (config_.version.memory)
    a.memory = s.param("mem_kv", full ? Shape{2, h, m, d} : Shape{2, h, d, m}, normal(1));
  return a;
}

LucidUnet::LucidUnet(const Scope& s, const LucidUnetConfig& config)
    : config_((config.check(), config)),
      init_conv_(s / "init_conv", config.channels, config.first_dim(), 7, Conv2dOptions::padded(3)),
      time_1_(s.exact() / "time_mlp" / 1, config.dim, 4 * config.dim),
      time_3_(s.exact() / "time_mlp" / 3, 4 * config.dim, 4 * config.dim),
      mid_block1_(s / "mid_block1", config.dim_out(config.levels() - 1),
                  config.dim_out(config.levels() - 1), config),
      mid_attn_(attention(s / "mid_attn", config.dim_out(config.levels() - 1), config.levels() - 1,
                          true)),
      mid_block2_(s / "mid_block2", config.dim_out(config.levels() - 1),
                  config.dim_out(config.levels() - 1), config),
      final_res_block_(s / "final_res_block", 2 * config.first_dim(), config.first_dim(), config),
      final_conv_(s / "final_conv", config.first_dim(), config.out_channels(), 1, Conv2dOptions{}) {
  in_channels = config.channels;
  out_channels = config.out_channels();
  size_multiple = std::int64_t{1} << (config.levels() - 1);
  add_levels(s);
}

void LucidUnet::add_levels(const Scope& s) {
  const std::size_t levels = config_.levels();
  const Conv2dOptions same = Conv2dOptions::padded(1);
  Conv2dOptions twice = same;
  twice.upsample = true;
  for (std::size_t i = 0; i < levels; ++i) {
    const std::int64_t in = config_.dim_in(i), out = config_.dim_out(i);
    const bool last = i + 1 == levels;
    const Scope b = s / "downs" / static_cast<std::int64_t>(i);
    downs_.push_back({.block1 = Resnet(b / 0, in, in, config_),
                      .block2 = Resnet(b / 1, in, in, config_),
                      .attention = attention(b / 2, in, i, config_.full(i)),
                      .resample = last ? Conv2d(b / 3, in, out, 3, same)
                                       : Conv2d(b / 3 / 1, 4 * in, out, 1, {})});
  }
  for (std::size_t j = 0; j < levels; ++j) {
    const std::size_t i = levels - 1 - j;
    const std::int64_t in = config_.dim_in(i), out = config_.dim_out(i);
    const bool last = i == 0;
    const Scope b = s / "ups" / static_cast<std::int64_t>(j);
    ups_.push_back({.block1 = Resnet(b / 0, out + in, out, config_),
                    .block2 = Resnet(b / 1, out + in, out, config_),
                    .attention = attention(b / 2, out, i, config_.full(i)),
                    .resample = last ? Conv2d(b / 3, out, in, 3, same)
                                     : Conv2d(b / 3 / 1, out, in, 3, twice)});
  }
}

io::Json LucidUnet::config() const { return to_json(config_); }

Var LucidUnet::unit(const Resnet& block, const Attention* attention, const Var& h, const Var& skip,
                    const Var& temb, const Mode& mode) {
  const auto run = [&block, attention, mode](std::span<const Var> in) {
    const Var y = block(in[0], in[1], mode, in[2]);
    return attention ? (*attention)(y) : y;
  };
  if (mode.recompute) return checkpoint(run, {h, temb, skip});
  return run(std::array{h, temb, skip});
}

Var LucidUnet::operator()(const Var& x, const Tensor& t, const Tensor& labels,
                          const Mode& mode) const {
  expect_rank("unet", "input", x.value(), 4);
  if (x.dim(3) != in_channels)
    throw Error("unet", fmt::format("input {} has {} channels, expected {}", x.shape().str(),
                                    x.dim(3), in_channels));
  if (const std::string problem = size_problem(x.dim(1), x.dim(2)); !problem.empty())
    throw Error("unet", problem);
  expect_shape("unet", "timestep", t, {x.dim(0)});
  conditioning.check(labels, x.dim(0));
  const Var temb =
      time_3_(gelu(time_1_(Var(sinusoidal_embedding(t, config_.dim, false, 1, x.dtype())))));
  const DType inner = init_conv_.weight.var().dtype();  // bf16, if the filters are used so
  const Var first = init_conv_(cast(x, inner));
  Var h = first;
  Vars skips;
  for (const Level& level : downs_) {
    h = unit(level.block1, nullptr, h, {}, temb, mode);
    skips.push_back(h);
    h = unit(level.block2, &level.attention, h, {}, temb, mode);
    skips.push_back(h);
    h = &level == &downs_.back() ? level.resample(h) : unshuffled_conv(level.resample, h);
  }
  h = unit(mid_block1_, &mid_attn_, h, {}, temb, mode);
  h = unit(mid_block2_, nullptr, h, {}, temb, mode);
  for (const Level& level : ups_) {
    const Var second = skips.back(), earlier = skips[skips.size() - 2];
    skips.resize(skips.size() - 2);
    h = unit(level.block1, nullptr, h, second, temb, mode);
    h = level.resample(unit(level.block2, &level.attention, h, earlier, temb, mode));
  }
  return cast(final_conv_(unit(final_res_block_, nullptr, h, first, temb, mode)), x.dtype());
}

BuildNetwork read_lucid_unet(const io::JsonObject& config, std::vector<std::string>* notes) {
  return [parsed = parse_lucid_unet_config(config, notes)](const Scope& scope) {
    return std::make_unique<LucidUnet>(scope, parsed);
  };
}

}  // namespace sfumato::nn
