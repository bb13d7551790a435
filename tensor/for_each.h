// for_each: the one place where an elementwise function meets a device.
//
// A source file that includes this header, tensor/arithmetic.h or autograd/pointwise.h is compiled by nvcc in a CUDA
// build, and by the C++ compiler in other builds (cuda/cuda.cmake). The function f is an object of a named struct
// whose members are constexpr: nvcc lets a GPU call constexpr functions of C++. A lambda will not do. f is copied to
// the device, so its members are numbers and addresses of the device's memory, 4 KB of them at most. Results on the
// CPU do not depend on the number of threads.
#pragma once
#include <algorithm>
#include <cstdint>
#include <type_traits>

#include "tensor/device.h"
#include "tensor/error.h"
#include "tensor/parallel.h"
#if defined(__CUDACC__) || defined(SFUMATO_CUDA_EMULATED)
#include "cuda/for_each.h"
#define SFUMATO_COMPILED with_gpu
#else
#define SFUMATO_COMPILED without_gpu
#endif

// A CUDA build links files of both kinds (a user's own files are compiled by the C++ compiler). The templates below
// differ in them, and this namespace makes them different functions to the linker.
namespace sfumato {
inline namespace SFUMATO_COMPILED {

inline constexpr std::int64_t kElementGrain = 1 << 14;  // elements a task of pointwise work handles

// Calls f(i) once for every i in [0, n), in any order, on any threads. f(i) writes only what no other f(j) reads or
// writes. On a GPU the work is done after all that was asked of it before; the CPU does not wait for it. Throws Error
// for a device that this file was not compiled for. `grain`: how many calls of f a task of the CPU makes; fewer where f
// does more than an element's work.
template <class F>
void for_each(Device device, std::int64_t n, const F& f, std::int64_t grain = kElementGrain) {
  static_assert(std::is_trivially_copyable_v<F>);
  if (device == Device::cpu) {
    parallel_ranges(n, grain, [f](std::int64_t begin, std::int64_t end) {
      for (std::int64_t i = begin; i < end; ++i) f(i);
    });
    return;
  }
#if defined(__CUDACC__) || defined(SFUMATO_CUDA_EMULATED)
  cuda::for_each(n, f);
#else
  throw Error(name(device), "this operation was compiled without CUDA");
#endif
}

// Calls f(r)(j) once for every row r in [0, rows) and every j in [0, cols). f(r) is what the elements of row r share;
// the CPU computes it once a row, or once a part of a row that is longer than kElementGrain.
template <class F>
void for_each_row(Device device, std::int64_t rows, std::int64_t cols, const F& f) {
  if (rows == 0 || cols == 0) return;
  if (device != Device::cpu) {
#if defined(__CUDACC__) || defined(SFUMATO_CUDA_EMULATED)
    return cuda::for_each_row(rows, cols, f);
#else
    throw Error(name(device), "this operation was compiled without CUDA");
#endif
  }
  const std::int64_t part = std::min(cols, kElementGrain), parts = (cols + part - 1) / part;
  parallel_ranges(rows * parts, kElementGrain / part, [=](std::int64_t begin, std::int64_t end) {
    for (std::int64_t i = begin; i < end; ++i) {
      const auto row = f(i / parts);
      const std::int64_t first = i % parts * part, last = std::min(cols, first + part);
      for (std::int64_t j = first; j < last; ++j) row(j);
    }
  });
}

}  // namespace SFUMATO_COMPILED
}  // namespace sfumato
