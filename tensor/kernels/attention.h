// Scaled dot-product attention without a [t, t] array (after FlashAttention, Dao 2022). For each
// image and head, blocks of scores small enough for the first-level cache are made, turned into
// probabilities and used up at once. Every product is an outer_block or a tile_block, so any head
// size runs on the same code; heads of 8, which most small U-Nets have, in attention_small.h. ("ᵀ"
// arrays are packed per head with the sequence along memory.)
//
// Forward, lanes = queries: S = K Qᵀ [keys, lanes] per block of keys; the running maximum m, sum l
// and output are rescaled by e^(m_old - m_new) when a block raises the maximum (Milakov 2018).
//
// Backward, lanes = keys, for each block of keys over all queries:
//   S = Q Kᵀ,  P = e^(S - lse),  dP = dO Vᵀ,  dS = P (dP - D),  D_i = Σ_d dO[i, d] O[i, d];
//   dV = Pᵀ dO,  dK = scale dSᵀ Q,  dQ = scale dS K.
// D is what the softmax's backward pass subtracts: Σ_j P_ij dP_ij = Σ_j P_ij dO_i·v_j = dO_i·O_i.
// P and dS serve all three gradients: one exp and five products per pair.
#pragma once
#include "tensor/kernels/attention_small.h"

namespace sfumato::kernels::SFUMATO_ISA_NAME {

// Rows of scores at a time: with 2 vectors of lanes, 128 rows are 16 KiB of f32 on AVX-512.
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
void products(index rows, index vectors, const T* a, index a_step, const T* b, index b_step,
              index depth, bool add, T* out) {
  constexpr index kWidth = Panels<T>::kWidth;
  for_row_blocks(rows, vectors, [&](index row, index count) {
    T* to = out + row * kWidth;
    const Output<T> o{to, kWidth, vectors * kLanes<T>, add ? to : nullptr, kWidth};
    outer_function<T>(count, vectors)(a + row, b, straight(depth, a_step, b_step), o);
  });
}

// The queries of one block of lanes against all keys: out_t[d, lanes] and lse.
template <class T>
void attend(const Attention& s, index vectors, const T* q_t, index q_step, const T* k_t,
            index k_step, const T* v, T* scores, T* out_t, T* lse) {
  constexpr index kWidth = Panels<T>::kWidth, kL = kLanes<T>;
  const index blocks = div_up(s.tk, kScoreRows);
  Vec<T> top[2], sum[2];
  for (index block = 0; block < blocks; ++block) {
    const Range keys = part_of(s.tk, blocks, block);
    products(keys.size(), vectors, k_t + keys.begin, k_step, q_t, q_step, s.d, false, scores);
    for (index n = 0; n < vectors; ++n) {
      T* column = scores + n * kL;
      const Vec<T> before = top[n];
      Vec<T> highest = block == 0 ? load(column) : before;
      for (index j = 0; j < keys.size(); ++j) highest = max(load(column + j * kWidth), highest);
      top[n] = highest;
      if (block == 0) {
        sum[n] = Vec<T>{};
      } else {
        const Vec<T> shrink = exp(before - highest);
        sum[n] *= shrink;
        for (index e = 0; e < s.d; ++e) {
          T* o = out_t + e * kWidth + n * kL;
          store<T>(o, load(o) * shrink);
        }
      }
      for (index j = 0; j < keys.size(); ++j) {
        const Vec<T> p = exp(load(column + j * kWidth) - highest);
        sum[n] += p;
        store<T>(column + j * kWidth, p);
      }
    }
    // [d, lanes] += Vᵀ P: v is read in place, its rows run along d.
    products(s.d, vectors, v + keys.begin * s.kv_row, s.kv_row, scores, kWidth, keys.size(),
             block > 0, out_t);
  }
  for (index n = 0; n < vectors; ++n) {
    for (index e = 0; e < s.d; ++e) {
      T* o = out_t + e * kWidth + n * kL;
      store<T>(o, load(o) / sum[n]);
    }
    for (index i = 0; i < kL; ++i)
      lse[n * kL + i] = top[n][i] + static_cast<T>(__builtin_log(static_cast<double>(sum[n][i])));
  }
}

template <class T>
void attention_forward(const Attention& s, const T* q, const T* k, const T* v, T* out, T* lse) {
  constexpr index kWidth = Panels<T>::kWidth;
  if (s.n <= 0 || s.heads <= 0 || s.tq <= 0 || s.tk <= 0) return;
  if (s.d == 8) return small_attention_forward<8>(s, q, k, v, out, lse);
  const index out_row = s.heads * s.d;
  const Panels<T> queries{s.tq};
  const index q_step = round_up(s.tq, kWidth), k_step = s.tk;
  const index groups = smaller(queries.count(), div_up(kTasks, s.n * s.heads));
  parallel_for(s.n * s.heads * groups, [&](index task) {
    const index head = task / groups % s.heads, image = task / groups / s.heads;
    const T* qh = q + image * s.tq * s.q_row + head * s.d;
    const T* kh = k + image * s.tk * s.kv_row + head * s.d;
    const T* vh = v + image * s.tk * s.kv_row + head * s.d;
    T* oh = out + image * s.tq * out_row + head * s.d;
    T* lse_h = lse + (image * s.heads + head) * s.tq;
    const Scratch<T> q_t(s.d * q_step), k_t(s.d * k_step), out_t(s.d * kWidth);
    const Scratch<T> scores(smaller(kScoreRows, s.tk) * kWidth), lse_block(kWidth);
    transpose(qh, s.q_row, s.tq, s.d, static_cast<T>(s.scale), q_step, q_t.get());
    transpose(kh, s.kv_row, s.tk, s.d, T{1}, k_step, k_t.get());
    const Range range = part_of(queries.count(), groups, task % groups);
    for (index p = range.begin; p < range.end; ++p) {
      const index begin = p * kWidth;
      attend(s, queries.vectors(p), q_t.get() + begin, q_step, k_t.get(), k_step, vh, scores.get(),
             out_t.get(), lse_block.get());
      for (index i = 0; i < queries.lanes(p); ++i) {
        for (index e = 0; e < s.d; ++e) oh[(begin + i) * out_row + e] = out_t[e * kWidth + i];
        lse_h[begin + i] = lse_block[i];
      }
    }
  });
}

// One head's working memory in the backward pass.
template <class T>
struct HeadGradients {
  const T *q, *k, *v, *out, *dout, *lse;  // as stored
  const T *q_t, *dout_t;                  // [d, tq], q scaled
  const T *k_t, *v_t;                     // [d, k_step]
  index k_step;
  const T* k_panels;  // k as panels [panel][tk][lanes of d]
  const T* delta;     // D [tq]
  T *p, *ds;          // [kScoreRows, lanes]
  T *dk_t, *dv_t;     // [d, lanes]
  T* dq;              // [tq, d rounded up to vectors]
  index dq_step;
};

// Keys [begin, begin + keys) in lanes: their dk_t and dv_t, and what they add to dq.
template <class T>
void attend_backward(const Attention& s, const HeadGradients<T>& h, index begin, index keys,
                     index vectors) {
  constexpr index kWidth = Panels<T>::kWidth, kL = kLanes<T>;
  const index out_row = s.heads * s.d, blocks = div_up(s.tq, kScoreRows);
  const Panels<T> columns{s.d};
  const Segment all{0, keys};
  const Depth depth{1, 0, &all, 1};
  for (index block = 0; block < blocks; ++block) {
    const Range rows = part_of(s.tq, blocks, block);
    products(rows.size(), vectors, h.q_t + rows.begin, s.tq, h.k_t + begin, h.k_step, s.d, false,
             h.p);
    products(rows.size(), vectors, h.dout_t + rows.begin, s.tq, h.v_t + begin, h.k_step, s.d, false,
             h.ds);
    for (index i = 0; i < rows.size(); ++i) {
      for (index n = 0; n < vectors * kL; n += kL) {
        T *p = h.p + i * kWidth + n, *ds = h.ds + i * kWidth + n;
        const Vec<T> probability = exp(load(p) - h.lse[rows.begin + i]);
        store<T>(p, probability);
        store<T>(ds, probability * (load(ds) - h.delta[rows.begin + i]));
      }
    }
    products(s.d, vectors, h.dout + rows.begin * out_row, out_row, h.p, kWidth, rows.size(),
             block > 0, h.dv_t);
    products(s.d, vectors, h.q + rows.begin * s.q_row, s.q_row, h.ds, kWidth, rows.size(),
             block > 0, h.dk_t);
    // dq [rows, d] += dS [rows, keys] K [keys, d]; lanes of keys that do not exist are not walked.
    for (index c = 0; c < columns.count(); ++c) {
      const index width = columns.width(c);
      const T* panel = h.k_panels + columns.offset(c, s.tk) + begin * width;
      for_row_blocks(rows.size(), columns.vectors(c), [&](index i, index count) {
        T* dq = h.dq + (rows.begin + i) * h.dq_step + c * kWidth;
        const Output<T> o{dq, h.dq_step, width, begin > 0 ? dq : nullptr, h.dq_step};
        tile_function<T, kWidth>(count, columns.vectors(c))(h.ds + i * kWidth, depth, panel, o);
      });
    }
  }
}

template <class T>
void attention_backward(const Attention& s, const T* q, const T* k, const T* v, const T* out,
                        const T* lse, const T* dout, T* dq, T* dk, T* dv) {
  constexpr index kWidth = Panels<T>::kWidth;
  if (s.n <= 0 || s.heads <= 0) return;
  if (s.d == 8) return small_attention_backward<8>(s, q, k, v, out, lse, dout, dq, dk, dv);
  const index out_row = s.heads * s.d;
  const Panels<T> keys{s.tk}, columns{s.d};
  const T scale = static_cast<T>(s.scale);
  const index k_step = round_up(s.tk, kWidth), dq_step = round_up(s.d, kLanes<T>);
  parallel_for(s.n * s.heads, [&](index task) {
    const index q_begin = task / s.heads * s.tq * s.q_row + task % s.heads * s.d;
    const index k_begin = task / s.heads * s.tk * s.kv_row + task % s.heads * s.d;
    const T *qh = q + q_begin, *kh = k + k_begin, *vh = v + k_begin;
    const index out_begin = task / s.heads * s.tq * out_row + task % s.heads * s.d;
    const T *oh = out + out_begin, *doh = dout + out_begin;
    const index block = smaller(kScoreRows, s.tq) * kWidth;
    const Scratch<T> q_t(s.d * s.tq), dout_t(s.d * s.tq), k_t(s.d * k_step), v_t(s.d * k_step);
    const Scratch<T> k_panels(s.tk * dq_step), delta(s.tq), p(block), ds(block);
    const Scratch<T> dk_t(s.d * kWidth), dv_t(s.d * kWidth), dq_rows(s.tq * dq_step);
    transpose(qh, s.q_row, s.tq, s.d, scale, s.tq, q_t.get());
    transpose(doh, out_row, s.tq, s.d, T{1}, s.tq, dout_t.get());
    transpose(kh, s.kv_row, s.tk, s.d, T{1}, k_step, k_t.get());
    transpose(vh, s.kv_row, s.tk, s.d, T{1}, k_step, v_t.get());
    for (index c = 0; c < columns.count(); ++c) {
      T* to = k_panels.get() + columns.offset(c, s.tk);
      for (index j = 0; j < s.tk; ++j, to += columns.width(c)) {
        for_vectors<T>(columns.lanes(c), [&](index e, auto extent) {
          store<T>(to + e, load(kh + j * s.kv_row + c * kWidth + e, extent));
        });
      }
    }
    for (index i = 0; i < s.tq; ++i) {
      delta[i] = 0;
      for (index e = 0; e < s.d; ++e) delta[i] += oh[i * out_row + e] * doh[i * out_row + e];
    }
    const HeadGradients<T> h{
        qh,          kh,           vh,        oh,         doh,        lse + task * s.tq,
        q_t.get(),   dout_t.get(), k_t.get(), v_t.get(),  k_step,     k_panels.get(),
        delta.get(), p.get(),      ds.get(),  dk_t.get(), dv_t.get(), dq_rows.get(),
        dq_step};
    for (index j = 0; j < keys.count(); ++j) {
      const index begin = j * kWidth, lanes = keys.lanes(j);
      attend_backward(s, h, begin, lanes, keys.vectors(j));
      for (index i = 0; i < lanes; ++i) {
        for (index e = 0; e < s.d; ++e) {
          dk[k_begin + (begin + i) * s.kv_row + e] = scale * dk_t[e * kWidth + i];
          dv[k_begin + (begin + i) * s.kv_row + e] = dv_t[e * kWidth + i];
        }
      }
    }
    for (index i = 0; i < s.tq; ++i) {
      for (index e = 0; e < s.d; ++e)
        dq[q_begin + i * s.q_row + e] = scale * dq_rows[i * dq_step + e];
    }
  });
}

}  // namespace sfumato::kernels::SFUMATO_ISA_NAME
