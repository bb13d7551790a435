// Rows of memory to lanes of vectors, and back, by shuffles in registers. Element by element would
// defeat store forwarding: each vector would be loaded right after many smaller stores to its bytes.
#pragma once
#include "tensor/kernels/simd.h"

namespace sfumato::kernels::SFUMATO_ISA_NAME {

// Of a and b, cut into pairs of blocks of Half lanes: the left block of each pair, or the right one.
template <class T, int Half, bool Right, int... L>
[[gnu::always_inline]] inline Vec<T> blocks_of(Vec<T> a, Vec<T> b, Indices<L...>) {
#define SFUMATO_LANE (L & Half ? kLanes<T> + L - (Right ? 0 : Half) : L + (Right ? Half : 0))...
#if defined(__clang__)
  return __builtin_shufflevector(a, b, SFUMATO_LANE);
#else
  return __builtin_shuffle(a, b, BitVec<T>{SFUMATO_LANE});
#endif
#undef SFUMATO_LANE
}

// v[i][j] becomes v[j][i]: the two blocks off the diagonal are exchanged, then the same inside each
// block.
template <class T, int Half = kLanes<T> / 2>
[[gnu::always_inline]] inline void transpose(Vec<T> (&v)[kLanes<T>]) {
  if constexpr (Half > 0) {
    using Lanes = typename MakeIndices<kLanes<T>>::type;
#pragma GCC unroll 16
    for (int i = 0; i < kLanes<T>; ++i) {
      if (i & Half) continue;
      const Vec<T> a = v[i], b = v[i + Half];
      v[i] = blocks_of<T, Half, false>(a, b, Lanes());
      v[i + Half] = blocks_of<T, Half, true>(a, b, Lanes());
    }
    transpose<T, Half / 2>(v);
  }
}

// to[e] lane i = from[i * step + e], for `count` rows of D elements; zeros after them.
template <int D, class T>
[[gnu::always_inline]] inline void rows_to_lanes(const T* from, index step, index count,
                                                 Vec<T> (&to)[D]) {
  for_vectors<T>(
      D, [&](index first, auto lanes) __attribute__((always_inline)) {
        Vec<T> v[kLanes<T>];
#pragma GCC unroll 16
        for (int i = 0; i < kLanes<T>; ++i)
          v[i] = i < count ? load(from + i * step + first, lanes) : Vec<T>{};
        transpose<T>(v);
#pragma GCC unroll 16
        for (int e = 0; e < kLanes<T>; ++e) {
          if (first + e < D) to[first + e] = v[e];
        }
      });
}

// The inverse.
template <int D, class T>
[[gnu::always_inline]] inline void lanes_to_rows(const Vec<T> (&from)[D], index count, T* to,
                                                 index step) {
  for_vectors<T>(
      D, [&](index first, auto lanes) __attribute__((always_inline)) {
        Vec<T> v[kLanes<T>];
#pragma GCC unroll 16
        for (int e = 0; e < kLanes<T>; ++e) v[e] = first + e < D ? from[first + e] : Vec<T>{};
        transpose<T>(v);
#pragma GCC unroll 16
        for (int i = 0; i < kLanes<T>; ++i) {
          if (i < count) store<T>(to + i * step + first, v[i], lanes);
        }
      });
}

}  // namespace sfumato::kernels::SFUMATO_ISA_NAME
