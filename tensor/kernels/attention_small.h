// Attention for heads of few channels (D a constant). The sum over channels is so short that loading
// and storing scores costs as much as computing them. One side (queries, or keys) is in lanes, N
// vectors at a time, channel by channel; each element of the other side's rows is broadcast to all N.
// See attention.h for the formulas. Scores are in units of ln 2, because 2^x takes fewer operations
// than e^x.
#pragma once
#include "tensor/kernels/simd_math.h"
#include "tensor/kernels/tile.h"
#include "tensor/kernels/transpose.h"

namespace sfumato::kernels::SFUMATO_ISA_NAME {

inline constexpr double kLog2e = 1.4426950408889634, kLn2 = 0.69314718055994531;

// D channels of N vectors of queries, or of keys.
template <int D, int N, class T>
struct LaneBlock {
  Vec<T> at[D][N];
};

// Rows `step` apart to lanes, times `factor`; zeros after `count` rows.
template <int D, int N, class T>
[[gnu::always_inline]] inline LaneBlock<D, N, T> lanes_of(const T* rows, index step, index count,
                                                          T factor) {
  LaneBlock<D, N, T> to;
#pragma GCC unroll 2
  for (int n = 0; n < N; ++n) {
    Vec<T> lanes[D];
    const index begin = n * kLanes<T>;
    rows_to_lanes(rows + begin * step, step, clamp_to(count - begin, 0, kLanes<T>), lanes);
#pragma GCC unroll 16
    for (int e = 0; e < D; ++e) to.at[e][n] = lanes[e] * factor;
  }
  return to;
}

// Back to the first `count` rows, each times its lane of `factors`.
template <int D, int N, class T>
[[gnu::always_inline]] inline void put_rows(const LaneBlock<D, N, T>& from,
                                            const Vec<T> (&factors)[N], index count, T* rows,
                                            index step) {
#pragma GCC unroll 2
  for (int n = 0; n < N; ++n) {
    Vec<T> lanes[D];
    const index begin = n * kLanes<T>;
#pragma GCC unroll 16
    for (int e = 0; e < D; ++e) lanes[e] = from.at[e][n] * factors[n];
    lanes_to_rows(lanes, clamp_to(count - begin, 0, kLanes<T>), rows + begin * step, step);
  }
}

// f.operator()<N>(begin) for blocks of N vectors that cover a range: two vectors at a time, or one if
// that is enough.
template <class T, class F>
[[gnu::always_inline]] inline void for_lanes(Range range, F&& f) {
  for (index i = range.begin; i < range.end; i += 2 * kLanes<T>) {
    if (i + kLanes<T> < range.end) {
      f.template operator()<2>(i);
    } else {
      f.template operator()<1>(i);
    }
  }
}

// D contiguous elements, in as many registers as hold them.
template <int D, class T>
struct RowOf {
  typedef T type __attribute__((vector_size(D * sizeof(T)), aligned(alignof(T)), may_alias));
};

// Copies one head's rows so that they are contiguous: as stored, hundreds of elements apart, they
// would share few sets of L1.
template <int D, class T>
inline void gather_rows(const T* from, index row_step, index count, T* to) {
  using Row = typename RowOf<D, T>::type;
  for (index i = 0; i < count; ++i)
    *reinterpret_cast<Row*>(to + i * D) = *reinterpret_cast<const Row*>(from + i * row_step);
}

// put(i, scores) for M rows from row i on: scores[n] = Σ_e lanes[e][n] rows[i][e], less minus[i] unless
// that is null.
template <int M, int D, int N, class T, class Put>
[[gnu::always_inline]] inline void scores_of_rows(const LaneBlock<D, N, T>& lanes, const T* rows,
                                                  const T* minus, index i, Put&& put) {
  Vec<T> sum[M][N];
#pragma GCC unroll 16
  for (int e = 0; e < D; ++e) {
#pragma GCC unroll 4
    for (int m = 0; m < M; ++m) {
      const Vec<T> element = splat(rows[(i + m) * D + e]);
#pragma GCC unroll 2
      for (int n = 0; n < N; ++n) {
        const Vec<T> product = lanes.at[e][n] * element;
        sum[m][n] = e > 0 ? sum[m][n] + product : minus ? product - minus[i + m] : product;
      }
    }
  }
#pragma GCC unroll 4
  for (int m = 0; m < M; ++m) put(i + m, sum[m]);
}
// For `count` rows, several at a time: with 16 registers the lanes are in memory, and each load then
// serves several rows.
template <int D, int N, class T, class Put>
[[gnu::always_inline]] inline void for_scores(const LaneBlock<D, N, T>& lanes, const T* rows,
                                              const T* minus, index count, Put&& put) {
  constexpr int kRows = kRegisters == 32 ? 2 : 3;
  index i = 0;
  for (; i + kRows <= count; i += kRows) scores_of_rows<kRows>(lanes, rows, minus, i, put);
  for (; i < count; ++i) scores_of_rows<1>(lanes, rows, minus, i, put);
}

// The product with the probabilities, lanes[e][n] += Σ_i p[i][n] rows[i][e], as many channels at a
// time as half of the registers hold. Unless null, sum[n] += Σ_i p[i][n]: the additions use execution
// ports that the multiply-adds leave free.
template <int D, int N, class T>
[[gnu::always_inline]] inline void add_weighted_rows(LaneBlock<D, N, T>& lanes, const T* p,
                                                     const T* rows, index count,
                                                     Vec<T>* sum = nullptr) {
  constexpr int kChannels = D * N <= kRegisters / 2 ? D : kRegisters / 2 / N;
  static_assert(D % kChannels == 0);
#pragma GCC unroll 4
  for (int first = 0; first < D; first += kChannels) {
    Vec<T> block[kChannels][N], total[N] = {};
#pragma GCC unroll 16
    for (int e = 0; e < kChannels; ++e) {
#pragma GCC unroll 2
      for (int n = 0; n < N; ++n) block[e][n] = lanes.at[first + e][n];
    }
    for (index i = 0; i < count; ++i) {
      Vec<T> factors[N];
#pragma GCC unroll 2
      for (int n = 0; n < N; ++n) {
        factors[n] = load(p + (i * N + n) * kLanes<T>);
        if (sum && first == 0) total[n] += factors[n];
      }
#pragma GCC unroll 16
      for (int e = 0; e < kChannels; ++e) {
        const Vec<T> element = splat(rows[i * D + first + e]);
#pragma GCC unroll 2
        for (int n = 0; n < N; ++n) block[e][n] += factors[n] * element;
      }
    }
#pragma GCC unroll 16
    for (int e = 0; e < kChannels; ++e) {
#pragma GCC unroll 2
      for (int n = 0; n < N; ++n) lanes.at[first + e][n] = block[e][n];
    }
    for (int n = 0; sum && first == 0 && n < N; ++n) sum[n] += total[n];
  }
}

// scores[i][n] = 2^change(scores[i][n], n) for Rows rows, see exp2_scores.
template <int Rows, int N, class T, class Change>
[[gnu::always_inline]] inline void exp2_rows(T* scores, const Change& change) {
  Vec<T> x[Rows * N];
#pragma GCC unroll 4
  for (int m = 0; m < Rows * N; ++m) x[m] = change(load(scores + m * kLanes<T>), m % N);
  exp2(x);
#pragma GCC unroll 4
  for (int m = 0; m < Rows * N; ++m) store<T>(scores + m * kLanes<T>, x[m]);
}
// For i < count. In a loop of its own, because an exponential has a long latency: many independent ones
// must be in flight. Not inlined, because it needs the registers for its constants.
template <int N, class T, class Change>
[[gnu::noinline]] void exp2_scores(T* scores, index count, Change change) {
  constexpr int kRows = 4 / N;
  constexpr index kStep = N * kLanes<T>;
  index i = 0;
  for (; i + kRows <= count; i += kRows) exp2_rows<kRows, N>(scores + i * kStep, change);
  for (; i < count; ++i) exp2_rows<1, N>(scores + i * kStep, change);
}

// N vectors of queries, of which the first `count` are inside the array, against all keys.
template <int D, int N, class T>
void small_attend(const Attention& s, const T* q, index count, const T* k, const T* v, T* out,
                  T* lse) {
  constexpr index kL = kLanes<T>;
  constexpr index kKeys = kCache.l1_operand() / (N * kVectorBytes);  // whose scores stay in L1
  alignas(64) T scores[kKeys * N * kL];
  const LaneBlock<D, N, T> queries =
      lanes_of<D, N>(q, s.q_row, count, static_cast<T>(s.scale * kLog2e));
  LaneBlock<D, N, T> o = {};
  Vec<T> top[N], sum[N] = {};
  for (int n = 0; n < N; ++n) top[n] = splat(static_cast<T>(-1e30));
  for (index begin = 0; begin < s.tk; begin += kKeys) {
    const index keys = smaller(kKeys, s.tk - begin);
    Vec<T> shrink[N], highest[N];
    for (int n = 0; n < N; ++n) highest[n] = top[n];
    for_scores(
        queries, k + begin * D, static_cast<const T*>(nullptr),
        keys, [&](index j, const Vec<T>(&score)[N]) __attribute__((always_inline)) {
#pragma GCC unroll 2
          for (int n = 0; n < N; ++n) {
            highest[n] = max(score[n], highest[n]);
            store<T>(scores + (j * N + n) * kL, score[n]);
          }
        });
    for (int n = 0; n < N; ++n) {
      shrink[n] = top[n] - highest[n];
      top[n] = highest[n];
    }
    exp2(shrink);
    for (int n = 0; n < N; ++n) {
      sum[n] *= shrink[n];
      for (int e = 0; e < D; ++e) o.at[e][n] *= shrink[n];
    }
    exp2_scores<N>(
        scores, keys, [&top](Vec<T> score, int n) __attribute__((always_inline)) {
          return score - top[n];
        });
    add_weighted_rows(o, scores, v + begin * D, keys, sum);
  }
  Vec<T> share[N];
  for (int n = 0; n < N; ++n) share[n] = T{1} / sum[n];
  put_rows(o, share, count, out, s.heads * D);
  for (index i = 0; i < smaller(N * kL, count); ++i)
    lse[i] = static_cast<T>(kLn2 * static_cast<double>(top[i / kL][i % kL]) +
                            __builtin_log(static_cast<double>(sum[i / kL][i % kL])));
}

template <int D, class T>
void small_attention_forward(const AttentionForward<T>& a) {
  const Attention& s = a.attention;
  constexpr index kWidth = 2 * kLanes<T>;
  const index out_row = s.heads * D, blocks = div_up(s.tq, kWidth);
  const index groups = smaller(blocks, div_up(kTasks, s.n * s.heads));
  parallel_for(s.n * s.heads * groups, [&](index task) {
    const index head = task / groups % s.heads, image = task / groups / s.heads;
    const T* qh = a.q + image * s.tq * s.q_row + head * D;
    const Scratch<T> kh(s.tk * D), vh(s.tk * D);
    gather_rows<D>(a.k + image * s.tk * s.kv_row + head * D, s.kv_row, s.tk, kh.get());
    gather_rows<D>(a.v + image * s.tk * s.kv_row + head * D, s.kv_row, s.tk, vh.get());
    T* const oh = a.out + image * s.tq * out_row + head * D;
    T* const lse_h = a.lse + (image * s.heads + head) * s.tq;
    const Range range = part_of(blocks, groups, task % groups);
    for_lanes<T>({range.begin * kWidth, smaller(range.end * kWidth, s.tq)},
                 [&]<int N>(index begin) {
                   small_attend<D, N>(s, qh + begin * s.q_row, s.tq - begin, kh.get(), vh.get(),
                                      oh + begin * out_row, lse_h + begin);
                 });
  });
}

// Keys whose rows of D elements share a vector in the sums for dq, channel by channel: with 16 lanes
// and D = 8, lanes 2e and 2e + 1 are channel e of two keys.
template <int D, class T>
inline constexpr int kKeysTogether = kLanes<T> > D ? kLanes<T> / D : 1;

// p[0], ..., p[Count - 1], p[0], ... in all lanes.
template <int Count, class T>
[[gnu::always_inline]] inline auto repeat(const T* p) {
  if constexpr (Count == 1) {
    return *p;
  } else {
    static_assert(Count == 2 && sizeof(T) == 4,
                  "two elements are broadcast as one of twice the size");
    double both;
    __builtin_memcpy(&both, p, sizeof both);
    return __builtin_bit_cast(Vec<T>, splat(both));
  }
}

// dq[i] += Σ_j ds[i][j] k[j] over one vector of keys, whose rows stay in registers. ds's rows are
// `step` apart; the layout of dq and k is that of kKeysTogether.
template <int D, class T>
[[gnu::always_inline]] inline void add_query_gradients(const T* ds, index step, const T* k,
                                                       index count, T* dq) {
  constexpr int kTogether = kKeysTogether<D, T>, kRows = kLanes<T> / kTogether;
  using Row = typename RowOf<D * kTogether, T>::type;
  Row rows[kRows];
#pragma GCC unroll 16
  for (int r = 0; r < kRows; ++r) rows[r] = reinterpret_cast<const Row*>(k)[r];
  for (index i = 0; i < count; ++i, ds += step) {
    Row& to = reinterpret_cast<Row*>(dq)[i];
    Row even = to, odd{};
#pragma GCC unroll 16
    for (int r = 0; r < kRows; ++r)
      (r % 2 ? odd : even) += rows[r] * repeat<kTogether>(ds + r * kTogether);
    to = even + odd;
  }
}

// Common to all blocks of keys in the backward pass of one head.
template <class T>
struct SmallHead {
  const T *q, *dout;     // [tq, D]
  const T *lse, *delta;  // [tq]; lse in units of ln 2
  T* dq;                 // [tq, D, kKeysTogether]: still to be summed over the last axis
};

// N vectors of keys, of which the first `count` are inside the array: their gradients, and their part
// of dq.
template <int D, int N, class T>
void small_attend_backward(const Attention& s, const SmallHead<T>& h, const T* k, const T* v,
                           index count, T* dk, T* dv) {
  constexpr index kL = kLanes<T>;
  constexpr index kQueries =
      kCache.l1_operand() / 2 / (N * kVectorBytes);  // whose P, dS stay in L1
  constexpr int kTogether = kKeysTogether<D, T>;
  const T scale = static_cast<T>(s.scale);
  alignas(64) T p[kQueries * N * kL], ds[kQueries * N * kL], rows_k[N * kL * D];
  for (index j = 0; j < N * kL; ++j) {
    T* const to = rows_k + j / kTogether * kTogether * D + j % kTogether;
    for (int e = 0; e < D; ++e) to[e * kTogether] = j < count ? scale * k[j * s.kv_row + e] : T{0};
  }
  const LaneBlock<D, N, T> lanes_k =
      lanes_of<D, N>(k, s.kv_row, count, static_cast<T>(s.scale * kLog2e));
  const LaneBlock<D, N, T> lanes_v = lanes_of<D, N>(v, s.kv_row, count, T{1});
  LaneBlock<D, N, T> lanes_dk = {}, lanes_dv = {};
  for (index begin = 0; begin < s.tq; begin += kQueries) {
    const index queries = smaller(kQueries, s.tq - begin);
    const T *q = h.q + begin * D, *dout = h.dout + begin * D;
    for_scores(
        lanes_k, q, h.lse + begin,
        queries, [&](index i, const Vec<T>(&score)[N]) __attribute__((always_inline)) {
#pragma GCC unroll 2
          for (int n = 0; n < N; ++n) store<T>(p + (i * N + n) * kL, score[n]);
        });
    exp2_scores<N>(
        p, queries, [](Vec<T> score, int) __attribute__((always_inline)) { return score; });
    for_scores(
        lanes_v, dout, h.delta + begin,
        queries, [&](index i, const Vec<T>(&dp)[N]) __attribute__((always_inline)) {
#pragma GCC unroll 2
          for (int n = 0; n < N; ++n) {
            const index at = (i * N + n) * kL;
            store<T>(ds + at, load(p + at) * dp[n]);
          }
        });
    // Lanes after the last key have score 0, and so P = 2^-lse, which is infinite if lse is very
    // negative. Their dk and dv are dropped, but dq sums over all lanes: dS must be 0 there.
    if (const index last_keys = count - (N - 1) * kL; last_keys < kL) {
      T* const last = ds + (N - 1) * kL;
      for (index i = 0; i < queries; ++i) {
        T* const row = last + i * N * kL;
        store<T>(row, fill_tail(load(row), Tail{static_cast<int>(last_keys)}, T{0}));
      }
    }
    add_weighted_rows(lanes_dv, p, dout, queries);
    add_weighted_rows(lanes_dk, ds, q, queries);
    for (int n = 0; n < N; ++n)
      add_query_gradients<D>(ds + n * kL, N * kL, rows_k + n * kL * D, queries,
                             h.dq + begin * D * kTogether);
  }
  Vec<T> scales[N], ones[N];
  for (int n = 0; n < N; ++n) scales[n] = splat(scale), ones[n] = splat(T{1});
  put_rows(lanes_dk, scales, count, dk, s.kv_row);
  put_rows(lanes_dv, ones, count, dv, s.kv_row);
}

template <int D, class T>
void small_attention_backward(const AttentionBackward<T>& a) {
  const Attention& s = a.attention;
  constexpr int kTogether = kKeysTogether<D, T>;
  const index out_row = s.heads * D;
  parallel_for(s.n * s.heads, [&](index task) {
    const index q_begin = task / s.heads * s.tq * s.q_row + task % s.heads * D;
    const index k_begin = task / s.heads * s.tk * s.kv_row + task % s.heads * D;
    const index out_begin = task / s.heads * s.tq * out_row + task % s.heads * D;
    const T* oh = a.out + out_begin;
    const index sums = s.tq * D * kTogether;
    const Scratch<T> delta(s.tq), lse_2(s.tq), dq_sums(sums), qh(s.tq * D), doh(s.tq * D);
    gather_rows<D>(a.q + q_begin, s.q_row, s.tq, qh.get());
    gather_rows<D>(a.dout + out_begin, out_row, s.tq, doh.get());
    zero(dq_sums.get(), sums);
    for (index i = 0; i < s.tq; ++i) {
      T sum = 0;
      for (int e = 0; e < D; ++e) sum += oh[i * out_row + e] * doh[i * D + e];
      delta[i] = sum;
      lse_2[i] = static_cast<T>(kLog2e) * a.lse[task * s.tq + i];
    }
    const SmallHead<T> h{qh.get(), doh.get(), lse_2.get(), delta.get(), dq_sums.get()};
    for_lanes<T>({0, s.tk}, [&]<int N>(index begin) {
      const index at = k_begin + begin * s.kv_row;
      small_attend_backward<D, N>(s, h, a.k + at, a.v + at, s.tk - begin, a.dk + at, a.dv + at);
    });
    for (index i = 0; i < s.tq; ++i) {
      for (int e = 0; e < D; ++e) {
        T sum = 0;
        for (int j = 0; j < kTogether; ++j) sum += dq_sums[(i * D + e) * kTogether + j];
        a.dq[q_begin + i * s.q_row + e] = sum;
      }
    }
  });
}

}  // namespace sfumato::kernels::SFUMATO_ISA_NAME
