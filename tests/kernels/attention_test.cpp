#include "tests/kernels/kernel_test.h"

namespace sfumato::kernels::testing {
namespace {

// q, k, v and out in arrays of their own.
Attention sizes(index n, index tq, index tk, index heads, index d, double scale) {
  return {.n = n,
          .tq = tq,
          .tk = tk,
          .heads = heads,
          .d = d,
          .scale = scale,
          .q_row = heads * d,
          .kv_row = heads * d};
}

std::string describe(const Attention& s) {
  return "n tq tk heads d: " + std::to_string(s.n) + " " + std::to_string(s.tq) + " " +
         std::to_string(s.tk) + " " + std::to_string(s.heads) + " " + std::to_string(s.d);
}

template <class T>
struct Case {
  explicit Case(const Attention& s, T factor = 1)
      : q(numbers<T>(s.n * s.tq * s.heads * s.d, 1)),
        k(numbers<T>(s.n * s.tk * s.heads * s.d, 2)),
        v(numbers<T>(s.n * s.tk * s.heads * s.d, 3)),
        dout(numbers<T>(q.size(), 4)) {
    for (T& x : q) x *= factor;
  }
  template <class U>
  explicit Case(const Case<U>& other)
      : q(as_double(other.q)),
        k(as_double(other.k)),
        v(as_double(other.v)),
        dout(as_double(other.dout)) {}
  std::vector<T> q, k, v, dout;
};

template <class T>
struct Result {
  explicit Result(const Attention& s)
      : out(s.n * s.tq * s.heads * s.d),
        lse(s.n * s.heads * s.tq),
        dq(out.size()),
        dk(s.n * s.tk * s.heads * s.d),
        dv(dk.size()) {}
  Guarded<T> out, lse, dq, dk, dv;
};

template <class T>
AttentionForward<T> forward_of(const Attention& s, const Case<T>& in, Result<T>& r) {
  return {.attention = s,
          .q = in.q.data(),
          .k = in.k.data(),
          .v = in.v.data(),
          .out = r.out.data(),
          .lse = r.lse.data()};
}
template <class T>
AttentionBackward<T> backward_of(const Attention& s, const Case<T>& in, Result<T>& r) {
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

template <class T>
Result<T> run(const Attention& s, const Case<T>& in) {
  Result<T> r(s);
  table<T>().attention_forward(forward_of(s, in, r));
  table<T>().attention_backward(backward_of(s, in, r));
  return r;
}

// What reference.h computes from the same numbers, in double.
template <class T>
Result<double> reference_of(const Attention& s, const Case<T>& in) {
  const Case<double> exact(in);
  Result<double> r(s);
  reference::attention_forward(forward_of(s, exact, r));
  reference::attention_backward(backward_of(s, exact, r));
  return r;
}

template <class T>
void check(const Attention& s, T factor = 1) {
  SCOPED_TRACE(describe(s));
  const Case<T> in(s, factor);
  Result<double> expected = reference_of(s, in);
  Result<T> got = run(s, in);
  expect_close(got.out, expected.out.values(), "out");
  expect_close(got.lse, expected.lse.values(), "lse");
  expect_close(got.dv, expected.dv.values(), "dv");
  if (s.tk == 1) return;  // p = 1: dq and dk are rounding errors around 0
  expect_close(got.dq, expected.dq.values(), "dq");
  expect_close(got.dk, expected.dk.values(), "dk");
}

TEST(AttentionKernel, MatchesTheDefinition) {
  for_every_isa([]<class T>() {
    for (const index t : {1, 2, 5, 16, 17, 33, 49})
      for (const index d : {1, 3, 8, 17, 40}) check<T>(sizes(2, t, t, 2, d, 0.3));
    check<T>(sizes(1, 5, 40, 3, 8, 0.35));
    check<T>(sizes(1, 40, 5, 3, 8, 0.35));
    check<T>(sizes(2, 196, 196, 1, 8, 0.35));
    check<T>(sizes(1, 300, 270, 1, 16, 0.25));  // several blocks of keys and of queries
    check<T>(sizes(1, 7, 33, 1, 70, 0.12));
  });
}

// q, k and v as columns of one array give the same bits as three arrays.
TEST(AttentionKernel, SideBySide) {
  for_every_isa([]<class T>() {
    for (const index d : {5, 8, 40}) {
      Attention s = sizes(2, 20, 20, 2, d, 0.3);
      const Case<T> in(s);
      Result<T> apart = run(s, in);
      const index c = s.heads * s.d, rows = s.n * s.tq;
      std::vector<T> qkv(3 * rows * c);
      for (index r = 0; r < rows; ++r) {
        for (index e = 0; e < c; ++e) {
          qkv[(3 * r + 0) * c + e] = in.q[r * c + e];
          qkv[(3 * r + 1) * c + e] = in.k[r * c + e];
          qkv[(3 * r + 2) * c + e] = in.v[r * c + e];
        }
      }
      s.q_row = s.kv_row = 3 * c;
      Guarded<T> out(rows * c), lse(s.n * s.heads * s.tq), dqkv(3 * rows * c);
      const T* q = qkv.data();
      table<T>().attention_forward({.attention = s,
                                    .q = q,
                                    .k = q + c,
                                    .v = q + 2 * c,
                                    .out = out.data(),
                                    .lse = lse.data()});
      table<T>().attention_backward({.attention = s,
                                     .q = q,
                                     .k = q + c,
                                     .v = q + 2 * c,
                                     .out = out.data(),
                                     .lse = lse.data(),
                                     .dout = in.dout.data(),
                                     .dq = dqkv.data(),
                                     .dk = dqkv.data() + c,
                                     .dv = dqkv.data() + 2 * c});
      EXPECT_EQ(out.values(), apart.out.values());
      for (index r = 0; r < rows; ++r) {
        for (index e = 0; e < c; ++e) {
          ASSERT_EQ(dqkv.data()[(3 * r + 0) * c + e], apart.dq.data()[r * c + e]);
          ASSERT_EQ(dqkv.data()[(3 * r + 1) * c + e], apart.dk.data()[r * c + e]);
          ASSERT_EQ(dqkv.data()[(3 * r + 2) * c + e], apart.dv.data()[r * c + e]);
        }
      }
    }
  });
}

TEST(AttentionKernel, LargeScores) {
  for_every_isa([]<class T>() {
    const Attention s = sizes(1, 20, 200, 1, 8, 1.0);
    const Case<T> in(s, T{300});  // scores of ±1000: exp would overflow without the running maximum
    Result<double> expected = reference_of(s, in);
    Result<T> got = run(s, in);
    EXPECT_LT(distance(got.out.data(), expected.out.values()), by_type<T>(1e-3, 1e-11));
    for (index i = 0; i < got.dk.size(); ++i) ASSERT_TRUE(std::isfinite(got.dk.data()[i]));
  });
}

// The last vector of keys is partly empty, and a score of 0 there would be far above all others.
TEST(AttentionKernel, FarNegativeScoresBesideMissingKeys) {
  for_every_isa([]<class T>() {
    const Attention s = sizes(1, 3, 17, 1, 8, 1.0);
    for (double score = by_type<T>(-80, -700); score > by_type<T>(-95, -720); score -= 0.5) {
      SCOPED_TRACE(score);
      Case<T> in(s);
      std::fill(in.q.begin(), in.q.end(), T{1});
      std::fill(in.k.begin(), in.k.end(), static_cast<T>(score / 8));
      Result<double> expected = reference_of(s, in);
      Result<T> got = run(s, in);
      expect_close(got.out, expected.out.values(), "out");
      // What is left of the gradients' sums is rounding; of dq, times keys of 10.
      for (index i = 0; i < got.dq.size(); ++i)
        ASSERT_NEAR(got.dq.data()[i], expected.dq.data()[i], by_type<T>(1e-4, 1e-9));
    }
  });
}

TEST(AttentionKernel, SameBitsOnAnyNumberOfThreads) {
  for_every_isa([]<class T>() {
    for (const Attention& s : {sizes(3, 49, 49, 2, 8, 0.3), sizes(1, 130, 50, 1, 9, 0.3)}) {
      const Case<T> in(s);
      expect_same_on_any_threads([&] {
        Result<T> r = run(s, in);
        std::vector<T> all;
        append(all, r.out), append(all, r.lse), append(all, r.dq), append(all, r.dk);
        append(all, r.dv);
        return all;
      });
    }
  });
}

}  // namespace
}  // namespace sfumato::kernels::testing
