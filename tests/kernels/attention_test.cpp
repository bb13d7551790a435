#include "tests/kernels/attention_cases.h"

namespace sfumato::kernels::testing {
namespace {

template <class T>
AttentionResult<T> run(const Attention& s, const AttentionCase<T>& in) {
  AttentionResult<T> r(s);
  table<T>().attention_forward(forward_of<T>(s, in, r));
  table<T>().attention_backward(backward_of<T>(s, in, r));
  return r;
}

template <class T>
void check(const Attention& s) {
  SCOPED_TRACE(describe(s));
  const AttentionCase<T> in(s);
  AttentionResult<double> expected = reference_of(s, in);
  AttentionResult<T> got = run(s, in);
  expect_close(got.out, expected.out.values(), "out");
  expect_close(got.lse, expected.lse.values(), "lse");
  expect_close(got.dv, expected.dv.values(), "dv");
  if (s.tk == 1) return;  // p = 1: dq and dk are rounding errors around 0
  expect_close(got.dq, expected.dq.values(), "dq");
  expect_close(got.dk, expected.dk.values(), "dk");
}

TEST(AttentionKernel, MatchesTheDefinition) {
  for_every_isa([]<class T>() {
    for (const Attention& s : attention_sizes()) check<T>(s);
  });
}

// q, k and v as columns of one array give the same bits as three arrays.
TEST(AttentionKernel, SideBySide) {
  for_every_isa([]<class T>() {
    for (const index d : {5, 8, 40}) {
      Attention s = sizes(2, 20, 20, 2, d, 0.3);
      const AttentionCase<T> in(s);
      AttentionResult<T> apart = run(s, in);
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
    const AttentionCase<T> in(
        s, 300);  // scores of ±1000: exp would overflow without the running maximum
    AttentionResult<double> expected = reference_of(s, in);
    AttentionResult<T> got = run(s, in);
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
      AttentionCase<T> in(s);
      std::fill(in.q.begin(), in.q.end(), T{1});
      std::fill(in.k.begin(), in.k.end(), static_cast<T>(score / 8));
      AttentionResult<double> expected = reference_of(s, in);
      AttentionResult<T> got = run(s, in);
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
      const AttentionCase<T> in(s);
      expect_same_on_any_threads([&] {
        AttentionResult<T> r = run(s, in);
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
