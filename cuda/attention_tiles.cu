// Attention on tensor cores, without a [tq, tk] array (Dao 2023, FlashAttention-2). A warp has 16 rows of a result in
// its registers, a block 64: queries of out and dq, keys of dk and dv. The other side's rows come 32 or 16 at a time through
// shared memory, the next ones while these are multiplied.
//
// Forward: the "online" softmax of attention.cu, to the base 2. Backward, of queries, with own rows q, dO and others k, v:
//   S = q kᵀ,  dP = dO vᵀ,  P = e^(scale S - lse),  dS = scale P (dP - D),  D = Σ_e dO out;  dq = dS k.
// Of keys it is the same of transposed matrices: with own rows k, v and others q, dO, dk = dSᵀ q and dv = Pᵀ dO.
#include <algorithm>
#include <cmath>

#include "cuda/attention_products.h"
#include "cuda/attention_tiles.h"
#include "cuda/block.h"
#include "cuda/divide.h"
#include "cuda/launch.h"
#include "cuda/memory.h"
#include "cuda/phases.h"

namespace sfumato::cuda {
namespace {

using kernels::Attention;
using kernels::index;

constexpr int kOwn = 64;
// So many that all cards have room for a block.
template <class P, int kD>
constexpr int kOther = kD * sizeof(typename P::Number) > 256 ? 16 : 32;
constexpr float kLog2e = 1.442695041f;

__device__ void write_pair(bf16* to, float low, float high) {
  write_words(to, Words<4>{{pair_of_bf16(low, high)}});
}
__device__ void write_pair(float* to, float low, float high) {
  write_words(to, std::bit_cast<Words<8>>(Numbers<float, 2>{{low, high}}));
}

// Which rows a block has, of the `rows` of each of n heads of images.
struct Place {
  unsigned image, head;
  index of_all;    // head of all images'
  unsigned first;  // of the block's rows
  unsigned row;    // of the warp's, from there on

  __device__ Place(unsigned block, const Divisor& blocks, const Divisor& heads)
      : image(block / blocks / heads),
        head(block / blocks % heads),
        of_all(block / blocks),
        first(block % blocks * kOwn),
        row(threadIdx.x / 32 * 16) {}
  template <class T>
  __device__ T* in(T* x, index rows, index step, index d) const {
    return x + image * rows * step + head * d;
  }
  template <class T>
  __device__ RowsOfHead<T> rows(const T* x, index count, index step, index d) const {
    return {in(x, count, step, d), static_cast<unsigned>(step), static_cast<unsigned>(count),
            static_cast<unsigned>(d)};
  }
  // Writes the rows that exist.
  template <int kCount, class T>
  __device__ void write(const Sums<kCount>& from, T* x, index count, index step, index d) const {
    T* const to = in(x, count, step, d);
    const unsigned lane = threadIdx.x % 32;
    SFUMATO_UNROLL
    for (int h = 0; h < 2; ++h) {
      const unsigned i = first + row + h * 8 + lane / 4;
      if (i >= count) continue;
      SFUMATO_UNROLL
      for (int j = 0; j < kCount; ++j) {
        const unsigned c = j * 8 + lane % 4 * 2;  // (d is even)
        if (c < d) write_pair(&to[i * step + c], from[j][2 * h], from[j][2 * h + 1]);
      }
    }
  }
};

template <class P, int kD>
struct Forward {
  static constexpr int kThreads = kAttentionThreads, kOther = cuda::kOther<P, kD>;
  using T = typename P::Number;
  using Scores = Sums<kOther / 8>;
  struct Shared {
    AttentionPanel<P, kOwn, kD> q;
    AttentionPanel<P, kOther, kD> k[2], v[2];
  };
  kernels::AttentionForward<T> a;
  Divisor blocks, heads;

  __device__ void operator()() const {
    const Attention& t = a.attention;
    Shared& s = shared<Shared>();
    const Place at(blockIdx.x, blocks, heads);
    const RowsOfHead<T> k = at.rows(a.k, t.tk, t.kv_row, t.d),
                        v = at.rows(a.v, t.tk, t.kv_row, t.d);
    s.q.bring(at.rows(a.q, t.tq, t.q_row, t.d), at.first);
    s.k[0].bring(k, 0), s.v[0].bring(v, 0);
    commit_copies();
    OwnRows own(s.q, at.row);
    Softmax softmax{static_cast<float>(t.scale) * kLog2e, k.count};
    Sums<kD / 8> out;
    for (unsigned begin = 0, now = 0; begin < k.count; begin += kOther, now ^= 1) {
      if (begin + kOther < k.count)
        s.k[now ^ 1].bring(k, begin + kOther), s.v[now ^ 1].bring(v, begin + kOther);
      commit_copies();
      wait_for_copies<1>();
      __syncthreads();
      if (begin == 0) own.arrived();
      Scores p = products(own, s.k[now]);
      softmax.add(p, begin, out);
      add_products(out, p, s.v[now]);
      __syncthreads();
    }
    softmax.end(out);
    at.write(out, a.out, t.tq, t.heads * t.d, t.d);
    const unsigned lane = threadIdx.x % 32;
    for (unsigned h = 0; h < 2; ++h) {
      const unsigned i = at.first + at.row + h * 8 + lane / 4;
      if (lane % 4 == 0 && i < t.tq) a.lse[at.of_all * t.tq + i] = softmax.lse[h];
    }
  }

  // Of two rows, whose scores four lanes share.
  struct Softmax {
    float scale;
    unsigned tk;
    float top[2] = {-INFINITY, -INFINITY}, sum[2] = {};
    float lse[2] = {};

    // The scores of the keys from `begin` on become their exponentials, against the maximum so far, to which `out` is shrunk.
    __device__ void add(Scores& s, unsigned begin, Sums<kD / 8>& out) {
      SFUMATO_UNROLL
      for (int h = 0; h < 2; ++h) {
        float highest = -INFINITY;
        for (int j = 0; j < kOther / 8; ++j)
          for (int e = 0; e < 2; ++e) {
            float& score = s[j][2 * h + e];
            score = begin + j * 8 + threadIdx.x % 4 * 2 + e < tk ? score * scale : -INFINITY;
            if (score > highest) highest = score;
          }
        highest = warp_max<kOfRow>(highest > top[h] ? highest : top[h]);  // a NaN shows in the sum
        const float shrink = std::exp2(top[h] - highest);
        top[h] = highest, sum[h] *= shrink;
        for (int j = 0; j < kOther / 8; ++j)
          for (int e = 0; e < 2; ++e) {
            float& p = s[j][2 * h + e];
            p = std::exp2(p - highest);
            sum[h] += p;
          }
        out.scale(h, shrink);
      }
    }
    __device__ void end(Sums<kD / 8>& out) {
      for (int h = 0; h < 2; ++h) {
        const float all = warp_sum<kOfRow>(sum[h]);
        out.scale(h, 1 / all);
        lse[h] = (top[h] + std::log2(all)) / kLog2e;
      }
    }
  };
};

template <class P, int kD>
struct Backward {
  static constexpr int kThreads = kAttentionThreads, kOther = cuda::kOther<P, kD>;
  using T = typename P::Number;
  using Scores = Sums<kOther / 8>;
  struct Shared {
    AttentionPanel<P, kOwn, kD> own[2];         // q and dO, or k and v
    AttentionPanel<P, kOther, kD> other[2][2];  // the other two, twice
    alignas(8) float lse[kOwn], d[kOwn];        // of queries
    Phases::Shared phases;
  };
  Phases phases;
  kernels::AttentionBackward<T> a;
  unsigned query_blocks;
  Divisor of_queries, of_keys, heads;
  float* d;  // D [n, heads, tq], which blocks of queries write for those of keys

  __device__ void operator()() const {
    Shared& s = shared<Shared>();
    const unsigned block = phases.begin(s.phases);
    if (block < query_blocks) {
      gradients<false>(s, Place(block, of_queries, heads));
    } else {
      gradients<true>(s, Place(block - query_blocks, of_keys, heads));
    }
    phases.end(s.phases);
  }

  // dq, or dk and dv.
  template <bool kOfKeys>
  __device__ void gradients(Shared& s, const Place& at) const {
    const Attention& t = a.attention;
    const index row = t.heads * t.d;
    const RowsOfHead<T> queries[2] = {at.rows(a.q, t.tq, t.q_row, t.d),
                                      at.rows(a.dout, t.tq, row, t.d)};
    const RowsOfHead<T> keys[2] = {at.rows(a.k, t.tk, t.kv_row, t.d),
                                   at.rows(a.v, t.tk, t.kv_row, t.d)};
    const auto &own = kOfKeys ? keys : queries, &other = kOfKeys ? queries : keys;
    for (int i = 0; i < 2; ++i) s.own[i].bring(own[i], at.first), s.other[0][i].bring(other[i], 0);
    commit_copies();
    if (kOfKeys) {
      phases.wait(0, query_blocks);
    } else {
      sum_d(s, at);
      phases.count(0);
    }
    OwnRows first(s.own[0], at.row), second(s.own[1], at.row);
    Sums<kD / 8> of_first, of_second;
    for (unsigned begin = 0, now = 0; begin < other[0].count; begin += kOther, now ^= 1) {
      if (begin + kOther < other[0].count)
        for (int i = 0; i < 2; ++i) s.other[now ^ 1][i].bring(other[i], begin + kOther);
      commit_copies();
      if (kOfKeys) read_statistics(s, at, begin);
      wait_for_copies<1>();
      __syncthreads();
      if (begin == 0) first.arrived(), second.arrived();
      Scores p = products(first, s.other[now][0]);
      Scores ds = products(second, s.other[now][1]);
      differentiate<kOfKeys>(s, at, begin, p, ds);
      add_products(of_first, ds, s.other[now][0]);
      if (kOfKeys) add_products(of_second, p, s.other[now][1]);
      __syncthreads();
    }
    if (kOfKeys) {
      at.write(of_first, a.dk, t.tk, t.kv_row, t.d);
      at.write(of_second, a.dv, t.tk, t.kv_row, t.d);
    } else {
      at.write(of_first, a.dq, t.tq, t.q_row, t.d);
    }
  }

  // D of the block's queries, which has their lse beside it from now on.
  __device__ void sum_d(Shared& s, const Place& at) const {
    const Attention& t = a.attention;
    constexpr int kTeam = kThreads / kOwn;
    const unsigned i = threadIdx.x / kTeam, query = at.first + i;
    const bool exists = query < t.tq;
    const index row = t.heads * t.d;
    const T* const out = at.in(a.out, t.tq, row, t.d) + query * row;
    const T* const dout = at.in(a.dout, t.tq, row, t.d) + query * row;
    float sum = 0;
    for (unsigned e = threadIdx.x % kTeam; exists && e < t.d; e += kTeam)
      sum += static_cast<float>(out[e]) * static_cast<float>(dout[e]);
    sum = warp_sum<kTeam>(sum);
    if (threadIdx.x % kTeam != 0) return;
    s.d[i] = sum;
    s.lse[i] = exists ? a.lse[at.of_all * t.tq + query] : 0;
    if (exists) d[at.of_all * t.tq + query] = sum;
  }
  // lse and D of the queries from `first` on.
  __device__ void read_statistics(Shared& s, const Place& at, unsigned first) const {
    const Attention& t = a.attention;
    const unsigned i = threadIdx.x, query = first + i;
    if (i >= kOther) return;
    const bool exists = query < t.tq;
    s.lse[i] = exists ? a.lse[at.of_all * t.tq + query] : 0;
    s.d[i] = exists ? d[at.of_all * t.tq + query] : 0;
  }

  // S becomes P, and dP dS: 0 in columns that do not exist, whose P may be infinite. (Rows that do not exist are not
  // written.) Of keys, rows are keys.
  template <bool kOfKeys>
  __device__ void differentiate(const Shared& s, const Place& at, unsigned begin, Scores& p,
                                Scores& ds) const {
    const Attention& t = a.attention;
    const float scale = static_cast<float>(t.scale);
    const unsigned lane = threadIdx.x % 32, row = at.row + lane / 4, col = lane % 4 * 2;
    // Columns from this lane's first one on.
    const int cols = static_cast<int>((kOfKeys ? t.tq : t.tk) - begin) - static_cast<int>(col);
    Numbers<float, 2> lse = {{s.lse[row], s.lse[row + 8]}}, d = {{s.d[row], s.d[row + 8]}};
    SFUMATO_UNROLL
    for (int j = 0; j < kOther / 8; ++j) {
      if (kOfKeys)
        lse = read_numbers<2>(&s.lse[j * 8 + col]), d = read_numbers<2>(&s.d[j * 8 + col]);
      SFUMATO_UNROLL
      for (int i = 0; i < 4; ++i) {
        const int query = kOfKeys ? i % 2 : i / 2;
        const bool exists = j * 8 + i % 2 < cols;
        p[j][i] = exists ? std::exp2((scale * p[j][i] - lse.of[query]) * kLog2e) : 0;
        ds[j][i] = scale * p[j][i] * (ds[j][i] - d.of[query]);
      }
    }
  }
};

// f(number) of the least number of channels that a head has room in.
template <class F>
void with_channels(index d, const F& f) {
  if (d <= 8) return f(std::integral_constant<int, 8>());
  if (d <= 16) return f(std::integral_constant<int, 16>());
  if (d <= 32) return f(std::integral_constant<int, 32>());
  if (d <= 64) return f(std::integral_constant<int, 64>());
  f(std::integral_constant<int, 128>());
}

Divisor divisor(index n) { return Divisor(static_cast<unsigned>(std::max<index>(1, n))); }
index blocks_of(index rows) { return (rows + kOwn - 1) / kOwn; }

template <class T>
bool fits(const Attention& s, std::initializer_list<const T*> arrays) {
  constexpr index kOf = kOfChunk<T>;
  if (s.d > 128 || s.d % kOf != 0 || s.q_row % kOf != 0 || s.kv_row % kOf != 0) return false;
  return std::all_of(arrays.begin(), arrays.end(),
                     [](const T* x) { return in_chunks(kOfChunk<T>, x); });
}

}  // namespace

template <class T>
bool attention_fits_tiles(const kernels::AttentionForward<T>& a) {
  return fits<T>(a.attention, {a.q, a.k, a.v, a.out});
}
template <class T>
bool attention_fits_tiles(const kernels::AttentionBackward<T>& a) {
  return fits<T>(a.attention, {a.q, a.k, a.v, a.dout, a.dq, a.dk, a.dv});
}

template <class T>
void attention_forward_by_tiles(const kernels::AttentionForward<T>& a) {
  const Attention& s = a.attention;
  const index blocks = blocks_of(s.tq);
  with_products<T>([&]<class P>(P) {
    with_channels(s.d, [&]<int kD>(std::integral_constant<int, kD>) {
      launch({s.n * s.heads * blocks}, Forward<P, kD>{a, divisor(blocks), divisor(s.heads)});
    });
  });
}

template <class T>
void attention_backward_by_tiles(const kernels::AttentionBackward<T>& a) {
  const Attention& s = a.attention;
  const index queries = blocks_of(s.tq), keys = blocks_of(s.tk), heads = s.n * s.heads;
  const Scratch<float> d(static_cast<std::size_t>(heads * s.tq));
  with_products<T>([&]<class P>(P) {
    with_channels(s.d, [&]<int kD>(std::integral_constant<int, kD>) {
      launch({heads * (queries + keys)},
             Backward<P, kD>{Phases(1), a, static_cast<unsigned>(heads * queries), divisor(queries),
                             divisor(keys), divisor(s.heads), d.get()});
    });
  });
}

#define SFUMATO_INSTANTIATE(T)                                                   \
  template bool attention_fits_tiles(const kernels::AttentionForward<T>&);       \
  template bool attention_fits_tiles(const kernels::AttentionBackward<T>&);      \
  template void attention_forward_by_tiles(const kernels::AttentionForward<T>&); \
  template void attention_backward_by_tiles(const kernels::AttentionBackward<T>&);
SFUMATO_INSTANTIATE(float)
SFUMATO_INSTANTIATE(bf16)

}  // namespace sfumato::cuda
