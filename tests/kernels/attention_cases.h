// Attention: sizes, inputs, and what the reference makes of them.
#pragma once
#include "tests/kernels/kernel_test.h"

namespace sfumato::kernels::testing {

// q, k, v and out in arrays of their own.
inline Attention sizes(index n, index tq, index tk, index heads, index d, double scale) {
  return {.n = n,
          .tq = tq,
          .tk = tk,
          .heads = heads,
          .d = d,
          .scale = scale,
          .q_row = heads * d,
          .kv_row = heads * d};
}

inline std::string describe(const Attention& s) {
  return "n tq tk heads d: " + std::to_string(s.n) + " " + std::to_string(s.tq) + " " +
         std::to_string(s.tk) + " " + std::to_string(s.heads) + " " + std::to_string(s.d);
}

template <class T, template <class...> class Array = std::vector>
struct AttentionCase {
  explicit AttentionCase(const Attention& s, float factor = 1)
      : q(numbers<T>(s.n * s.tq * s.heads * s.d, 1)),
        k(numbers<T>(s.n * s.tk * s.heads * s.d, 2)),
        v(numbers<T>(s.n * s.tk * s.heads * s.d, 3)),
        dout(numbers<T>(q.size(), 4)) {
    for (T& x : q) x = static_cast<T>(x * factor);
  }
  // The same numbers in another type, or elsewhere.
  template <class U>
  explicit AttentionCase(const AttentionCase<U>& other)
      : q(other.q.begin(), other.q.end()),
        k(other.k.begin(), other.k.end()),
        v(other.v.begin(), other.v.end()),
        dout(other.dout.begin(), other.dout.end()) {}
  Array<T> q, k, v, dout;
};

template <class T, template <class> class Array = Guarded>
struct AttentionResult {
  explicit AttentionResult(const Attention& s)
      : out(s.n * s.tq * s.heads * s.d),
        dq(out.size()),
        dk(s.n * s.tk * s.heads * s.d),
        dv(dk.size()),
        lse(s.n * s.heads * s.tq) {}
  Array<T> out, dq, dk, dv;
  Array<Wide<T>> lse;
};

template <class T, class In, class Out>
AttentionForward<T> forward_of(const Attention& s, const In& in, Out& r) {
  return {.attention = s,
          .q = in.q.data(),
          .k = in.k.data(),
          .v = in.v.data(),
          .out = r.out.data(),
          .lse = r.lse.data()};
}
template <class T, class In, class Out>
AttentionBackward<T> backward_of(const Attention& s, const In& in, Out& r) {
  return {.attention = s,
          .q = in.q.data(),
          .k = in.k.data(),
          .v = in.v.data(),
          .out = r.out.data(),
          .lse = r.lse.data(),
          .dout = in.dout.data(),
          .dq = r.dq.data(),
          .dk = r.dk.data(),
          .dv = r.dv.data()};
}

// What reference.h computes from the same numbers, in double.
template <class T>
AttentionResult<double> reference_of(const Attention& s, const AttentionCase<T>& in) {
  const AttentionCase<double> exact(in);
  AttentionResult<double> r(s);
  reference::attention_forward(forward_of<double>(s, exact, r));
  reference::attention_backward(backward_of<double>(s, exact, r));
  return r;
}

inline std::vector<Attention> attention_sizes() {
  std::vector<Attention> all;
  for (const index t : {1, 2, 5, 16, 17, 33, 49})
    for (const index d : {1, 3, 8, 17, 40}) all.push_back(sizes(2, t, t, 2, d, 0.3));
  all.push_back(sizes(1, 5, 40, 3, 8, 0.35));
  all.push_back(sizes(1, 40, 5, 3, 8, 0.35));
  all.push_back(sizes(2, 196, 196, 1, 8, 0.35));
  all.push_back(sizes(1, 300, 270, 1, 16, 0.25));  // several blocks of keys and of queries
  all.push_back(sizes(1, 7, 33, 1, 70, 0.12));
  for (const index d : {4, 12, 24, 64, 96, 128}) all.push_back(sizes(1, 40, 70, 2, d, 0.2));
  return all;
}

}  // namespace sfumato::kernels::testing
