// Sums of columns as a part of a block's work.
#pragma once
#include "cuda/channels.h"

namespace sfumato::cuda {

inline constexpr int kSumWarps = 8;

struct ColumnSumsShared {
  double sums[kSumWarps][32];
};

// out[part, cols] = Σ of rows [part * share, (part + 1) * share) of x[rows, cols], in double and in a fixed order. A
// block adds up 32 columns of a part; its warps share the rows.
template <class From, class To>
struct ColumnSums {
  static constexpr int kThreads = 32 * kSumWarps;
  index rows, share;
  unsigned cols;
  const From* x;
  Channels<To> out;
  To* copy = nullptr;  // where the sums of the only part are written once more

  constexpr unsigned blocks() const { return (cols + 31) / 32; }  // of a part

  __device__ void operator()(ColumnSumsShared& s, unsigned block) const {
    const unsigned lane = threadIdx.x % 32, warp = threadIdx.x / 32;
    const unsigned part = block / blocks(), col = block % blocks() * 32 + lane;
    const index begin = part * share, end = begin + share < rows ? begin + share : rows;
    double sum = 0;
    if (col < cols)
      for (index r = begin + warp; r < end; r += kSumWarps)
        sum += static_cast<double>(x[r * cols + col]);
    s.sums[warp][lane] = sum;
    __syncthreads();
    if (warp != 0 || col >= cols) return;
    for (int w = 1; w < kSumWarps; ++w) sum += s.sums[w][lane];
    out.at(part, col) = static_cast<To>(sum);
    if (copy) copy[col] = static_cast<To>(sum);
  }
};

}  // namespace sfumato::cuda
