// 16 bytes: what a thread moves at once.
#pragma once
#include <algorithm>
#include <bit>
#include <cstdint>
#include <iterator>

#include "cuda/simt.h"

namespace sfumato::cuda {

template <int kBytes>
struct alignas(kBytes) Words {
  std::uint32_t words[kBytes / 4];
};
using Chunk = Words<16>;
template <class T>
inline constexpr int kOfChunk = sizeof(Chunk) / sizeof(T);

// Numbers side by side, as they are computed with.
template <class W, int kCount>
struct Numbers {
  W of[kCount];

  constexpr Numbers& operator+=(const Numbers& other) {
    for (int i = 0; i < kCount; ++i) of[i] += other.of[i];
    return *this;
  }
};

// Where chunk c of row `row` is, among rows of kChunks chunks in shared memory: exchanged with others of its row by a pattern
// that depends on the row (a swizzle), so that chunk c of eight rows that follow one another lies in eight different banks.
template <int kChunks>
constexpr unsigned swizzled(unsigned row, unsigned c) {
  constexpr unsigned kRowsOfBanks = kChunks < 8 ? 8 / kChunks : 1;
  constexpr unsigned kOthers = kChunks < 8 ? kChunks : 8;
  return row * kChunks + (c ^ (row / kRowsOfBanks % kOthers));
}

// A chunk, or as many bytes as W has, read or written at once, at an address that is a multiple of its size.
template <class W = Chunk>
__device__ W read_words(const void* from) {
#if defined(__CUDACC__)
  return *static_cast<const W*>(from);
#else
  return emulator::read_words<W>(from);
#endif
}
template <class W>
__device__ void write_words(void* to, const W& words) {
#if defined(__CUDACC__)
  *static_cast<W*>(to) = words;
#else
  emulator::write_words(to, words);
#endif
}

// kCount numbers of shared memory that fill chunks, or 8 bytes.
template <int kCount, class W>
__device__ Numbers<W, kCount> read_numbers(const W* from) {
  constexpr int kBytes = std::min<int>(sizeof(Chunk), kCount * sizeof(W));
  struct {
    Words<kBytes> of[kCount * sizeof(W) / kBytes];
  } words;
  SFUMATO_UNROLL
  for (unsigned i = 0; i < std::size(words.of); ++i)
    words.of[i] = read_words<Words<kBytes>>(from + i * kBytes / sizeof(W));
  return std::bit_cast<Numbers<W, kCount>>(words);
}

// Whether rows of `count` numbers, the first row at `from`, are made of whole chunks, or of runs of kCount numbers that are
// read at once, or chunk by chunk.
template <class T, int kCount = kOfChunk<T>>
bool in_runs(unsigned count, const T* from) {
  constexpr std::size_t kBytes = std::min(sizeof(Chunk), kCount * sizeof(T));
  return count % kCount == 0 && reinterpret_cast<std::uintptr_t>(from) % kBytes == 0;
}
template <class T>
bool in_chunks(unsigned count, const T* from) {
  return in_runs(count, from);
}

}  // namespace sfumato::cuda
