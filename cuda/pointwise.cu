#include <cmath>
#include <limits>

#include "cuda/block.h"
#include "cuda/channels.h"
#include "cuda/for_each.h"
#include "cuda/pointwise.h"

namespace sfumato::cuda {
namespace {

template <class T>
struct Silu {
  const T* x;
  T* y;
  constexpr void operator()(std::int64_t i) const {
    const Wide<T> v = x[i];
    y[i] = static_cast<T>(v / (1 + std::exp(-v)));
  }
};

template <class T>
struct SiluBackward {
  const T *x, *dy;
  T* dx;
  constexpr void operator()(std::int64_t i) const {
    const Wide<T> v = x[i], s = 1 / (1 + std::exp(-v));
    dx[i] = static_cast<T>(dy[i] * (s * (1 + v * (1 - s))));
  }
};

// kernels.h's gelu_tanh; x² is bounded, so that no infinity meets a zero.
template <class T>
struct GeluTanh {
  static constexpr Wide<T> kLinear = static_cast<Wide<T>>(1.5957691216057308),
                           kCubic = static_cast<Wide<T>>(0.044715 * 1.5957691216057308);
  const T *x, *dy;  // dy null: forward
  T* to;            // y or dx
  constexpr void operator()(std::int64_t i) const {
    const Wide<T> v = x[i], square = v * v, q = square > 4096 ? Wide<T>(4096) : square;
    const Wide<T> s = 1 / (1 + std::exp(-v * (kLinear + kCubic * q))), y = v * s;
    to[i] = static_cast<T>(dy ? dy[i] * (s + y * (1 - s) * (kLinear + 3 * kCubic * q)) : y);
  }
};

template <class T>
struct CopyColumns {
  static constexpr int kMost = 32;  // parts of a launch
  int count = 0;
  index cols = 0;
  index begin[kMost] = {};  // columns before those of a part
  kernels::Columns<T> parts[kMost] = {};

  void add(const kernels::Columns<T>& part) {
    begin[count] = cols, parts[count++] = part;
    cols += part.cols;
  }
  constexpr void operator()(unsigned row, unsigned col) const {
    int k = count - 1;
    while (begin[k] > col) --k;
    const kernels::Columns<T>& part = parts[k];
    const index j = col - begin[k];
    part.to[row * part.to_step + j] = part.from ? part.from[row * part.from_step + j] : T(0);
  }
};

// A warp takes a row; kernel(row, lane) is what its lanes run.
constexpr int kRows = 4;
template <class Row>
struct WarpPerRow {
  static constexpr int kThreads = kRows * 32;
  struct Shared {};
  index rows;
  Row row;
  __device__ void operator()() const {
    const index r = blockIdx.x * static_cast<index>(kRows) + threadIdx.x / 32;
    if (r < rows) row(r, threadIdx.x % 32);
  }
};
template <class Row>
void for_each_warp_row(index rows, const Row& row) {
  launch({(rows + kRows - 1) / kRows}, WarpPerRow<Row>{rows, row});
}

// y = exp(x - max) / Σ
template <class T>
struct Softmax {
  index cols;
  const T* x;
  T* y;
  __device__ void operator()(index row, unsigned lane) const {
    const T* const from = x + row * cols;
    Wide<T> top = -std::numeric_limits<Wide<T>>::infinity(), sum = 0;
    for (index i = lane; i < cols; i += 32)
      if (from[i] > top) top = from[i];
    top = warp_max(top);
    for (index i = lane; i < cols; i += 32) sum += std::exp(from[i] - top);
    sum = warp_sum(sum);
    for (index i = lane; i < cols; i += 32)
      y[row * cols + i] = static_cast<T>(std::exp(from[i] - top) / sum);
  }
};

// dx = y (dy - Σ y dy)
template <class T>
struct SoftmaxBackward {
  index cols;
  const T *y, *dy;
  T* dx;
  __device__ void operator()(index row, unsigned lane) const {
    const index begin = row * cols;
    Wide<T> dot = 0;
    for (index i = lane; i < cols; i += 32) dot += Wide<T>(y[begin + i]) * Wide<T>(dy[begin + i]);
    dot = warp_sum(dot);
    for (index i = lane; i < cols; i += 32)
      dx[begin + i] = static_cast<T>(y[begin + i] * (dy[begin + i] - dot));
  }
};

}  // namespace

template <class T>
void silu_forward(index n, const T* x, T* y) {
  for_each(n, Silu<T>{x, y});
}
template <class T>
void silu_backward(index n, const T* x, const T* dy, T* dx) {
  for_each(n, SiluBackward<T>{x, dy, dx});
}
template <class T>
void gelu_tanh_forward(index n, const T* x, T* y) {
  for_each(n, GeluTanh<T>{x, nullptr, y});
}
template <class T>
void gelu_tanh_backward(index n, const T* x, const T* dy, T* dx) {
  for_each(n, GeluTanh<T>{x, dy, dx});
}
template <class T>
void softmax_forward(index rows, index cols, const T* x, T* y) {
  for_each_warp_row(rows, Softmax<T>{cols, x, y});
}
template <class T>
void softmax_backward(index rows, index cols, const T* y, const T* dy, T* dx) {
  for_each_warp_row(rows, SoftmaxBackward<T>{cols, y, dy, dx});
}
template <class T>
void copy_columns(index rows, std::span<const kernels::Columns<T>> parts) {
  while (!parts.empty()) {
    CopyColumns<T> some;
    for (; !parts.empty() && some.count < some.kMost; parts = parts.subspan(1)) some.add(parts[0]);
    for_each_of_row(rows, some.cols, some);
  }
}

#define SFUMATO_INSTANTIATE(T)                                          \
  template void silu_forward(index, const T*, T*);                      \
  template void silu_backward(index, const T*, const T*, T*);           \
  template void gelu_tanh_forward(index, const T*, T*);                 \
  template void gelu_tanh_backward(index, const T*, const T*, T*);      \
  template void softmax_forward(index, index, const T*, T*);            \
  template void softmax_backward(index, index, const T*, const T*, T*); \
  template void copy_columns(index, std::span<const kernels::Columns<T>>);
SFUMATO_INSTANTIATE(float)
SFUMATO_INSTANTIATE(double)
SFUMATO_INSTANTIATE(bf16)

}  // namespace sfumato::cuda
