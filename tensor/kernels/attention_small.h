// Attention for heads of few channels (D a constant): there is so little to sum over that loading
// and storing scores costs as much as making them. A block of lanes keeps its D vectors in
// registers, and the other side's rows are read as they lie, one number at a time, broadcast. See
// attention.h for the formulas.
#pragma once
#include "tensor/kernels/simd_math.h"
#include "tensor/kernels/tile.h"

namespace sfumato::kernels::SFUMATO_ISA_NAME {

// Rows [begin, begin + count) of from[.., D] as lanes: to[e] = from[begin..., e]; zeros beyond.
template <int D, class T>
inline void rows_to_lanes(const T* from, index row_step, index count, T scale, Vec<T> (&to)[D]) {
  T lanes[D][kLanes<T>] = {};
  for (index i = 0; i < count; ++i) {
#pragma GCC unroll 16
    for (int e = 0; e < D; ++e) lanes[e][i] = scale * from[i * row_step + e];
  }
#pragma GCC unroll 16
  for (int e = 0; e < D; ++e) to[e] = load(lanes[e]);
}
template <int D, class T>
inline void lanes_to_rows(const Vec<T> (&from)[D], index count, T* to, index row_step) {
  T lanes[D][kLanes<T>];
#pragma GCC unroll 16
  for (int e = 0; e < D; ++e) store<T>(lanes[e], from[e]);
  for (index i = 0; i < count; ++i) {
#pragma GCC unroll 16
    for (int e = 0; e < D; ++e) to[i * row_step + e] = lanes[e][i];
  }
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

// scores[i] = exp(scores[i] - from(i)) for `count` vectors; their sum. A loop of its own: its steps
// take long and do not wait for each other, so that many of them must be under way at once.
template <class T, class From>
[[gnu::always_inline]] inline Vec<T> exp_all(T* scores, index count, From from) {
  Vec<T> sum{};
#pragma GCC unroll 2
  for (index i = 0; i < count; ++i) {
    const Vec<T> p = exp(load(scores + i * kLanes<T>) - from(i));
    store<T>(scores + i * kLanes<T>, p);
    sum += p;
  }
  return sum;
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
    const T* kh = k + image * s.tk * s.kv_row + head * D;
    const T* vh = v + image * s.tk * s.kv_row + head * D;
    const index first = image * s.tq * out_row + head * D;
    const Range range = part_of(blocks, groups, task % groups);
    alignas(64) T scores[kKeys * kL];
    for (index begin = range.begin * kL; begin < smaller(range.end * kL, s.tq); begin += kL) {
      const index count = smaller(kL, s.tq - begin);
      Vec<T> queries[D], o[D] = {}, top = splat(static_cast<T>(-1e30)), sum{};
      rows_to_lanes(qh + begin * s.q_row, s.q_row, count, static_cast<T>(s.scale), queries);
      for (index j0 = 0; j0 < s.tk; j0 += kKeys) {
        const index keys = smaller(kKeys, s.tk - j0);
        const T *kj = kh + j0 * s.kv_row, *vj = vh + j0 * s.kv_row;
        const Vec<T> before = top;
        for (index j = 0; j < keys; ++j, kj += s.kv_row) {
          const Vec<T> score = dot(queries, kj);
          top = max(score, top);
          store<T>(scores + j * kL, score);
        }
        const Vec<T> shrink = exp(before - top);
        sum *= shrink;
        for (int e = 0; e < D; ++e) o[e] *= shrink;
        sum += exp_all(scores, keys, [&](index) { return top; });
        for (index j = 0; j < keys; ++j, vj += s.kv_row) add_product(o, load(scores + j * kL), vj);
      }
      for (int e = 0; e < D; ++e) o[e] /= sum;
      lanes_to_rows(o, count, out + first + begin * out_row, out_row);
      T* lse_h = lse + (image * s.heads + head) * s.tq + begin;
      for (index i = 0; i < count; ++i)
        lse_h[i] = top[i] + static_cast<T>(__builtin_log(static_cast<double>(sum[i])));
    }
  });
}

template <int D, class T>
void small_attention_backward(const Attention& s, const T* q, const T* k, const T* v, const T* out,
                              const T* lse, const T* dout, T* dq, T* dk, T* dv) {
  constexpr index kL = kLanes<T>,
                  kQueries = 128;  // P and dS of this many queries stay in the cache
  static_assert(D <= kL || D % kL == 0);
  constexpr index kRow = D < kL ? kL : D;  // numbers of dq per query, whole vectors
  const index out_row = s.heads * D;
  const T scale = static_cast<T>(s.scale);
  parallel_for(s.n * s.heads, [&](index task) {
    const index q_begin = task / s.heads * s.tq * s.q_row + task % s.heads * D;
    const index k_begin = task / s.heads * s.tk * s.kv_row + task % s.heads * D;
    const index out_begin = task / s.heads * s.tq * out_row + task % s.heads * D;
    const T *qh = q + q_begin, *oh = out + out_begin, *doh = dout + out_begin;
    const T* lse_h = lse + task * s.tq;
    const Scratch<T> delta(s.tq), dq_rows(s.tq * kRow),
        panel(kL * kRow);  // [vector of D][keys][lane]
    alignas(64) T p[kQueries * kL], ds[kQueries * kL];
    for (index i = 0; i < s.tq; ++i) {
      T sum = 0;
      for (int e = 0; e < D; ++e) sum += oh[i * out_row + e] * doh[i * out_row + e];
      delta[i] = sum;
    }
    for (index begin = 0; begin < s.tk; begin += kL) {
      const index keys = smaller(kL, s.tk - begin), at = k_begin + begin * s.kv_row;
      Vec<T> lanes_k[D], lanes_v[D], lanes_dk[D] = {}, lanes_dv[D] = {};
      rows_to_lanes(k + at, s.kv_row, keys, scale, lanes_k);
      rows_to_lanes(v + at, s.kv_row, keys, T{1}, lanes_v);
      zero(panel.get(), kL * kRow);
      for (index j = 0; j < keys; ++j) {
        for (int e = 0; e < D; ++e)
          panel[(e / kL * kL + j) * kL + e % kL] = scale * k[at + j * s.kv_row + e];
      }
      const Segment all{0, keys};
      const Depth depth{1, 0, &all, 1};
      for (index i0 = 0; i0 < s.tq; i0 += kQueries) {
        const index queries = smaller(kQueries, s.tq - i0);
        const T *qi = qh + i0 * s.q_row, *doi = doh + i0 * out_row;
        for (index i = 0; i < queries; ++i) store<T>(p + i * kL, dot(lanes_k, qi + i * s.q_row));
        exp_all(p, queries, [&](index i) { return splat(lse_h[i0 + i]); });
        for (index i = 0; i < queries; ++i) {
          const Vec<T> dp = dot(lanes_v, doi + i * out_row) - delta[i0 + i];
          store<T>(ds + i * kL, load(p + i * kL) * dp);
        }
        for (index i = 0; i < queries; ++i)
          add_product(lanes_dv, load(p + i * kL), doi + i * out_row);
        for (index i = 0; i < queries; ++i)
          add_product(lanes_dk, load(ds + i * kL), qi + i * s.q_row);
        // dq [queries, D] += dS [queries, keys] K [keys, D]
        for (index c = 0; c < kRow; c += kL) {
          for_row_blocks(queries, 1, [&](index i, index count) {
            T* to = dq_rows.get() + (i0 + i) * kRow + c;
            const Output<T> o{to, kRow, kL, begin > 0 ? to : nullptr, kRow};
            tile_function<T, kL>(count, 1)(ds + i * kL, depth, panel.get() + c * kL, o);
          });
        }
      }
      for (int e = 0; e < D; ++e) lanes_dk[e] *= scale;
      lanes_to_rows(lanes_dk, keys, dk + at, s.kv_row);
      lanes_to_rows(lanes_dv, keys, dv + at, s.kv_row);
    }
    for (index i = 0; i < s.tq; ++i) {
      for (int e = 0; e < D; ++e) dq[q_begin + i * s.q_row + e] = dq_rows[i * kRow + e];
    }
  });
}

}  // namespace sfumato::kernels::SFUMATO_ISA_NAME
