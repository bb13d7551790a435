#include "diffusion/expect.h"

#include <fmt/format.h>

#include "tensor/index_check.h"

namespace sfumato::diffusion {

void expect_alike(const char* op, Named x, Named y) {
  if (!x.tensor.defined()) throw Error(op, fmt::format("{} is undefined", x.name));
  if (!y.tensor.defined()) throw Error(op, fmt::format("{} is undefined", y.name));
  expect_shape(op, y.name, y.tensor, x.tensor.shape());
  expect_kind(op, y.name, y.tensor, x.tensor.kind());
  dispatch_float(op, x.tensor.dtype(), []<class T>() {});  // throws for another dtype
}

void expect_batch(const char* op, const Schedule& schedule, const Tensor& t, Named x, Named y) {
  expect_alike(op, x, y);
  if (x.tensor.shape().rank() < 1) throw Error(op, fmt::format("{} has no batch axis", x.name));
  if (!t.defined()) throw Error(op, "t is undefined");
  expect_shape(op, "t", t, {x.tensor.dim(0)});
  expect_indices(op, "t", t, schedule.steps());
}

}  // namespace sfumato::diffusion
