// CUDA's words for kernels. nvcc has them; the emulator defines those that are used (emulator/simt.h).
//
// A kernel is a struct. Its members are the arguments; operator() const, marked __device__, is what each thread runs;
//   static constexpr int kThreads   is the number of threads of a block, a multiple of 32;
//   struct Shared {...}             is what the threads of a block share: shared<Shared>(). It starts with unspecified
//                                   contents. A kernel whose threads wait for one another or exchange values has one,
//                                   if need be empty; a kernel without one may not.
#pragma once
#if defined(__CUDACC__)
#include <cuda_runtime.h>
// Before a loop whose number of rounds is a constant: an array that it indexes can then be registers.
#define SFUMATO_UNROLL _Pragma("unroll")
// Or n of its rounds, where all at once would need too many registers.
#define SFUMATO_UNROLL_BY(n) SFUMATO_PRAGMA(unroll n)
#define SFUMATO_PRAGMA(text) _Pragma(#text)
#else
#include "cuda/emulator/simt.h"
#define SFUMATO_UNROLL
#define SFUMATO_UNROLL_BY(n)
#endif

namespace sfumato::cuda {

template <class S>
__device__ inline S& shared() {
#if defined(__CUDACC__)
  extern __shared__ __align__(128) unsigned char bytes[];
  return *reinterpret_cast<S*>(bytes);
#else
  return *static_cast<S*>(emulator::shared());
#endif
}

}  // namespace sfumato::cuda
