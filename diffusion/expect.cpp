#include "diffusion/expect.h"

#include <fmt/format.h>

namespace sfumato::diffusion {

void expect_alike(const char* op, Named x, Named y) {
  if (!x.tensor.defined()) throw Error(op, fmt::format("{} is undefined", x.name));
  if (!y.tensor.defined()) throw Error(op, fmt::format("{} is undefined", y.name));
  expect_shape(op, y.name, y.tensor, x.tensor.shape());
  expect_dtype(op, y.name, y.tensor, x.tensor.dtype());
  dispatch_float(op, x.tensor.dtype(), []<class T>() {});  // throws for another dtype
}

void expect_batch(const char* op, const Schedule& schedule, const Tensor& t, Named x, Named y) {
  expect_alike(op, x, y);
  if (x.tensor.shape().rank() < 1) throw Error(op, fmt::format("{} has no batch axis", x.name));
  if (!t.defined()) throw Error(op, "t is undefined");
  expect_dtype(op, "t", t, DType::i64);
  expect_shape(op, "t", t, {x.tensor.dim(0)});
  const std::int64_t last = schedule.steps() - 1;
  for (std::int64_t n = 0; n < t.size(); ++n) {
    const std::int64_t value = t.data<std::int64_t>()[n];
    if (value < 0 || value > last)
      throw Error(op, fmt::format("t[{}] = {} is outside 0..{}", n, value, last));
  }
}

}  // namespace sfumato::diffusion
