// The pieces that exercise 13 builds with.
#include "13_unet/exercise.h"

using namespace sfumato;

namespace {
constexpr double kEps = 1e-5;
constexpr std::int64_t kGroups = 4;
}  // namespace

Conv::Conv(const nn::Scope& s, std::int64_t in, std::int64_t out, std::int64_t stride)
    : conv(s / "conv", in, out, 3, Conv2dOptions::padded(1, stride)),
      norm(s / "norm", out, kGroups, kEps) {}

ConvBlock::ConvBlock(const nn::Scope& s, std::int64_t in, std::int64_t out)
    : first(s / "first", in, out), second(s / "second", out, out) {}

DownBlock::DownBlock(const nn::Scope& s, std::int64_t in, std::int64_t out)
    : down(s / "down", in, out, 2), block(s / "block", out, out) {}

UpBlock::UpBlock(const nn::Scope& s, std::int64_t in, std::int64_t out)
    : up(s / "up", in, out), block(s / "block", out, out) {}

Var flatten(const Var& x) {
  const std::int64_t n = x.dim(0), h = x.dim(1), w = x.dim(2), c = x.dim(3);
  return gelu(sum_to(x, {n, 1, 1, c}) * (1.0 / static_cast<double>(h * w)));
}

Unflatten::Unflatten(const nn::Scope& s, std::int64_t channels)
    : linear(s / "linear", channels, 49 * channels) {}

Var Unflatten::operator()(const Var& x) const {
  return gelu(reshape(linear(x), {x.dim(0), 7, 7, x.dim(3)}));
}

UNet::UNet(const nn::Scope& s, std::int64_t D)
    : in(s / "in", 1, D),
      down1(s / "down1", D, D),
      down2(s / "down2", D, 2 * D),
      unflatten(s / "unflatten", 2 * D),
      up1(s / "up1", 4 * D, D),
      up2(s / "up2", 2 * D, D),
      end(s / "end", 2 * D, D),
      out(s / "out", D, 1, 3, Conv2dOptions::padded(1)) {}
