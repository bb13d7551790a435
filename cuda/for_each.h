// tensor/for_each.h on a GPU.
#pragma once
#include <algorithm>
#include <cstdint>

#include "cuda/divide.h"
#include "cuda/launch.h"

namespace sfumato::cuda {

template <class F>
struct ForEach {
  static constexpr int kThreads = 256;
  // Left to choose, nvcc takes fewer registers and spills.
  static constexpr int kBlocksAtOnce = 2;
  F f;
  std::int64_t n;

  __device__ void operator()() const {
    const std::int64_t step = static_cast<std::int64_t>(gridDim.x) * kThreads;
    for (std::int64_t i = static_cast<std::int64_t>(blockIdx.x) * kThreads + threadIdx.x; i < n;
         i += step)
      f(i);
  }
};

// Calls f(i) for every i in [0, n).
template <class F>
void for_each(std::int64_t n, const F& f) {
  constexpr std::int64_t kThreads = ForEach<F>::kThreads;
  launch({std::min<std::int64_t>((n + kThreads - 1) / kThreads, 1 << 16)}, ForEach<F>{f, n});
}

// Some columns of some rows: their elements are counted in 32 bits, which a GPU divides quickly.
template <class F>
struct ForEachOfRows {
  static constexpr int kThreads = 256;
  F f;
  std::int64_t row, col;  // the first ones
  unsigned n;             // elements
  Divisor cols;

  __device__ void operator()() const {
    const unsigned step = gridDim.x * kThreads;
    for (unsigned i = blockIdx.x * kThreads + threadIdx.x; i < n; i += step)
      f(row + i / cols)(col + i % cols);
  }
};

// Calls f(r)(j) for every r in [0, rows) and every j in [0, cols).
template <class F>
void for_each_row(std::int64_t rows, std::int64_t cols, const F& f) {
  constexpr std::int64_t kMost = std::int64_t{1} << 31, kBlocks = 1 << 16;
  for (std::int64_t col = 0; col < cols; col += kMost) {
    const std::int64_t width = std::min(kMost, cols - col), height = kMost / width;
    for (std::int64_t row = 0; row < rows; row += height) {
      const std::int64_t n = width * std::min(height, rows - row);
      const ForEachOfRows<F> some{f, row, col, static_cast<unsigned>(n),
                                  Divisor(static_cast<unsigned>(width))};
      launch({std::min((n + some.kThreads - 1) / some.kThreads, kBlocks)}, some);
    }
  }
}

}  // namespace sfumato::cuda
