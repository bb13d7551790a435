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

// Where chunk c of row `row` is, among rows of kChunks chunks in shared memory: exchanged with others of its row by a pattern
// that depends on the row (a swizzle), so that chunk c of eight rows that follow one another lies in eight different banks.
template <int kChunks>
constexpr unsigned swizzled(unsigned row, unsigned c) {
  constexpr unsigned kRowsOfBanks = kChunks < 8 ? 8 / kChunks : 1;
  constexpr unsigned kOthers = kChunks < 8 ? kChunks : 8;
  return row * kChunks + (c ^ (row / kRowsOfBanks % kOthers));
}

// Number i of a chunk.
template <class T>
__device__ void store_number(Chunk* chunk, unsigned i, T v) {
#if defined(__CUDACC__)
  reinterpret_cast<T*>(chunk)[i] = v;
#else
  std::memcpy(reinterpret_cast<unsigned char*>(chunk) + i * sizeof v, &v, sizeof v);
#endif
}

// The chunk at an address of device memory that is a multiple of 16, read or written at once.
__device__ inline Chunk read_chunk(const void* from) {
#if defined(__CUDACC__)
  return *static_cast<const Chunk*>(from);
#else
  return emulator::read_chunk<Chunk>(from);
#endif
}
__device__ inline void write_chunk(void* to, const Chunk& chunk) {
#if defined(__CUDACC__)
  *static_cast<Chunk*>(to) = chunk;
#else
  emulator::write_chunk(to, chunk);
#endif
}

// Whether rows of `count` numbers, the first row at `from`, are made of whole chunks.
template <class T>
bool in_chunks(unsigned count, const T* from) {
  return count % kOfChunk<T> == 0 && reinterpret_cast<std::uintptr_t>(from) % sizeof(Chunk) == 0;
}

}  // namespace sfumato::cuda
