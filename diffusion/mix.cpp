#include "diffusion/mix.h"

#include <fmt/format.h>

#include <algorithm>

#include "tensor/parallel.h"

namespace sfumato::diffusion {
namespace {

constexpr std::int64_t kGrain = 1 << 14;  // elements a task

void expect_alike(const char* op, Named x, Named y) {
  if (!x.tensor.defined()) throw Error(op, fmt::format("{} is undefined", x.name));
  if (!y.tensor.defined()) throw Error(op, fmt::format("{} is undefined", y.name));
  expect_shape(op, y.name, y.tensor, x.tensor.shape());
  expect_dtype(op, y.name, y.tensor, x.tensor.dtype());
}

void expect_timesteps(const char* op, const Schedule& schedule, const Tensor& t,
                      std::int64_t rows) {
  if (!t.defined()) throw Error(op, "t is undefined");
  expect_dtype(op, "t", t, DType::i64);
  expect_shape(op, "t", t, {rows});
  const std::int64_t last = schedule.steps() - 1;
  for (std::int64_t n = 0; n < rows; ++n) {
    const std::int64_t value = t.data<std::int64_t>()[n];
    if (value < 0 || value > last)
      throw Error(op, fmt::format("t[{}] = {} is outside 0..{}", n, value, last));
  }
}

template <class T>
void mix_range(Weights w, const T* x, const T* y, T* out, std::int64_t begin, std::int64_t end) {
  const T a = static_cast<T>(w.x);
  const T b = static_cast<T>(w.y);
  for (std::int64_t i = begin; i < end; ++i) out[i] = a * x[i] + b * y[i];
}

}  // namespace

void expect_batch(const char* op, const Schedule& schedule, const Tensor& t, Named x, Named y) {
  expect_alike(op, x, y);
  if (x.tensor.shape().rank() < 1) throw Error(op, fmt::format("{} has no batch axis", x.name));
  expect_timesteps(op, schedule, t, x.tensor.dim(0));
}

Tensor mix(const char* op, Weights w, Named x, Named y) {
  expect_alike(op, x, y);
  Tensor out(x.tensor.shape(), x.tensor.dtype());
  dispatch_float(op, out.dtype(), [&]<class T>() {
    const T* px = x.tensor.data<T>();
    const T* py = y.tensor.data<T>();
    T* po = out.data<T>();
    parallel_ranges(out.size(), kGrain, [&](std::int64_t begin, std::int64_t end) {
      mix_range(w, px, py, po, begin, end);
    });
  });
  return out;
}

Tensor mix(const char* op, const Schedule& schedule, const Tensor& t,
           Weights (*weights)(const Schedule&, std::int64_t t), Named x, Named y) {
  expect_batch(op, schedule, t, x, y);
  Tensor out(x.tensor.shape(), x.tensor.dtype());
  const std::int64_t rows = t.size();
  const std::int64_t width = rows > 0 ? out.size() / rows : 0;  // elements a row
  dispatch_float(op, out.dtype(), [&]<class T>() {
    const T* px = x.tensor.data<T>();
    const T* py = y.tensor.data<T>();
    const std::int64_t* pt = t.data<std::int64_t>();
    T* po = out.data<T>();
    const std::int64_t grain = std::max<std::int64_t>(1, kGrain / std::max<std::int64_t>(1, width));
    parallel_ranges(rows, grain, [&](std::int64_t begin, std::int64_t end) {
      for (std::int64_t n = begin; n < end; ++n)
        mix_range(weights(schedule, pt[n]), px, py, po, n * width, (n + 1) * width);
    });
  });
  return out;
}

}  // namespace sfumato::diffusion
