// 16 bytes: what a thread moves at once.
#pragma once
#include <cstdint>
#include <cstring>

#include "cuda/simt.h"

namespace sfumato::cuda {

struct alignas(16) Chunk {
  std::uint32_t words[4];
};
template <class T>
inline constexpr int kOfChunk = sizeof(Chunk) / sizeof(T);

// Number i of a chunk.
template <class T>
__device__ void store_number(Chunk* chunk, unsigned i, T v) {
#if defined(__CUDACC__)
  reinterpret_cast<T*>(chunk)[i] = v;
#else
  std::memcpy(reinterpret_cast<unsigned char*>(chunk) + i * sizeof v, &v, sizeof v);
#endif
}

// Whether rows of `count` numbers, the first row at `from`, are made of whole chunks.
template <class T>
bool in_chunks(unsigned count, const T* from) {
  return count % kOfChunk<T> == 0 && reinterpret_cast<std::uintptr_t>(from) % sizeof(Chunk) == 0;
}

}  // namespace sfumato::cuda
