// Resampling of images [N, H, W, C]: by two functions, each the adjoint of the other.
#include <fmt/format.h>

#include "autograd/ops.h"
#include "tensor/for_each.h"

namespace sfumato {
namespace {

// The sizes of a small image and of the large one, twice as large, or one more where an odd row or column is left over.
struct Sizes {
  std::int64_t h, w, large_h, large_w, c;
};

// Every small pixel is `factor` times the sum of the 2x2 block that it stands for.
template <class T>
struct BlockSum {
  Sizes s;
  Wide<T> factor;
  const T* large;
  T* small;

  struct Row {  // the channels of one pixel
    std::int64_t c;
    Wide<T> factor;
    const T *top, *bottom;
    T* to;
    constexpr void operator()(std::int64_t p) const {
      to[p] = static_cast<T>(factor * ((top[p] + top[c + p]) + (bottom[p] + bottom[c + p])));
    }
  };
  constexpr Row operator()(std::int64_t pixel) const {
    const std::int64_t j = pixel % s.w, i = pixel / s.w % s.h, image = pixel / (s.w * s.h);
    const T* top = large + ((image * s.large_h + 2 * i) * s.large_w + 2 * j) * s.c;
    return {s.c, factor, top, top + s.large_w * s.c, small + pixel * s.c};
  }
};

// Every large pixel is `factor` times the small pixel whose block it is in, or 0 where it is left over.
template <class T>
struct BlockCopy {
  Sizes s;
  Wide<T> factor;
  const T* small;
  T* large;

  struct Row {
    Wide<T> factor;
    const T* from;
    T* to;
    constexpr void operator()(std::int64_t p) const {
      to[p] = static_cast<T>(from ? factor * from[p] : 0);
    }
  };
  constexpr Row operator()(std::int64_t pixel) const {
    const std::int64_t j = pixel % s.large_w / 2, i = pixel / s.large_w % s.large_h / 2,
                       image = pixel / (s.large_w * s.large_h);
    const bool inside = i < s.h && j < s.w;
    return {factor, inside ? small + ((image * s.h + i) * s.w + j) * s.c : nullptr,
            large + pixel * s.c};
  }
};

Sizes sizes(const Shape& small, const Shape& large) {
  return {small[1], small[2], large[1], large[2], small[3]};
}

template <class T>
Tensor block_sum(const Tensor& large, const Shape& small, double factor) {
  Tensor y(small, large.kind());
  for_each_row(y.device(), small[0] * small[1] * small[2], small[3],
               BlockSum<T>{sizes(small, large.shape()), static_cast<Wide<T>>(factor),
                           large.data<T>(), y.data<T>()});
  return y;
}

template <class T>
Tensor block_copy(const Tensor& small, const Shape& large, double factor) {
  Tensor y(large, small.kind());
  for_each_row(y.device(), large[0] * large[1] * large[2], large[3],
               BlockCopy<T>{sizes(small.shape(), large), static_cast<Wide<T>>(factor),
                            small.data<T>(), y.data<T>()});
  return y;
}

}  // namespace

// Every pixel becomes a 2x2 block; its gradient is the block's sum.
Var upsample_nearest2x(const Var& x) {
  expect_rank("upsample_nearest2x", "input", x.value(), 4);
  const Shape small = x.shape(), large{small[0], 2 * small[1], 2 * small[2], small[3]};
  return dispatch_float("upsample_nearest2x", x.kind(), [&]<class T>() {
    return record("upsample_nearest2x", block_copy<T>(x.value(), large, 1), {x}, kNoProducts,
                  [small](const Tensor& dy) { return Gradients{block_sum<T>(dy, small, 1)}; });
  });
}

// Every 2x2 block becomes its mean; each pixel of it gets a quarter of the gradient.
Var avg_pool2x(const Var& x) {
  expect_rank("avg_pool2x", "input", x.value(), 4);
  const Shape large = x.shape(), small{large[0], large[1] / 2, large[2] / 2, large[3]};
  if (small[1] == 0 || small[2] == 0)
    throw Error("avg_pool2x", fmt::format("input {} is smaller than 2x2", large.str()));
  return dispatch_float("avg_pool2x", x.kind(), [&]<class T>() {
    return record("avg_pool2x", block_sum<T>(x.value(), small, 0.25), {x}, kNoProducts,
                  [large](const Tensor& dy) { return Gradients{block_copy<T>(dy, large, 0.25)}; });
  });
}

}  // namespace sfumato
