#include "tensor/rng.h"

#include <fmt/format.h>

#include <algorithm>
#include <bit>
#include <cmath>

#include "tensor/for_each.h"

namespace sfumato {
namespace {

// -2 ln(u) for u = (r >> 8 + 1/2) 2^-24, that is u in (0, 1). The logarithm is that of Cephes
// (logf): u = m 2^e with m in [1/√2, √2), a polynomial in m - 1, and ln 2 split in two parts.
constexpr float minus_2_log(std::uint32_t r) {
  const float u = static_cast<float>(static_cast<std::int32_t>(r >> 8)) + 0.5f;
  std::uint32_t bits = std::bit_cast<std::uint32_t>(u);
  int e = static_cast<int>(bits >> 23) - 127;
  const std::uint32_t mantissa = bits & 0x7fffffu;
  if (mantissa > 0x3504f3u) {  // above √2: take the half
    ++e;
    bits = mantissa | 0x3f000000u;
  } else {
    bits = mantissa | 0x3f800000u;
  }
  const float f = std::bit_cast<float>(bits) - 1.0f;
  const float z = f * f;
  float p = 7.0376836292e-2f;
  for (float c : {-1.1514610310e-1f, 1.1676998740e-1f, -1.2420140846e-1f, 1.4249322787e-1f,
                  -1.6668057665e-1f, 2.0000714765e-1f, -2.4999993993e-1f, 3.3333331174e-1f})
    p = p * f + c;
  const float exponent = static_cast<float>(e - 24);
  float y = (p * f) * z;
  y = y + exponent * -2.12194440e-4f;
  y = y + -0.5f * z;
  return -2.0f * ((f + y) + exponent * 0.693359375f);
}

// sin and cos of 2π r 2^-32: the nearest quarter turn, then polynomials on [-π/4, π/4] (Cephes).
constexpr void sincos_turn(std::uint32_t r, float& sine, float& cosine) {
  const std::uint32_t quarter = (r + 0x20000000u) >> 30;
  const auto rest = static_cast<std::int32_t>(r - (quarter << 30));
  const float t = static_cast<float>(rest >> 6) * 9.362675845e-8f;  // 2π 2^-26
  const float z = t * t;
  float ps = -1.9515295891e-4f;
  ps = ps * z + 8.3321608736e-3f;
  ps = ps * z + -1.6666654611e-1f;
  const float s = t + (ps * z) * t;
  float pc = 2.443315711809948e-5f;
  pc = pc * z + -1.388731625493765e-3f;
  pc = pc * z + 4.166664568298827e-2f;
  const float c = (1.0f + -0.5f * z) + (pc * z) * z;
  sine = quarter & 1 ? c : s;
  cosine = quarter & 1 ? s : c;
  if (quarter & 2) sine = -sine;
  if ((quarter + 1) & 2) cosine = -cosine;
}

constexpr std::int64_t kBlocksATask = 1 << 12;

// Each of the following writes the four numbers of block i, or fewer at the end of `out`.

// Box and Muller 1958: √(-2 ln u) (cos θ, sin θ).
struct Normals {
  RandomBlocks blocks;
  float* out;
  std::int64_t n;

  constexpr void operator()(std::int64_t i) const {
    const auto r = blocks(i);
    for (std::int64_t half = 0; half < 2; ++half) {
      const float radius = std::sqrt(minus_2_log(r[2 * half]));
      float sine = 0, cosine = 0;
      sincos_turn(r[2 * half + 1], sine, cosine);
      const std::int64_t at = 4 * i + 2 * half;
      if (at < n) out[at] = radius * cosine;
      if (at + 1 < n) out[at + 1] = radius * sine;
    }
  }
};

// Each row from the start of its stream.
struct NormalRows {
  Normals first;
  std::uint64_t step;
  constexpr Normals operator()(std::int64_t row) const {
    Normals normals = first;
    normals.blocks.stream += static_cast<std::uint64_t>(row) * step;
    normals.out += row * first.n;
    return normals;
  }
};

struct Uniforms {
  RandomBlocks blocks;
  float* out;
  std::int64_t n;

  constexpr void operator()(std::int64_t i) const {
    const auto r = blocks(i);
    for (std::int64_t j = 0; j < 4 && 4 * i + j < n; ++j) out[4 * i + j] = unit_interval(r[j]);
  }
};

struct Integers {
  RandomBlocks blocks;
  std::uint64_t bound;
  std::int64_t* out;
  std::int64_t n;

  constexpr void operator()(std::int64_t i) const {
    const auto r = blocks(i);
    for (std::int64_t j = 0; j < 4 && 4 * i + j < n; ++j)
      out[4 * i + j] = static_cast<std::int64_t>(r[j] * bound >> 32);
  }
};

}  // namespace

Rng::Rng(std::uint64_t seed, Purpose purpose, std::uint64_t index, Device device)
    : blocks_{.seed = seed, .stream = static_cast<std::uint64_t>(purpose) << 48 | index},
      device_(device) {
  if (index >> 48) throw Error("rng", fmt::format("stream index {} is above 2^48", index));
}

Rng::Rng(std::uint64_t seed, Purpose purpose, const Tensor& index, std::uint64_t lane,
         int lane_bits)
    : Rng(seed, purpose, lane, index.device()) {
  expect_shape("rng", "index", index, {});
  expect_dtype("rng", "index", index, DType::i64);
  if (lane >> lane_bits) throw Error("rng", fmt::format("lane {} is above 2^{}", lane, lane_bits));
  if (index.device() == Device::cpu &&
      static_cast<std::uint64_t>(index.values<std::int64_t>()[0]) >> (48 - lane_bits))
    throw Error("rng", fmt::format("stream index {} is not in [0, 2^{})",
                                   index.values<std::int64_t>()[0], 48 - lane_bits));
  index_ = index;
  blocks_.index = index.data<std::int64_t>();
  blocks_.index_shift = lane_bits;
}

Tensor Rng::normal(const Shape& shape, DType dtype) {
  Tensor t(shape, {DType::f32, device()});
  for_each(device(), (t.size() + 3) / 4, Normals{blocks_, t.data<float>(), t.size()}, kBlocksATask);
  advance(t.size());
  return t.to(dtype);
}

Tensor Rng::uniform(const Shape& shape, DType dtype) {
  Tensor t(shape, {DType::f32, device()});
  for_each(device(), (t.size() + 3) / 4, Uniforms{blocks_, t.data<float>(), t.size()},
           kBlocksATask);
  advance(t.size());
  return t.to(dtype);
}

Tensor Rng::randint(const Shape& shape, std::int64_t bound) {
  if (bound < 1 || bound > std::int64_t{1} << 31)
    throw Error("randint", fmt::format("expected a bound in 1..2^31, got {}", bound));
  Tensor t(shape, {DType::i64, device()});
  for_each(device(), (t.size() + 3) / 4,
           Integers{blocks_, static_cast<std::uint64_t>(bound), t.data<std::int64_t>(), t.size()},
           kBlocksATask);
  advance(t.size());
  return t;
}

Tensor normal_rows(std::uint64_t seed, Purpose purpose, std::uint64_t first, std::uint64_t step,
                   const Shape& shape, Kind kind) {
  const RandomBlocks blocks = Rng(seed, purpose, first, kind.device).blocks();
  Tensor t(shape, {DType::f32, kind.device});
  const std::int64_t rows = t.dim(0), width = rows ? t.size() / rows : 0;
  for_each_row(kind.device, rows, (width + 3) / 4,
               NormalRows{{blocks, t.data<float>(), width}, step});
  return t.to(kind.dtype);
}

}  // namespace sfumato
