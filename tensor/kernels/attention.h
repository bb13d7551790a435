// Scaled dot-product attention without a [t, t] array (after FlashAttention, Dao 2022). For each image
// and head, a block of scores small enough for L1 is made, turned into probabilities and used up at
// once. Every product is an outer_block or a tile_block, so any head size runs on the same code; heads
// of 8, which most small U-Nets have, in attention_small.h. ("ᵀ" arrays are packed per head with the
// sequence contiguous.)
//
// Forward, lanes = queries: S = K Qᵀ [keys, lanes] per block of keys; the running maximum m, sum l
// and output are rescaled by e^(m_old - m_new) when a block raises the maximum (Milakov 2018).
//
// Backward, lanes = keys, for each block of keys over all queries:
//   S = Q Kᵀ,  P = e^(S - lse),  dP = dO Vᵀ,  dS = P (dP - D),  D_i = Σ_d dO[i, d] O[i, d];
//   dV = Pᵀ dO,  dK = scale dSᵀ Q,  dQ = scale dS K.
// The softmax's backward pass subtracts D: Σ_j P_ij dP_ij = Σ_j P_ij dO_i·v_j = dO_i·O_i.
// P and dS serve all three gradients: one exp and five products per pair.
#pragma once
#include "tensor/kernels/attention_small.h"

namespace sfumato::kernels::SFUMATO_ISA_NAME {

// Rows of scores at a time: with 2 vectors of lanes, 128 rows are half of L1 on AVX-512 (f32).
inline constexpr index kScoreRows = 128;

// to[d, step] = scale * from[t, d]ᵀ, where rows of `from` are row_step apart; zeros up to `step`.
template <class T>
void transpose(const T* from, index row_step, index t, index d, T scale, index step, T* to) {
  for (index e = 0; e < d; ++e, to += step) {
    for (index i = 0; i < t; ++i) to[i] = scale * from[i * row_step + e];
    for (index i = t; i < step; ++i) to[i] = 0;
  }
}

// out[rows, lanes] (+)= Σ_k a[k * a_step + row] b[k * b_step + lane], for any number of rows.
template <class T>
struct LaneProduct {
  index rows, vectors, depth;  // of out, of its lanes, of the sum
  const T* a;
  index a_step;
  const T* b;
  index b_step;
  bool add;
  T* out;
};
template <class T>
void multiply(const LaneProduct<T>& g) {
  constexpr index kWidth = Panels<T>::kWidth;
  for_row_blocks(g.rows, g.vectors, [&](index row, index count) {
    T* to = g.out + row * kWidth;
    const Output<T> o{.out = to,
                      .stride = kWidth,
                      .lanes = g.vectors * kLanes<T>,
                      .init = g.add ? to : nullptr,
                      .init_stride = kWidth};
    outer_function<T>(count, g.vectors)(g.a + row, g.b, straight(g.depth, g.a_step, g.b_step), o);
  });
}

// One head in the forward pass.
template <class T>
struct HeadForward {
  const T *q_t, *k_t;  // [d, q_step], scaled, and [d, k_step]
  index q_step, k_step;
  const T* v;  // as stored
  T* scores;   // [kScoreRows, lanes]
  T* out_t;    // [d, lanes]
  T* lse;      // [lanes]
};

// A block of scores of N vectors becomes P = e^(S - m); the sums and out_t, made with the maximum
// before, are rescaled.
template <class T>
void online_softmax(const Attention& s, const HeadForward<T>& h, index keys, bool first, index n,
                    Vec<T>& top, Vec<T>& sum) {
  constexpr index kWidth = Panels<T>::kWidth, kL = kLanes<T>;
  T* column = h.scores + n * kL;
  const Vec<T> before = top;
  Vec<T> highest = first ? load(column) : before;
  for (index j = 0; j < keys; ++j) highest = max(load(column + j * kWidth), highest);
  top = highest;
  if (first) {
    sum = Vec<T>{};
  } else {
    const Vec<T> shrink = exp(before - highest);
    sum *= shrink;
    for (index e = 0; e < s.d; ++e) {
      T* o = h.out_t + e * kWidth + n * kL;
      store<T>(o, load(o) * shrink);
    }
  }
  for (index j = 0; j < keys; ++j) {
    const Vec<T> p = exp(load(column + j * kWidth) - highest);
    sum += p;
    store<T>(column + j * kWidth, p);
  }
}

// The queries of one block of lanes against all keys: out_t and lse.
template <class T>
void attend(const Attention& s, const HeadForward<T>& h, index vectors) {
  constexpr index kWidth = Panels<T>::kWidth, kL = kLanes<T>;
  const index blocks = div_up(s.tk, kScoreRows);
  Vec<T> top[2], sum[2];
  for (index block = 0; block < blocks; ++block) {
    const Range keys = part_of(s.tk, blocks, block);
    multiply<T>({.rows = keys.size(),
                 .vectors = vectors,
                 .depth = s.d,
                 .a = h.k_t + keys.begin,
                 .a_step = h.k_step,
                 .b = h.q_t,
                 .b_step = h.q_step,
                 .add = false,
                 .out = h.scores});
    for (index n = 0; n < vectors; ++n)
      online_softmax(s, h, keys.size(), block == 0, n, top[n], sum[n]);
    // [d, lanes] += Vᵀ P: v is read in place, its rows are contiguous in d.
    multiply<T>({.rows = s.d,
                 .vectors = vectors,
                 .depth = keys.size(),
                 .a = h.v + keys.begin * s.kv_row,
                 .a_step = s.kv_row,
                 .b = h.scores,
                 .b_step = kWidth,
                 .add = block > 0,
                 .out = h.out_t});
  }
  for (index n = 0; n < vectors; ++n) {
    for (index e = 0; e < s.d; ++e) {
      T* o = h.out_t + e * kWidth + n * kL;
      store<T>(o, load(o) / sum[n]);
    }
    for (index i = 0; i < kL; ++i)
      h.lse[n * kL + i] = top[n][i] + static_cast<T>(__builtin_log(static_cast<double>(sum[n][i])));
  }
}

template <class T>
void attention_forward(const AttentionForward<T>& a) {
  const Attention& s = a.attention;
  constexpr index kWidth = Panels<T>::kWidth;
  if (s.n <= 0 || s.heads <= 0 || s.tq <= 0 || s.tk <= 0) return;
  if (s.d == 8) return small_attention_forward<8>(a);
  const index out_row = s.heads * s.d;
  const Panels<T> queries{s.tq};
  const index q_step = round_up(s.tq, kWidth), k_step = s.tk;
  const index groups = smaller(queries.count(), div_up(kTasks, s.n * s.heads));
  parallel_for(s.n * s.heads * groups, [&](index task) {
    const index head = task / groups % s.heads, image = task / groups / s.heads;
    const T* qh = a.q + image * s.tq * s.q_row + head * s.d;
    const T* kh = a.k + image * s.tk * s.kv_row + head * s.d;
    const T* vh = a.v + image * s.tk * s.kv_row + head * s.d;
    T* oh = a.out + image * s.tq * out_row + head * s.d;
    T* lse_h = a.lse + (image * s.heads + head) * s.tq;
    const Scratch<T> q_t(s.d * q_step), k_t(s.d * k_step), out_t(s.d * kWidth);
    const Scratch<T> scores(smaller(kScoreRows, s.tk) * kWidth), lse_block(kWidth);
    transpose(qh, s.q_row, s.tq, s.d, static_cast<T>(s.scale), q_step, q_t.get());
    transpose(kh, s.kv_row, s.tk, s.d, T{1}, k_step, k_t.get());
    const Range range = part_of(queries.count(), groups, task % groups);
    for (index p = range.begin; p < range.end; ++p) {
      const index begin = p * kWidth;
      const HeadForward<T> head_block{.q_t = q_t.get() + begin,
                                      .k_t = k_t.get(),
                                      .q_step = q_step,
                                      .k_step = k_step,
                                      .v = vh,
                                      .scores = scores.get(),
                                      .out_t = out_t.get(),
                                      .lse = lse_block.get()};
      attend(s, head_block, queries.vectors(p));
      for (index i = 0; i < queries.lanes(p); ++i) {
        for (index e = 0; e < s.d; ++e) oh[(begin + i) * out_row + e] = out_t[e * kWidth + i];
        lse_h[begin + i] = lse_block[i];
      }
    }
  });
}

// One head in the backward pass.
template <class T>
struct HeadBackward {
  const T *q, *dout, *lse;  // as stored
  const T *q_t, *dout_t;    // [d, tq], q scaled
  const T *k_t, *v_t;       // [d, k_step]
  index k_step;
  const T* k_panels;  // k as panels [panel][tk][lanes of d]
  const T* delta;     // D [tq]
  T *p, *ds;          // [kScoreRows, lanes]
  T *dk_t, *dv_t;     // [d, lanes]
  T* dq;              // [tq, d rounded up to whole vectors]
  index dq_step;
};

// P and dS of some queries and the keys [begin, begin + lanes).
template <class T>
void score_gradients(const Attention& s, const HeadBackward<T>& h, Range queries, index begin,
                     index vectors) {
  constexpr index kWidth = Panels<T>::kWidth, kL = kLanes<T>;
  LaneProduct<T> product{.rows = queries.size(),
                         .vectors = vectors,
                         .depth = s.d,
                         .a = h.q_t + queries.begin,
                         .a_step = s.tq,
                         .b = h.k_t + begin,
                         .b_step = h.k_step,
                         .add = false,
                         .out = h.p};
  multiply(product);
  product.a = h.dout_t + queries.begin;
  product.b = h.v_t + begin;
  product.out = h.ds;
  multiply(product);
  for (index i = 0; i < queries.size(); ++i) {
    for (index n = 0; n < vectors * kL; n += kL) {
      T *p = h.p + i * kWidth + n, *ds = h.ds + i * kWidth + n;
      const Vec<T> probability = exp(load(p) - h.lse[queries.begin + i]);
      store<T>(p, probability);
      store<T>(ds, probability * (load(ds) - h.delta[queries.begin + i]));
    }
  }
}

// dq [queries, d] += dS [queries, keys] K [keys, d], for the keys [begin, begin + keys).
template <class T>
void add_query_gradient(const Attention& s, const HeadBackward<T>& h, Range queries, index begin,
                        index keys) {
  constexpr index kWidth = Panels<T>::kWidth;
  const Panels<T> columns{s.d};
  const Segment all{0, keys};
  const Reduction over_keys{.rows = 1, .row_stride = 0, .segments = &all, .count = 1};
  for (index c = 0; c < columns.count(); ++c) {
    const index width = columns.width(c);
    const T* panel = h.k_panels + columns.offset(c, s.tk) + begin * width;
    for_row_blocks(queries.size(), columns.vectors(c), [&](index i, index count) {
      T* dq = h.dq + (queries.begin + i) * h.dq_step + c * kWidth;
      const Output<T> o{.out = dq,
                        .stride = h.dq_step,
                        .lanes = width,
                        .init = begin > 0 ? dq : nullptr,
                        .init_stride = h.dq_step};
      panel_tile_function<T>(count, columns.vectors(c))(h.ds + i * kWidth, over_keys, panel, o);
    });
  }
}

// Keys [begin, begin + keys) in lanes: their dk_t and dv_t, and their part of dq.
template <class T>
void attend_backward(const Attention& s, const HeadBackward<T>& h, index begin, index keys,
                     index vectors) {
  constexpr index kWidth = Panels<T>::kWidth;
  const index out_row = s.heads * s.d, blocks = div_up(s.tq, kScoreRows);
  for (index block = 0; block < blocks; ++block) {
    const Range queries = part_of(s.tq, blocks, block);
    score_gradients(s, h, queries, begin, vectors);
    LaneProduct<T> product{.rows = s.d,
                           .vectors = vectors,
                           .depth = queries.size(),
                           .a = h.dout + queries.begin * out_row,
                           .a_step = out_row,
                           .b = h.p,
                           .b_step = kWidth,
                           .add = block > 0,
                           .out = h.dv_t};
    multiply(product);
    product.a = h.q + queries.begin * s.q_row;
    product.a_step = s.q_row;
    product.b = h.ds;
    product.out = h.dk_t;
    multiply(product);
    add_query_gradient(s, h, queries, begin, keys);
  }
}

// k as panels [panel][tk][lanes of d].
template <class T>
void pack_keys(const Attention& s, const T* k, T* to) {
  const Panels<T> columns{s.d};
  for (index c = 0; c < columns.count(); ++c) {
    for (index j = 0; j < s.tk; ++j, to += columns.width(c)) {
      for_vectors<T>(columns.lanes(c), [&](index e, auto lanes) {
        store<T>(to + e, load(k + j * s.kv_row + c * columns.kWidth + e, lanes));
      });
    }
  }
}

template <class T>
void attention_backward(const AttentionBackward<T>& a) {
  const Attention& s = a.attention;
  constexpr index kWidth = Panels<T>::kWidth;
  if (s.n <= 0 || s.heads <= 0) return;
  if (s.d == 8) return small_attention_backward<8>(a);
  const index out_row = s.heads * s.d;
  const Panels<T> keys{s.tk};
  const T scale = static_cast<T>(s.scale);
  const index k_step = round_up(s.tk, kWidth), dq_step = round_up(s.d, kLanes<T>);
  parallel_for(s.n * s.heads, [&](index task) {
    const index q_begin = task / s.heads * s.tq * s.q_row + task % s.heads * s.d;
    const index k_begin = task / s.heads * s.tk * s.kv_row + task % s.heads * s.d;
    const T *qh = a.q + q_begin, *kh = a.k + k_begin, *vh = a.v + k_begin;
    const index out_begin = task / s.heads * s.tq * out_row + task % s.heads * s.d;
    const T *oh = a.out + out_begin, *doh = a.dout + out_begin;
    const index block = smaller(kScoreRows, s.tq) * kWidth;
    const Scratch<T> q_t(s.d * s.tq), dout_t(s.d * s.tq), k_t(s.d * k_step), v_t(s.d * k_step);
    const Scratch<T> k_panels(s.tk * dq_step), delta(s.tq), p(block), ds(block);
    const Scratch<T> dk_t(s.d * kWidth), dv_t(s.d * kWidth), dq_rows(s.tq * dq_step);
    transpose(qh, s.q_row, s.tq, s.d, scale, s.tq, q_t.get());
    transpose(doh, out_row, s.tq, s.d, T{1}, s.tq, dout_t.get());
    transpose(kh, s.kv_row, s.tk, s.d, T{1}, k_step, k_t.get());
    transpose(vh, s.kv_row, s.tk, s.d, T{1}, k_step, v_t.get());
    pack_keys(s, kh, k_panels.get());
    for (index i = 0; i < s.tq; ++i) {
      delta[i] = 0;
      for (index e = 0; e < s.d; ++e) delta[i] += oh[i * out_row + e] * doh[i * out_row + e];
    }
    const HeadBackward<T> h{.q = qh,
                            .dout = doh,
                            .lse = a.lse + task * s.tq,
                            .q_t = q_t.get(),
                            .dout_t = dout_t.get(),
                            .k_t = k_t.get(),
                            .v_t = v_t.get(),
                            .k_step = k_step,
                            .k_panels = k_panels.get(),
                            .delta = delta.get(),
                            .p = p.get(),
                            .ds = ds.get(),
                            .dk_t = dk_t.get(),
                            .dv_t = dv_t.get(),
                            .dq = dq_rows.get(),
                            .dq_step = dq_step};
    for (index j = 0; j < keys.count(); ++j) {
      const index begin = j * kWidth, lanes = keys.lanes(j);
      attend_backward(s, h, begin, lanes, keys.vectors(j));
      for (index i = 0; i < lanes; ++i) {
        for (index e = 0; e < s.d; ++e) {
          a.dk[k_begin + (begin + i) * s.kv_row + e] = scale * dk_t[e * kWidth + i];
          a.dv[k_begin + (begin + i) * s.kv_row + e] = dv_t[e * kWidth + i];
        }
      }
    }
    for (index i = 0; i < s.tq; ++i) {
      for (index e = 0; e < s.d; ++e)
        a.dq[q_begin + i * s.q_row + e] = scale * dq_rows[i * dq_step + e];
    }
  });
}

// The rows of this family.
template <class T>
void fill(AttentionKernels<T>& table) {
  table = {
      .attention_forward = attention_forward<T>,
      .attention_backward = attention_backward<T>,
  };
}

}  // namespace sfumato::kernels::SFUMATO_ISA_NAME
