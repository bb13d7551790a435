// What the threads of a block do together. All threads of the block call these functions.
#pragma once
#include "cuda/simt.h"

namespace sfumato::cuda {

inline constexpr unsigned kAllLanes = 0xffffffffu;

// Σ v over kLanes lanes of a warp that follow one another, all of them by default, in a fixed order; each gets it.
template <int kLanes = 32, class T>
__device__ T warp_sum(T v) {
  for (int bit = kLanes / 2; bit > 0; bit /= 2) v += __shfl_xor_sync(kAllLanes, v, bit);
  return v;
}

template <int kLanes = 32, class T>
__device__ T warp_max(T v) {
  for (int bit = kLanes / 2; bit > 0; bit /= 2) {
    const T other = __shfl_xor_sync(kAllLanes, v, bit);
    v = other > v ? other : v;
  }
  return v;
}

// Σ v over a block of kWarps warps, in a fixed order; every thread gets it. `room` is shared; it may be used again
// after a barrier.
template <int kWarps, class T>
__device__ T block_sum(T (&room)[kWarps], T v) {
  v = warp_sum(v);
  if (threadIdx.x % 32 == 0) room[threadIdx.x / 32] = v;
  __syncthreads();
  T sum = room[0];
  for (int warp = 1; warp < kWarps; ++warp) sum += room[warp];
  return sum;
}

}  // namespace sfumato::cuda
