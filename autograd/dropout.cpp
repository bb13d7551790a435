#include <fmt/format.h>

#include "autograd/ops.h"
#include "tensor/for_each.h"

namespace sfumato {
namespace {

// x * mask, the mask drawn anew from its address each time. A block of random numbers is for four elements.
template <class T>
struct Masked {
  static constexpr std::int64_t kBlock = 4;
  RandomBlocks random;
  std::uint32_t threshold;  // p 2^32
  float keep;               // 1 / (1 - p)
  std::int64_t n;
  const T* x;
  T* y;

  constexpr void operator()(std::int64_t block) const {
    const auto r = random(block);
    for (std::int64_t j = 0, i = block * kBlock; j < kBlock && i < n; ++j, ++i)
      y[i] = static_cast<T>(x[i] * static_cast<Wide<T>>(r[j] < threshold ? 0.0f : keep));
  }
};

Tensor masked(const Tensor& x, double p, const Rng& rng) {
  Tensor y(x.shape(), x.kind());
  dispatch_float("dropout", x.kind(), [&]<class T>() {
    for_each(x.device(), (x.size() + Masked<T>::kBlock - 1) / Masked<T>::kBlock,
             Masked<T>{.random = rng.blocks(),
                       .threshold = static_cast<std::uint32_t>(p * 4294967296.0),
                       .keep = static_cast<float>(1.0 / (1.0 - p)),
                       .n = x.size(),
                       .x = x.data<T>(),
                       .y = y.data<T>()},
             /*grain=*/1024);
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
