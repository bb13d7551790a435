// Attention for heads of few channels (D a constant): there is so little to sum over that loading
// and storing scores costs as much as making them. A block of lanes keeps its D vectors in
// registers, and the other side's rows are read as they lie, one number at a time, broadcast. See
// attention.h for the formulas. Scores are in units of ln 2, since 2^x takes fewer operations than
// e^x.
#pragma once
#include "tensor/kernels/simd_math.h"
#include "tensor/kernels/tile.h"
#include "tensor/kernels/transpose.h"

namespace sfumato::kernels::SFUMATO_ISA_NAME {

// D numbers side by side, in whatever registers hold them.
template <int D, class T>
struct RowOf {
  typedef T type __attribute__((vector_size(D * sizeof(T)), aligned(alignof(T)), may_alias));
};

// Rows of D numbers from where they lie among other heads, side by side: hundreds of numbers apart,
// they would crowd into a few sets of the first-level cache.
template <int D, class T>
inline void gather_rows(const T* from, index row_step, index count, T* to) {
  using Row = typename RowOf<D, T>::type;
  for (index i = 0; i < count; ++i)
    *reinterpret_cast<Row*>(to + i * D) = *reinterpret_cast<const Row*>(from + i * row_step);
}

// Σ_e lanes[e] row[e]
template <int D, class T>
[[gnu::always_inline]] inline Vec<T> dot(const Vec<T> (&lanes)[D], const T* row) {
  Vec<T> even = lanes[0] * row[0], odd = lanes[1] * row[1];
#pragma GCC unroll 16
  for (int e = 2; e < D; e += 2) {
    even += lanes[e] * row[e];
    odd += lanes[e + 1] * row[e + 1];
  }
  return even + odd;
}
// lanes[e] += p row[e]
template <int D, class T>
[[gnu::always_inline]] inline void add_product(Vec<T> (&lanes)[D], Vec<T> p, const T* row) {
#pragma GCC unroll 16
  for (int e = 0; e < D; ++e) lanes[e] += p * row[e];
}

// to[r] += Σ_j p[r][j] rows[j] for R rows of D numbers, j < count; p's rows are one vector each.
template <int D, int R, class T>
[[gnu::always_inline]] inline void add_products(const T* p, const T* rows, index count, T* to) {
  using Row = typename RowOf<D, T>::type;
  Row* const out = reinterpret_cast<Row*>(to);
  Row sum[R];
#pragma GCC unroll 8
  for (int r = 0; r < R; ++r) sum[r] = out[r];
  for (index j = 0; j < count; ++j) {
    const Row row = *reinterpret_cast<const Row*>(rows + j * D);
#pragma GCC unroll 8
    for (int r = 0; r < R; ++r) sum[r] += p[r * kLanes<T> + j] * row;
  }
#pragma GCC unroll 8
  for (int r = 0; r < R; ++r) out[r] = sum[r];
}

inline constexpr double kLog2e = 1.4426950408889634, kLn2 = 0.69314718055994531;

// scores[i] = 2^(scores[i] - from(i)) for `count` vectors, added to sum. A loop of its own: its
// steps take long and do not wait for each other, so that many of them must be under way at once. A
// function of its own: it needs the registers for its constants.
template <class T, class From>
[[gnu::noinline]] void exp_all(T* scores, index count, From from, Vec<T>& sum) {
  Vec<T> total = sum;
#pragma GCC unroll 2
  for (index i = 0; i < count; ++i) {
    const Vec<T> p = exp2(load(scores + i * kLanes<T>) - from(i));
    store<T>(scores + i * kLanes<T>, p);
    total += p;
  }
  sum = total;
}

template <int D, class T>
void small_attention_forward(const Attention& s, const T* q, const T* k, const T* v, T* out,
                             T* lse) {
  constexpr index kL = kLanes<T>, kKeys = 256;  // scores of this many keys stay in the cache
  const index out_row = s.heads * D, blocks = div_up(s.tq, kL);
  const index groups = smaller(blocks, div_up(kTasks, s.n * s.heads));
  parallel_for(s.n * s.heads * groups, [&](index task) {
    const index head = task / groups % s.heads, image = task / groups / s.heads;
    const T* qh = q + image * s.tq * s.q_row + head * D;
    const Scratch<T> kh(s.tk * D), vh(s.tk * D);
    gather_rows<D>(k + image * s.tk * s.kv_row + head * D, s.kv_row, s.tk, kh.get());
    gather_rows<D>(v + image * s.tk * s.kv_row + head * D, s.kv_row, s.tk, vh.get());
    const index first = image * s.tq * out_row + head * D;
    const Range range = part_of(blocks, groups, task % groups);
    alignas(64) T scores[kKeys * kL];
    for (index begin = range.begin * kL; begin < smaller(range.end * kL, s.tq); begin += kL) {
      const index count = smaller(kL, s.tq - begin);
      Vec<T> queries[D], o[D] = {}, top = splat(static_cast<T>(-1e30)), sum{};
      rows_to_lanes(qh + begin * s.q_row, s.q_row, count, queries);
      for (int e = 0; e < D; ++e) queries[e] *= static_cast<T>(s.scale * kLog2e);
      for (index j0 = 0; j0 < s.tk; j0 += kKeys) {
        const index keys = smaller(kKeys, s.tk - j0);
        const T *kj = kh.get() + j0 * D, *vj = vh.get() + j0 * D;
        const Vec<T> before = top;
        for (index j = 0; j < keys; ++j, kj += D) {
          const Vec<T> score = dot(queries, kj);
          top = max(score, top);
          store<T>(scores + j * kL, score);
        }
        const Vec<T> shrink = exp2(before - top);
        sum *= shrink;
        for (int e = 0; e < D; ++e) o[e] *= shrink;
        exp_all(
            scores, keys, [=](index) { return top; }, sum);
        for (index j = 0; j < keys; ++j, vj += D) add_product(o, load(scores + j * kL), vj);
      }
      for (int e = 0; e < D; ++e) o[e] /= sum;
      lanes_to_rows(o, count, out + first + begin * out_row, out_row);
      T* lse_h = lse + (image * s.heads + head) * s.tq + begin;
      for (index i = 0; i < count; ++i)
        lse_h[i] = static_cast<T>(kLn2 * static_cast<double>(top[i]) +
                                  __builtin_log(static_cast<double>(sum[i])));
    }
  });
}

template <int D, class T>
void small_attention_backward(const Attention& s, const T* q, const T* k, const T* v, const T* out,
                              const T* lse, const T* dout, T* dq, T* dk, T* dv) {
  constexpr index kL = kLanes<T>,
                  kQueries = 128;  // P and dS of this many queries stay in the cache
  const index out_row = s.heads * D;
  const T scale = static_cast<T>(s.scale);
  parallel_for(s.n * s.heads, [&](index task) {
    const index q_begin = task / s.heads * s.tq * s.q_row + task % s.heads * D;
    const index k_begin = task / s.heads * s.tk * s.kv_row + task % s.heads * D;
    const index out_begin = task / s.heads * s.tq * out_row + task % s.heads * D;
    const T* oh = out + out_begin;
    const Scratch<T> delta(s.tq), lse_2(s.tq), dq_rows(s.tq * D), qh(s.tq * D), doh(s.tq * D);
    gather_rows<D>(q + q_begin, s.q_row, s.tq, qh.get());
    gather_rows<D>(dout + out_begin, out_row, s.tq, doh.get());
    zero(dq_rows.get(), s.tq * D);
    alignas(64) T p[kQueries * kL], ds[kQueries * kL], rows_k[kL * D];
    for (index i = 0; i < s.tq; ++i) {
      T sum = 0;
      for (int e = 0; e < D; ++e) sum += oh[i * out_row + e] * doh[i * D + e];
      delta[i] = sum;
      lse_2[i] = static_cast<T>(kLog2e) * lse[task * s.tq + i];
    }
    for (index begin = 0; begin < s.tk; begin += kL) {
      const index keys = smaller(kL, s.tk - begin), at = k_begin + begin * s.kv_row;
      Vec<T> lanes_k[D], lanes_v[D], lanes_dk[D] = {}, lanes_dv[D] = {};
      rows_to_lanes(k + at, s.kv_row, keys, lanes_k);
      rows_to_lanes(v + at, s.kv_row, keys, lanes_v);
      for (int e = 0; e < D; ++e) lanes_k[e] *= static_cast<T>(s.scale * kLog2e);
      for (index j = 0; j < keys; ++j) {
        for (int e = 0; e < D; ++e) rows_k[j * D + e] = scale * k[at + j * s.kv_row + e];
      }
      for (index i0 = 0; i0 < s.tq; i0 += kQueries) {
        const index queries = smaller(kQueries, s.tq - i0);
        const T *qi = qh.get() + i0 * D, *doi = doh.get() + i0 * D;
        for (index i = 0; i < queries; ++i) store<T>(p + i * kL, dot(lanes_k, qi + i * D));
        Vec<T> ignored{};
        exp_all(
            p, queries, [from = lse_2.get() + i0](index i) { return splat(from[i]); }, ignored);
        for (index i = 0; i < queries; ++i) {
          const Vec<T> dp = dot(lanes_v, doi + i * D) - delta[i0 + i];
          store<T>(ds + i * kL, load(p + i * kL) * dp);
        }
        for (index i = 0; i < queries; ++i) add_product(lanes_dv, load(p + i * kL), doi + i * D);
        for (index i = 0; i < queries; ++i) add_product(lanes_dk, load(ds + i * kL), qi + i * D);
        index i = 0;
        T* const to = dq_rows.get() + i0 * D;
        for (; i + 8 <= queries; i += 8) add_products<D, 8>(ds + i * kL, rows_k, keys, to + i * D);
        for (; i < queries; ++i) add_products<D, 1>(ds + i * kL, rows_k, keys, to + i * D);
      }
      for (int e = 0; e < D; ++e) lanes_dk[e] *= scale;
      lanes_to_rows(lanes_dk, keys, dk + at, s.kv_row);
      lanes_to_rows(lanes_dv, keys, dv + at, s.kv_row);
    }
    for (index i = 0; i < s.tq; ++i) {
      for (int e = 0; e < D; ++e) dq[q_begin + i * s.q_row + e] = dq_rows[i * D + e];
    }
  });
}

}  // namespace sfumato::kernels::SFUMATO_ISA_NAME
