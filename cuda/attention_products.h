// The products of attention on tensor cores: rows of heads in shared memory, and a warp's sums in its registers, which are a
// factor of the next product without leaving them.
#pragma once
#include "cuda/mma_fragment.h"
#include "tensor/kernels/kernels.h"

namespace sfumato::cuda {

// Rows of one head of one image: row i is at first + i * step, d numbers long.
template <class T>
struct RowsOfHead {
  const T* first;
  unsigned step, count, d;
};

// kRows of them in shared memory, with zeros up to kD numbers; brought by blocks of kThreads.
template <class P, int kRows, int kD>
struct AttentionPanel {
  using T = typename P::Number;
  static constexpr unsigned kThreads = 128;
  static constexpr int kChunks = kD / kOfChunk<T>;
  static constexpr int kTerms = 2 * kOfChunk<T>;  // of a multiply_add
  Chunk chunks[kRows * kChunks];

  // Begins to copy the rows from `begin` on.
  __device__ void bring(const RowsOfHead<T>& from, unsigned begin) {
    for (unsigned i = threadIdx.x; i < kRows * kChunks; i += kThreads) {
      const unsigned row = i / kChunks, c = i % kChunks, e = c * kOfChunk<T>;
      const bool exists = begin + row < from.count && e < from.d;
      copy_chunk(&chunks[swizzled<kChunks>(row, c)],
                 exists ? from.first + kernels::index{begin + row} * from.step + e : nullptr);
    }
  }
  // Of 16 rows and the numbers of a step of them, the factor a; and two factors b, whose columns are rows here.
  __device__ Fragment<P> load_a(unsigned row, unsigned step) const {
    return load(below_first(threadIdx.x % 32), row, step);
  }
  __device__ Fragment<P> load_b(unsigned row, unsigned step) const {
    return load(beside_first(threadIdx.x % 32), row, step);
  }
  // Two factors b, of 16 columns from `col` on, whose terms are the rows of a step, in the order of fragment_of().
  __device__ Fragment<P> load_b_of_terms(unsigned step, unsigned col) const {
    const unsigned lane = threadIdx.x % 32;
    Fragment<P> b;
    if constexpr (std::is_same_v<T, bf16>) {
      const RowOfFour at = below_first(lane);
      load_transposed(b.words,
                      &chunks[swizzled<kChunks>(step * kTerms + at.row, col / 8 + at.chunk)]);
    } else {
      const unsigned early = step * kTerms + lane % 4 * 2 + lane % 2;
      SFUMATO_UNROLL
      for (unsigned i = 0; i < 4; ++i) {
        const unsigned at = col + i / 2 * 8 + lane / 4;
        b.words[i] = load_word(&chunks[swizzled<kChunks>(early ^ i % 2, at / 4)].words[at % 4]);
      }
      b.round();
    }
    return b;
  }

 private:
  __device__ Fragment<P> load(const RowOfFour& at, unsigned row, unsigned step) const {
    Fragment<P> f;
    load_matrices(f.words, &chunks[swizzled<kChunks>(row + at.row, step * 2 + at.chunk)]);
    f.round();
    return f;
  }
};

inline constexpr int kOfRow = 4;  // lanes that share a row of a matrix of sums

// This lane's elements of a matrix [16, 8 kCount]: of columns 8 j + 2 (lane % 4) + e, row lane / 4 + 8 h is [j][2 h + e].
template <int kCount>
struct Sums {
  float v[kCount][4] = {};
  __device__ void scale(int h, float by) {
    for (int j = 0; j < kCount; ++j)
      for (int e = 0; e < 2; ++e) v[j][2 * h + e] *= by;
  }
  __device__ float (&operator[](int j))[4] { return v[j]; }
  __device__ const float (&operator[](int j) const)[4] { return v[j]; }
};

// Sums as the factor a of the terms of a step. Of TF32 a lane has columns 2 t and 2 t + 1, t = lane % 4, and is asked for t and
// t + 4: in which order terms come does not matter, as long as b's come in the same. (Odd lanes change the two, so that they
// read rows of b from other banks than even ones.)
template <class P, int kCount>
__device__ Fragment<P> fragment_of(const Sums<kCount>& p, int step) {
  if constexpr (std::is_same_v<P, AsBf16>) {
    const auto &left = p[2 * step], &right = p[2 * step + 1];
    return {{pair_of_bf16(left[0], left[1]), pair_of_bf16(left[2], left[3]),
             pair_of_bf16(right[0], right[1]), pair_of_bf16(right[2], right[3])}};
  } else {
    const auto& all = p[step];
    const bool odd = threadIdx.x % 2 != 0;
    const auto word = [odd](float even_first, float odd_first) {
      return std::bit_cast<std::uint32_t>(odd ? odd_first : even_first);
    };
    Fragment<P> a{
        {word(all[0], all[1]), word(all[2], all[3]), word(all[1], all[0]), word(all[3], all[2])}};
    a.round();
    return a;
  }
}

// The warp's 16 own rows times the others.
template <class P, int kOwn, int kOther, int kD>
__device__ Sums<kOther / 8> products(const AttentionPanel<P, kOwn, kD>& own, unsigned row,
                                     const AttentionPanel<P, kOther, kD>& other) {
  Sums<kOther / 8> s;
  SFUMATO_UNROLL_BY(P::kInTwo ? 1 : 2)
  for (int step = 0; step < kD / own.kTerms; ++step) {
    const Fragment<P> a = own.load_a(row, step);
    SFUMATO_UNROLL
    for (int j = 0; j < kOther / 8; j += 2) {
      const Fragment<P> b = other.load_b(j * 8, step);
      add_product(s[j], a, b, 0), add_product(s[j + 1], a, b, 1);
    }
  }
  return s;
}

// to += p other.
template <class P, int kOther, int kD>
__device__ void add_products(Sums<kD / 8>& to, const Sums<kOther / 8>& p,
                             const AttentionPanel<P, kOther, kD>& other) {
  SFUMATO_UNROLL
  for (int step = 0; step < kOther / other.kTerms; ++step) {
    const Fragment<P> a = fragment_of<P>(p, step);
    SFUMATO_UNROLL
    for (int j = 0; j < kD / 8; j += 2) {
      const Fragment<P> b = other.load_b_of_terms(step, j * 8);
      add_product(to[j], a, b, 0), add_product(to[j + 1], a, b, 1);
    }
  }
}

}  // namespace sfumato::cuda
