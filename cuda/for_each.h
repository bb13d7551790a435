// tensor/for_each.h on a GPU.
#pragma once
#include <algorithm>
#include <cstdint>

#include "cuda/launch.h"

namespace sfumato::cuda {

template <class F>
struct ForEach {
  static constexpr int kThreads = 256;
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

}  // namespace sfumato::cuda
