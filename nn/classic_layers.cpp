#include "nn/classic_layers.h"

#include <fmt/format.h>

#include "tensor/for_each.h"

namespace sfumato::nn {

RMSNorm::RMSNorm(const Scope& s, std::int64_t channels, double eps, bool affine) : eps(eps) {
  if (affine) weight = s.param("weight", {channels}, ones());
}

Var RMSNorm::operator()(const Var& x) const {
  if (x.shape().rank() < 1) throw Error("rms_norm", "expected at least one axis");
  const auto channels = static_cast<double>(x.dim(-1));
  const Var power = sum_to(square(x), x.shape().with(-1, 1)) * (1 / channels);
  const Var y = x / sqrt(power + eps);
  return weight ? y * cast(*weight, x.dtype()) : y;
}

ConvTranspose2d::ConvTranspose2d(const Scope& s, std::int64_t in, std::int64_t out,
                                 std::int64_t kernel, const ConvTranspose2dOptions& options)
    : weight(s.param("weight", {in, out, kernel, kernel}, uniform_fan_in(out * kernel * kernel))),
      bias(s.param("bias", {out}, uniform_fan_in(out * kernel * kernel))),
      options(options) {}

BatchNorm2d::BatchNorm2d(const Scope& s, std::int64_t channels, double eps, double momentum)
    : weight(s.param("weight", {channels}, ones())),
      bias(s.param("bias", {channels}, zeros())),
      running_mean(s.buffer("running_mean", {channels}, s.params().kind().dtype, 0)),
      running_var(s.buffer("running_var", {channels}, s.params().kind().dtype, 1)),
      num_batches_tracked(s.buffer("num_batches_tracked", {}, DType::i64, 0)),
      eps(eps),
      momentum(momentum) {}

namespace {

struct AddOne {
  std::int64_t* count;
  constexpr void operator()(std::int64_t) const { ++*count; }
};

}  // namespace

// r += momentum (batch's - r)
void BatchNorm2d::track(const Tensor& x) const {
  const DType exact = running_mean.value().dtype();
  const Var seen(x.to(exact));
  const std::int64_t c = x.dim(3);
  const auto pixels = static_cast<double>(x.dim(0) * x.dim(1) * x.dim(2));
  const Var mean = sum_to(seen, {c}) * (1 / pixels);
  const Var var = sum_to(square(seen - mean), {c}) * (1 / (pixels - 1));
  const auto move = [this](Tensor running, const Var& batch) {
    running.copy_from((Var(running) * (1 - momentum) + batch * momentum).value());
  };
  move(running_mean.value(), mean);
  move(running_var.value(), var);
  Tensor count = num_batches_tracked.value();
  for_each(count.device(), 1, AddOne{count.data<std::int64_t>()});
}

// In training this is group normalisation of one image, which is all of the batch, with a group for each channel.
Var BatchNorm2d::operator()(const Var& x, const Mode& mode) const {
  expect_rank("batch_norm", "input", x.value(), 4);
  const std::int64_t n = x.dim(0), h = x.dim(1), w = x.dim(2), c = x.dim(3);
  expect_shape("batch_norm", "channels", running_mean.value(), {c});
  if (!mode.training) {
    const Var scale = weight.var() / sqrt(Var(running_var.value()) + eps);
    const Var shift = bias.var() - scale * Var(running_mean.value());
    return x * cast(scale, x.dtype()) + cast(shift, x.dtype());
  }
  if (n * h * w < 2)
    throw Error("batch_norm",
                fmt::format("expected more than one pixel to train on, got {}", x.shape().str()));
  track(x.value());
  return reshape(group_norm(reshape(x, {1, n * h * w, c}), weight, bias, c, eps), {n, h, w, c});
}

}  // namespace sfumato::nn
