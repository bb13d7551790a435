// Attention without a [tq, tk] array. A warp computes one row of a result: of out and dq for one
// query, of dk and dv for one key. It takes the other side's rows 32 at a time: each lane makes the
// number of one of them, a score say, and then, for one channel, adds up all 32 rows times their
// numbers. More than 32 channels are several warps' (blockIdx.y), which make the same numbers again.
//
// Forward, "online" softmax (Milakov and Gimelshein 2018): the maximum of the scores so far, and sums
// relative to it, which shrink by e^(old - new) when it rises. Backward (Dao 2022), from lse:
//   P = e^(S - lse),  dS = scale P (dO vᵀ - D),  D = Σ_e dO out;  dq = dS k,  dk = dSᵀ q,  dv = Pᵀ dO.
#include <algorithm>
#include <limits>

#include "cuda/attention.h"
#include "cuda/attention_tiles.h"
#include "cuda/block.h"
#include "cuda/channels.h"

namespace sfumato::cuda {
namespace {

using kernels::Attention;

constexpr int kWarps = 4;  // rows a block takes

// Row blockIdx.x * kWarps + (this warp) of [n, heads, rows].
struct Row {
  index all;  // its number
  index image, head, i;
  unsigned lane, warp;
  index channel;  // this lane's, in the head

  __device__ Row(const Attention& s, index rows)
      : all(blockIdx.x * static_cast<index>(kWarps) + threadIdx.x / 32),
        image(all / (s.heads * rows)),
        head(all / rows % s.heads),
        i(all % rows),
        lane(threadIdx.x % 32),
        warp(threadIdx.x / 32),
        channel(blockIdx.y * index{32} + lane) {}
};

// The rows of one head of one image: row i begins at `begin` + i * step.
template <class T>
struct Head {
  T* begin;
  index step;
  __device__ Head(T* x, const Attention& s, const Row& r, index rows, index step)
      : begin(x + r.image * rows * step + r.head * s.d), step(step) {}
  __device__ T* operator[](index i) const { return begin + i * step; }
};

template <class T>
__device__ Wide<T> dot(index d, const T* a, const T* b) {
  Wide<T> sum = 0;
  for (index e = 0; e < d; ++e) sum += Wide<T>(a[e]) * Wide<T>(b[e]);
  return sum;
}

template <class T>
struct Forward {
  static constexpr int kThreads = kWarps * 32;
  struct Shared {
    Wide<T> p[kWarps][32];
  };
  kernels::AttentionForward<T> a;

  __device__ void operator()() const {
    using W = Wide<T>;
    const Attention& s = a.attention;
    const Row r(s, s.tq);
    if (r.image >= s.n) return;
    const T* const q = Head(a.q, s, r, s.tq, s.q_row)[r.i];
    const Head k(a.k, s, r, s.tk, s.kv_row), v(a.v, s, r, s.tk, s.kv_row);
    auto& p = shared<Shared>().p[r.warp];
    W top = -std::numeric_limits<W>::infinity(), sum = 0, out = 0;
    for (index begin = 0; begin < s.tk; begin += 32) {
      const index j = begin + r.lane;
      const bool exists = j < s.tk;
      const W score = exists ? static_cast<W>(s.scale) * dot(s.d, q, k[j]) : top;
      const W highest = warp_max(score > top ? score : top);  // a NaN shows in the sum
      const W shrink = std::exp(top - highest);
      const W mine = exists ? std::exp(score - highest) : W(0);
      sum = sum * shrink + mine;
      out *= shrink;
      top = highest;
      p[r.lane] = mine;
      __syncwarp();
      if (r.channel < s.d)
        for (index l = 0; l < 32 && begin + l < s.tk; ++l) out += p[l] * v[begin + l][r.channel];
      __syncwarp();  // the exchange of values in warp_max orders no memory
    }
    sum = warp_sum(sum);
    if (r.channel < s.d)
      Head(a.out, s, r, s.tq, s.heads * s.d)[r.i][r.channel] = static_cast<T>(out / sum);
    if (r.lane == 0 && blockIdx.y == 0) a.lse[r.all] = top + std::log(sum);
  }
};

// What the backward pass knows of a query and a key.
template <class T>
struct Pair {
  Wide<T> p, ds;
  __device__ Pair(const kernels::AttentionBackward<T>& a, const Row& r, index i, index j) {
    const Attention& s = a.attention;
    const index row = s.heads * s.d;
    const T* const q = Head(a.q, s, r, s.tq, s.q_row)[i];
    const T* const k = Head(a.k, s, r, s.tk, s.kv_row)[j];
    const T* const v = Head(a.v, s, r, s.tk, s.kv_row)[j];
    const T* const out = Head(a.out, s, r, s.tq, row)[i];
    const T* const dout = Head(a.dout, s, r, s.tq, row)[i];
    const Wide<T> scale = static_cast<Wide<T>>(s.scale),
                  lse = a.lse[(r.image * s.heads + r.head) * s.tq + i];
    p = std::exp(scale * dot(s.d, q, k) - lse);
    ds = scale * p * (dot(s.d, dout, v) - dot(s.d, dout, out));
  }
};

// The gradients of queries, and beside them those of keys and values.
template <class T>
struct Backward {
  static constexpr int kThreads = kWarps * 32;
  struct Shared {
    Wide<T> p[kWarps][32], ds[kWarps][32];
  };
  kernels::AttentionBackward<T> a;

  __device__ void operator()() const { blockIdx.z == 0 ? of_queries() : of_keys(); }

  __device__ void of_queries() const {
    const Attention& s = a.attention;
    const Row r(s, s.tq);
    if (r.image >= s.n) return;
    const Head k(a.k, s, r, s.tk, s.kv_row);
    auto& ds = shared<Shared>().ds[r.warp];
    Wide<T> dq = 0;
    for (index begin = 0; begin < s.tk; begin += 32) {
      if (begin + r.lane < s.tk) ds[r.lane] = Pair(a, r, r.i, begin + r.lane).ds;
      __syncwarp();
      if (r.channel < s.d)
        for (index l = 0; l < 32 && begin + l < s.tk; ++l) dq += ds[l] * k[begin + l][r.channel];
      __syncwarp();
    }
    if (r.channel < s.d) Head(a.dq, s, r, s.tq, s.q_row)[r.i][r.channel] = static_cast<T>(dq);
  }

  __device__ void of_keys() const {
    const Attention& s = a.attention;
    const Row r(s, s.tk);
    if (r.image >= s.n) return;
    const Head q(a.q, s, r, s.tq, s.q_row), dout(a.dout, s, r, s.tq, s.heads * s.d);
    auto& p = shared<Shared>().p[r.warp];
    auto& ds = shared<Shared>().ds[r.warp];
    Wide<T> dk = 0, dv = 0;
    for (index begin = 0; begin < s.tq; begin += 32) {
      if (begin + r.lane < s.tq) {
        const Pair pair(a, r, begin + r.lane, r.i);
        p[r.lane] = pair.p, ds[r.lane] = pair.ds;
      }
      __syncwarp();
      if (r.channel < s.d)
        for (index l = 0; l < 32 && begin + l < s.tq; ++l) {
          dk += ds[l] * q[begin + l][r.channel];
          dv += p[l] * dout[begin + l][r.channel];
        }
      __syncwarp();
    }
    if (r.channel >= s.d) return;
    Head(a.dk, s, r, s.tk, s.kv_row)[r.i][r.channel] = static_cast<T>(dk);
    Head(a.dv, s, r, s.tk, s.kv_row)[r.i][r.channel] = static_cast<T>(dv);
  }
};

template <class Kernel>
void launch_rows(const Attention& s, index rows, const Kernel& kernel, index kinds = 1) {
  const index warps = s.n * s.heads * rows;
  launch({(warps + kWarps - 1) / kWarps, (s.d + 31) / 32, kinds}, kernel);
}

}  // namespace

template <class T>
void attention_forward(const kernels::AttentionForward<T>& a) {
  if constexpr (!std::is_same_v<T, double>)
    if (attention_fits_tiles(a)) return attention_forward_by_tiles(a);
  launch_rows(a.attention, a.attention.tq, Forward<T>{a});
}

template <class T>
void attention_backward(const kernels::AttentionBackward<T>& a) {
  if constexpr (!std::is_same_v<T, double>)
    if (attention_fits_tiles(a)) return attention_backward_by_tiles(a);
  const Attention& s = a.attention;
  launch_rows(s, std::max(s.tq, s.tk), Backward<T>{a}, 2);
}

template void attention_forward(const kernels::AttentionForward<float>&);
template void attention_forward(const kernels::AttentionForward<double>&);
template void attention_forward(const kernels::AttentionForward<bf16>&);
template void attention_backward(const kernels::AttentionBackward<float>&);
template void attention_backward(const kernels::AttentionBackward<double>&);
template void attention_backward(const kernels::AttentionBackward<bf16>&);

}  // namespace sfumato::cuda
