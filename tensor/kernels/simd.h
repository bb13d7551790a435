// Vectors of the widest registers that the instruction set has, by the compilers' vector extension:
// + - * / and comparisons work lane by lane, so one source serves SSE2, NEON, AVX2 and AVX-512.
#pragma once
#include "tensor/kernels/cache_model.h"

#if defined(__AVX2__)
#include <immintrin.h>
#endif

namespace sfumato::kernels::SFUMATO_ISA_NAME {

#if defined(__AVX512F__)
inline constexpr int kVectorBytes = 64;
inline constexpr int kRegisters = 32;
#elif defined(__AVX2__)
inline constexpr int kVectorBytes = 32;
inline constexpr int kRegisters = 16;
#else
inline constexpr int kVectorBytes = 16;
#if defined(__aarch64__)
inline constexpr int kRegisters = 32;  // NEON, part of every AArch64 processor
#else
inline constexpr int kRegisters = 16;
#endif
#endif

template <class T>
inline constexpr int kLanes = kVectorBytes / static_cast<int>(sizeof(T));

// The integers of a vector's bit patterns and comparison results.
template <class T>
struct BitsOf;
template <>
struct BitsOf<float> {
  using type = std::int32_t;
};
template <>
struct BitsOf<double> {
  using type = std::int64_t;
};

template <class T>
struct VectorOf {
  using Bits = typename BitsOf<T>::type;
  typedef T type __attribute__((vector_size(kVectorBytes)));
  typedef Bits bits __attribute__((vector_size(kVectorBytes)));
  // In memory: aligned like one element, and allowed to alias an array of them.
  typedef T loose __attribute__((vector_size(kVectorBytes), aligned(alignof(T)), may_alias));
};
template <class T>
using Vec = typename VectorOf<T>::type;
template <class T>
using BitVec = typename VectorOf<T>::bits;

template <class T>
[[gnu::always_inline]] inline Vec<T> load(const T* p) {
  return *reinterpret_cast<const typename VectorOf<T>::loose*>(p);
}
template <class T>
[[gnu::always_inline]] inline void store(T* p, Vec<T> v) {
  *reinterpret_cast<typename VectorOf<T>::loose*>(p) = v;
}
// x in every lane. (x - 0 is x for every x, -0 and NaN included: it costs a broadcast, no more.)
template <class T>
[[gnu::always_inline]] inline Vec<T> splat(T x) {
  return x - Vec<T>{};
}

// ---- the tail of an array: the first `count` lanes only; memory after them is not touched
//
// x86 has masked moves, which the vector extension cannot express.
#if defined(__AVX512F__)
[[gnu::always_inline]] inline Vec<float> load_tail(const float* p, int count) {
  return (Vec<float>)_mm512_maskz_loadu_ps(static_cast<__mmask16>((1u << count) - 1), p);
}
[[gnu::always_inline]] inline Vec<double> load_tail(const double* p, int count) {
  return (Vec<double>)_mm512_maskz_loadu_pd(static_cast<__mmask8>((1u << count) - 1), p);
}
[[gnu::always_inline]] inline void store_tail(float* p, Vec<float> v, int count) {
  _mm512_mask_storeu_ps(p, static_cast<__mmask16>((1u << count) - 1), (__m512)v);
}
[[gnu::always_inline]] inline void store_tail(double* p, Vec<double> v, int count) {
  _mm512_mask_storeu_pd(p, static_cast<__mmask8>((1u << count) - 1), (__m512d)v);
}
#elif defined(__AVX2__)
[[gnu::always_inline]] inline __m256i first_lanes(const float*, int count) {
  return _mm256_cmpgt_epi32(_mm256_set1_epi32(count), _mm256_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7));
}
[[gnu::always_inline]] inline __m256i first_lanes(const double*, int count) {
  return _mm256_cmpgt_epi64(_mm256_set1_epi64x(count), _mm256_setr_epi64x(0, 1, 2, 3));
}
[[gnu::always_inline]] inline Vec<float> load_tail(const float* p, int count) {
  return (Vec<float>)_mm256_maskload_ps(p, first_lanes(p, count));
}
[[gnu::always_inline]] inline Vec<double> load_tail(const double* p, int count) {
  return (Vec<double>)_mm256_maskload_pd(p, first_lanes(p, count));
}
[[gnu::always_inline]] inline void store_tail(float* p, Vec<float> v, int count) {
  _mm256_maskstore_ps(p, first_lanes(p, count), (__m256)v);
}
[[gnu::always_inline]] inline void store_tail(double* p, Vec<double> v, int count) {
  _mm256_maskstore_pd(p, first_lanes(p, count), (__m256d)v);
}
#else  // loops: calls, since every kernel has some
template <class T>
[[gnu::noinline]] Vec<T> load_tail(const T* p, int count) {
  Vec<T> v{};
  for (int i = 0; i < count; ++i) v[i] = p[i];
  return v;
}
template <class T>
[[gnu::noinline]] void store_tail(T* p, Vec<T> v, int count) {
  for (int i = 0; i < count; ++i) p[i] = v[i];
}
#endif

// Which lanes of a vector lie inside the array: all, or in its tail the first `count`. Kernels take
// it as a template parameter, so the common case has no branch.
struct AllLanes {};
struct Tail {
  int count;
};
template <class T>
[[gnu::always_inline]] inline Vec<T> load(const T* p, AllLanes) {
  return load(p);
}
template <class T>
[[gnu::always_inline]] inline Vec<T> load(const T* p, Tail tail) {
  return load_tail(p, tail.count);
}
template <class T>
[[gnu::always_inline]] inline void store(T* p, Vec<T> v, AllLanes) {
  store<T>(p, v);
}
template <class T>
[[gnu::always_inline]] inline void store(T* p, Vec<T> v, Tail tail) {
  store_tail(p, v, tail.count);
}

// v, with `fill` in the lanes after the tail.
template <class T>
[[gnu::always_inline]] inline Vec<T> fill_tail(Vec<T> v, AllLanes, T) {
  return v;
}
template <class T>
[[gnu::always_inline]] inline Vec<T> fill_tail(Vec<T> v, Tail tail, T fill) {
  BitVec<T> lane{};
  for (int i = 0; i < kLanes<T>; ++i) lane[i] = i;
  return lane < tail.count ? v : splat(fill);
}

// ---- non-temporal (streaming) stores
//
// An ordinary store first reads the cache line that it is about to overwrite, and evicts another
// one. A non-temporal store does neither, if the vectors of one line are stored one after the other.
// It pays for arrays too large to be still in a cache when they are read. A task that streamed ends
// with finish_streams(), so that other threads see the values.
#if defined(__AVX512F__)
[[gnu::always_inline]] inline void stream(float* p, Vec<float> v) {
  _mm512_stream_ps(p, (__m512)v);
}
[[gnu::always_inline]] inline void stream(double* p, Vec<double> v) {
  _mm512_stream_pd(p, (__m512d)v);
}
#elif defined(__AVX2__)
[[gnu::always_inline]] inline void stream(float* p, Vec<float> v) {
  _mm256_stream_ps(p, (__m256)v);
}
[[gnu::always_inline]] inline void stream(double* p, Vec<double> v) {
  _mm256_stream_pd(p, (__m256d)v);
}
#else
template <class T>
[[gnu::always_inline]] inline void stream(T* p, Vec<T> v) {
  store<T>(p, v);
}
#endif
#if defined(__AVX2__)
inline void finish_streams() { _mm_sfence(); }
inline constexpr bool kStreams = true;
#else
inline void finish_streams() {}
inline constexpr bool kStreams = false;
#endif
// Vectors of one cache line, to be streamed one after the other.
inline constexpr int kStreamVectors = kStreams ? kCache.line / kVectorBytes : 1;
// Whether rows of `columns` elements from `to` on are whole cache lines.
template <class T>
inline bool whole_lines(const T* to, index columns) {
  return columns * static_cast<index>(sizeof(T)) % kCache.line == 0 &&
         reinterpret_cast<std::uintptr_t>(to) % kCache.line == 0;
}
// Whether to stream to them, `count` elements in all.
template <class T>
inline bool streams(const T* to, index columns, index count) {
  return kStreams && whole_lines(to, columns) &&
         count * static_cast<index>(sizeof(T)) >= kCache.stream;
}

// 0, 1, ..., Count - 1 as template arguments.
template <int... I>
struct Indices {};
template <int Count, int... I>
struct MakeIndices : MakeIndices<Count - 1, Count - 1, I...> {};
template <int... I>
struct MakeIndices<0, I...> {
  using type = Indices<I...>;
};

// f(i, AllLanes{}) for each whole vector of [0, n), then f(i, Tail{rest}) for the tail.
template <class T, class F>
[[gnu::always_inline]] inline void for_vectors(index n, F&& f) {
  index i = 0;
  for (; i + kLanes<T> <= n; i += kLanes<T>) f(i, AllLanes{});
  if (i < n) f(i, Tail{static_cast<int>(n - i)});
}

// ---- reductions over lanes, always in the same order
template <class T>
inline T lane_sum(Vec<T> v) {
  T sum = 0;
  for (int i = 0; i < kLanes<T>; ++i) sum += v[i];
  return sum;
}
template <class T>
inline T lane_max(Vec<T> v) {
  T top = v[0];
  for (int i = 1; i < kLanes<T>; ++i) top = v[i] > top ? v[i] : top;
  return top;
}

// The larger, the smaller; y where either is NaN. (Compilers turn the generic form into a
// comparison and a blend, because it might have to keep the sign of a zero.)
#if defined(__AVX512F__)
[[gnu::always_inline]] inline Vec<float> max(Vec<float> x, Vec<float> y) {
  return (Vec<float>)_mm512_maskz_max_ps(0xffff, (__m512)x, (__m512)y);
}
[[gnu::always_inline]] inline Vec<float> min(Vec<float> x, Vec<float> y) {
  return (Vec<float>)_mm512_maskz_min_ps(0xffff, (__m512)x, (__m512)y);
}
#elif defined(__AVX2__)
[[gnu::always_inline]] inline Vec<float> max(Vec<float> x, Vec<float> y) {
  return (Vec<float>)_mm256_max_ps((__m256)x, (__m256)y);
}
[[gnu::always_inline]] inline Vec<float> min(Vec<float> x, Vec<float> y) {
  return (Vec<float>)_mm256_min_ps((__m256)x, (__m256)y);
}
#else
[[gnu::always_inline]] inline Vec<float> max(Vec<float> x, Vec<float> y) { return x > y ? x : y; }
[[gnu::always_inline]] inline Vec<float> min(Vec<float> x, Vec<float> y) { return x < y ? x : y; }
#endif
[[gnu::always_inline]] inline Vec<double> max(Vec<double> x, Vec<double> y) {
  return x > y ? x : y;
}
[[gnu::always_inline]] inline Vec<double> min(Vec<double> x, Vec<double> y) {
  return x < y ? x : y;
}

// Σ_i term(i) over [0, n), where a term is a Vec or a struct of them. Four running sums hide the
// latency of addition; restarting them every 64 terms keeps the rounding error of a long f32 sum
// near that of pairwise summation (it grows with n/64 + 16 additions instead of n).
template <class Sum, class Term>
[[gnu::always_inline]] inline Sum sum_terms(index n, Term&& term) {
  Sum total{};
  for (index begin = 0; begin < n; begin += 64) {
    const index end = smaller(begin + 64, n);
    Sum part[4] = {};
    index i = begin;
    for (; i + 4 <= end; i += 4) {
#pragma GCC unroll 4
      for (int j = 0; j < 4; ++j) part[j] += term(i + j);
    }
    for (; i < end; ++i) part[0] += term(i);
    part[0] += part[1];
    part[2] += part[3];
    part[0] += part[2];
    total += part[0];
  }
  return total;
}

}  // namespace sfumato::kernels::SFUMATO_ISA_NAME
