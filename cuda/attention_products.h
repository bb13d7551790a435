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

inline constexpr int kAttentionThreads = 128;  // of a block

// kRows of them in shared memory, with zeros up to kD numbers.
template <class P, int kRows, int kD>
struct AttentionPanel {
  using T = typename P::Number;
  static constexpr int kChunks = kD / kOfChunk<T>;
  static constexpr int kTerms = 2 * kOfChunk<T>;             // of a multiply_add
  static constexpr int kSteps = (kD + kTerms - 1) / kTerms;  // of the numbers of a row
  static constexpr bool kHalfStep = kD < kTerms;  // a row has half of the terms; the others are 0
  static constexpr bool kOneOctet = kD == 8;      // of columns, where rows are terms
  Chunk chunks[kRows * kChunks];

  // Begins to copy the rows from `begin` on.
  __device__ void bring(const RowsOfHead<T>& from, unsigned begin) {
    for (unsigned i = threadIdx.x; i < kRows * kChunks; i += kAttentionThreads) {
      const unsigned row = i / kChunks, c = i % kChunks, e = c * kOfChunk<T>;
      const bool exists = begin + row < from.count && e < from.d;
      copy_chunk(&chunks[swizzled<kChunks>(row, c)],
                 exists ? from.first + kernels::index{begin + row} * from.step + e : nullptr);
    }
  }
  // Of 16 rows and the numbers of a step of them, the factor a.
  __device__ Fragment<P> load_a(unsigned row, unsigned step) const {
    const unsigned lane = threadIdx.x % 32;
    Fragment<P> a = load(kHalfStep ? RowOfFour{lane % 16, 0} : below_first(lane), row, step);
    if (kHalfStep) a.words[2] = a.words[3] = 0;
    return a;
  }
  // Two factors b, whose columns are rows here, of 16 rows and the numbers of a step; or, of a half step, four halves of 32 rows.
  __device__ Fragment<P> load_b(unsigned row, unsigned step) const {
    const unsigned lane = threadIdx.x % 32;
    return load(kHalfStep ? RowOfFour{lane, 0} : beside_first(lane), row, step);
  }
  // Two factors b whose terms are rows here, those of a step, in the order of fragment_of(): of the columns [8 j, 8 j + 16); or,
  // where there are only eight, of two steps.
  __device__ Fragment<P> load_b_of_terms(unsigned step, unsigned j) const {
    const unsigned lane = threadIdx.x % 32;
    Fragment<P> b;
    if constexpr (std::is_same_v<T, bf16>) {
      const RowOfFour at = kOneOctet ? RowOfFour{lane, 0} : below_first(lane);
      load_transposed(b.words, &chunks[swizzled<kChunks>(step * kTerms + at.row, j + at.chunk)]);
    } else {
      const unsigned early = step * kTerms + lane % 4 * 2 + later_first(lane);
      SFUMATO_UNROLL
      for (unsigned i = 0; i < 4; ++i) {
        const unsigned row = (early ^ i % 2) + (kOneOctet ? i / 2 * kTerms : 0),
                       col = j * 8 + (kOneOctet ? 0 : i / 2 * 8) + lane / 4;
        b.words[i] = load_word(&chunks[swizzled<kChunks>(row, col / 4)].words[col % 4]);
      }
      b.round();
    }
    return b;
  }
  // Whether a lane takes the later of its two terms first (fragment_of()), so that all lanes read from different banks.
  static constexpr __device__ unsigned later_first(unsigned lane) {
    return kChunks == 2 ? lane / 2 % 2 : lane % 2;
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
// t + 4: in which order terms come does not matter, as long as b's come in the same.
template <class P, int kCount>
__device__ Fragment<P> fragment_of(const Sums<kCount>& p, int step, bool later_first) {
  if constexpr (std::is_same_v<P, AsBf16>) {
    const auto &left = p[2 * step], &right = p[2 * step + 1];
    return {{pair_of_bf16(left[0], left[1]), pair_of_bf16(left[2], left[3]),
             pair_of_bf16(right[0], right[1]), pair_of_bf16(right[2], right[3])}};
  } else {
    const auto& all = p[step];
    const auto word = [later_first](float first, float later) {
      return std::bit_cast<std::uint32_t>(later_first ? later : first);
    };
    Fragment<P> a{
        {word(all[0], all[1]), word(all[2], all[3]), word(all[1], all[0]), word(all[3], all[2])}};
    a.round();
    return a;
  }
}

// The warp's 16 own rows, in registers where they are few.
template <class P, int kOwn, int kD>
class OwnRows {
  using Panel = AttentionPanel<P, kOwn, kD>;

 public:
  __device__ OwnRows(const Panel& panel, unsigned row) : panel_(panel), row_(row) {}
  // To be called once the panel is there.
  __device__ void arrived() {
    if (kKept) kept_ = panel_.load_a(row_, 0);
  }
  __device__ Fragment<P> operator()(unsigned step) const {
    return kKept ? kept_ : panel_.load_a(row_, step);
  }

 private:
  static constexpr bool kKept = Panel::kSteps == 1;
  const Panel& panel_;
  unsigned row_;
  Fragment<P> kept_;
};

// These times the others.
template <class P, int kOwn, int kOther, int kD>
__device__ Sums<kOther / 8> products(const OwnRows<P, kOwn, kD>& own,
                                     const AttentionPanel<P, kOther, kD>& other) {
  using Other = AttentionPanel<P, kOther, kD>;
  constexpr int kOctets = Other::kHalfStep ? 4 : 2;  // of a fragment
  Sums<kOther / 8> s;
  SFUMATO_UNROLL_BY(P::kInTwo ? 1 : 2)
  for (int step = 0; step < Other::kSteps; ++step) {
    const Fragment<P> a = own(step);
    SFUMATO_UNROLL
    for (int j = 0; j < kOther / 8; j += kOctets) {
      const Fragment<P> b = other.load_b(j * 8, step);
      if constexpr (Other::kHalfStep) {
        SFUMATO_UNROLL
        for (int i = 0; i < 4; ++i) multiply_add(bf16(), s[j + i], a.words, b.words[i], 0);
      } else {
        add_product(s[j], a, b, 0), add_product(s[j + 1], a, b, 1);
      }
    }
  }
  return s;
}

// to += p other.
template <class P, int kOther, int kD>
__device__ void add_products(Sums<kD / 8>& to, const Sums<kOther / 8>& p,
                             const AttentionPanel<P, kOther, kD>& other) {
  using Other = AttentionPanel<P, kOther, kD>;
  const bool later_first = Other::later_first(threadIdx.x % 32) != 0;
  constexpr int kAtOnce = Other::kOneOctet ? 2 : 1;
  SFUMATO_UNROLL
  for (int step = 0; step < kOther / Other::kTerms; step += kAtOnce) {
    const Fragment<P> a = fragment_of<P>(p, step, later_first);
    if constexpr (Other::kOneOctet) {
      const Fragment<P> next = fragment_of<P>(p, step + 1, later_first),
                        b = other.load_b_of_terms(step, 0);
      add_product(to[0], a, b, 0), add_product(to[0], next, b, 1);
    } else {
      SFUMATO_UNROLL
      for (int j = 0; j < kD / 8; j += 2) {
        const Fragment<P> b = other.load_b_of_terms(step, j);
        add_product(to[j], a, b, 0), add_product(to[j + 1], a, b, 1);
      }
    }
  }
}

}  // namespace sfumato::cuda
