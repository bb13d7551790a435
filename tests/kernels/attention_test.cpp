#include "tests/kernels/kernel_test.h"

namespace sfumato::kernels::testing {
namespace {

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
  std::vector<T> q, k, v, dout;
};

struct Reference {
  std::vector<double> out, lse, dq, dk, dv;
};

template <class T>
Reference reference(const Attention& s, const Case<T>& in) {
  Reference r;
  r.out.resize(in.q.size()), r.dq.resize(in.q.size());
  r.dk.resize(in.k.size()), r.dv.resize(in.k.size());
  const index step = s.heads * s.d;
  std::vector<double> p(s.tk), dp(s.tk);
  for (index b = 0; b < s.n; ++b) {
    for (index h = 0; h < s.heads; ++h) {
      for (index i = 0; i < s.tq; ++i) {
        const index iq = (b * s.tq + i) * step + h * s.d;
        const auto key = [&](index j) { return (b * s.tk + j) * step + h * s.d; };
        double top = -INFINITY, sum = 0, delta = 0;
        for (index j = 0; j < s.tk; ++j) {
          p[j] = dp[j] = 0;
          for (index e = 0; e < s.d; ++e) {
            p[j] += s.scale * in.q[iq + e] * in.k[key(j) + e];
            dp[j] += static_cast<double>(in.dout[iq + e]) * in.v[key(j) + e];
          }
          top = std::max(top, p[j]);
        }
        for (index j = 0; j < s.tk; ++j) sum += p[j] = std::exp(p[j] - top);
        r.lse.push_back(top + std::log(sum));
        for (index j = 0; j < s.tk; ++j) delta += (p[j] /= sum) * dp[j];
        for (index j = 0; j < s.tk; ++j) {
          const double ds = s.scale * p[j] * (dp[j] - delta);
          for (index e = 0; e < s.d; ++e) {
            r.out[iq + e] += p[j] * in.v[key(j) + e];
            r.dq[iq + e] += ds * in.k[key(j) + e];
            r.dk[key(j) + e] += ds * in.q[iq + e];
            r.dv[key(j) + e] += p[j] * in.dout[iq + e];
          }
        }
      }
    }
  }
  return r;
}

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
Result<T> run(Attention s, const Case<T>& in) {
  s.q_row = s.kv_row = s.heads * s.d;
  Result<T> r(s);
  attention_forward(s, in.q.data(), in.k.data(), in.v.data(), r.out.data(), r.lse.data());
  attention_backward(s, in.q.data(), in.k.data(), in.v.data(), r.out.data(), r.lse.data(),
                     in.dout.data(), r.dq.data(), r.dk.data(), r.dv.data());
  return r;
}

template <class T>
void check(const Attention& s, T factor = 1) {
  SCOPED_TRACE(describe(s));
  const Case<T> in(s, factor);
  const Reference expected = reference(s, in);
  Result<T> got = run(s, in);
  expect_close(got.out, expected.out, "out");
  expect_close(got.lse, expected.lse, "lse");
  expect_close(got.dv, expected.dv, "dv");
  if (s.tk == 1) return;  // p = 1: dq and dk are rounding errors around 0
  expect_close(got.dq, expected.dq, "dq");
  expect_close(got.dk, expected.dk, "dk");
}

TEST(AttentionKernel, MatchesTheDefinition) {
  for_every_isa([]<class T>() {
    for (const index t : {1, 2, 5, 16, 17, 33, 49})
      for (const index d : {1, 3, 8, 17, 40}) check<T>({2, t, t, 2, d, 0.3, 0, 0});
    check<T>({1, 5, 40, 3, 8, 0.35, 0, 0});
    check<T>({1, 40, 5, 3, 8, 0.35, 0, 0});
    check<T>({2, 196, 196, 1, 8, 0.35, 0, 0});
    check<T>({1, 300, 270, 1, 16, 0.25, 0, 0});  // several blocks of keys and of queries
    check<T>({1, 7, 33, 1, 70, 0.12, 0, 0});
  });
}

// q, k and v as columns of one array give the same bits as three arrays.
TEST(AttentionKernel, SideBySide) {
  for_every_isa([]<class T>() {
    for (const index d : {5, 8, 40}) {
      Attention s{2, 20, 20, 2, d, 0.3, 0, 0};
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
      attention_forward(s, q, q + c, q + 2 * c, out.data(), lse.data());
      attention_backward(s, q, q + c, q + 2 * c, out.data(), lse.data(), in.dout.data(),
                         dqkv.data(), dqkv.data() + c, dqkv.data() + 2 * c);
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
    const Attention s{1, 20, 200, 1, 8, 1.0, 0, 0};
    const Case<T> in(s, T{300});  // scores of ±1000: exp would overflow without the running maximum
    const Reference expected = reference(s, in);
    Result<T> got = run(s, in);
    EXPECT_LT(distance(got.out.data(), expected.out), by_type<T>(1e-3, 1e-11));
    for (index i = 0; i < got.dk.size(); ++i) ASSERT_TRUE(std::isfinite(got.dk.data()[i]));
  });
}

// The last vector of keys is partly empty, and a score of 0 there would be far above all others.
TEST(AttentionKernel, FarNegativeScoresBesideMissingKeys) {
  for_every_isa([]<class T>() {
    const Attention s{1, 3, 17, 1, 8, 1.0, 0, 0};
    for (double score = by_type<T>(-80, -700); score > by_type<T>(-95, -720); score -= 0.5) {
      SCOPED_TRACE(score);
      Case<T> in(s);
      std::fill(in.q.begin(), in.q.end(), T{1});
      std::fill(in.k.begin(), in.k.end(), static_cast<T>(score / 8));
      const Reference expected = reference(s, in);
      Result<T> got = run(s, in);
      expect_close(got.out, expected.out, "out");
      // What is left of the gradients' sums is rounding; of dq, times keys of 10.
      for (index i = 0; i < got.dq.size(); ++i)
        ASSERT_NEAR(got.dq.data()[i], expected.dq[i], by_type<T>(1e-4, 1e-9));
    }
  });
}

TEST(AttentionKernel, SameBitsOnAnyNumberOfThreads) {
  for_every_isa([]<class T>() {
    for (const Attention& s :
         {Attention{3, 49, 49, 2, 8, 0.3, 0, 0}, Attention{1, 130, 50, 1, 9, 0.3, 0, 0}}) {
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
