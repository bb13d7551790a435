#include <fmt/format.h>

#include "autograd/ops.h"
#include "tensor/arithmetic.h"

namespace sfumato {
namespace {

// x * mask, the mask drawn anew from its address each time.
Tensor masked(const Tensor& x, double p, const Rng& rng) {
  Tensor y(x.shape(), x.dtype());
  dispatch_float("dropout", x.dtype(), [&]<class T>() {
    const T* from = x.data<T>();
    T* to = y.data<T>();
    parallel_ranges(x.size(), 1024, [=, &rng](std::int64_t begin, std::int64_t end) {
      float keep[1024];
      rng.dropout_mask(p, begin, end, keep);
      for (std::int64_t i = begin; i < end; ++i) to[i] = from[i] * static_cast<T>(keep[i - begin]);
    });
  });
  return y;
}

}  // namespace

// y = x m with m = 0 or 1/(1-p), so that E[y] = x;  dx = dy m           [Srivastava 2014]
Var dropout(const Var& x, double p, const Rng& rng) {
  if (!(p >= 0 && p < 1)) throw Error("dropout", fmt::format("expected 0 <= p < 1, got {}", p));
  if (p == 0) return x;
  return record("dropout", masked(x.value(), p, rng), {x}, kNoProducts,
                [p, rng](const Tensor& dy) { return Gradients{masked(dy, p, rng)}; });
}

}  // namespace sfumato
