#include "tests/cuda/attention_run.h"

namespace sfumato::kernels::testing {
namespace {

class DeviceAttention : public DeviceTest {};

TEST_F(DeviceAttention, MatchesTheDefinition) {
  for_every_precision([]<class T>() {
    for (const Attention& s : attention_sizes()) {
      SCOPED_TRACE(describe(s));
      const AttentionCase<T> in(s);
      AttentionResult<double> expected = reference_of(s, in);
      const auto got = attend(s, in);
      expect_close(got.out, expected.out.values(), "out", slack_of<T>());
      expect_close(got.lse, expected.lse.values(), "lse", slack_of<T>());
      expect_close(got.dv, expected.dv.values(), "dv", slack_of<T>());
      if (s.tk == 1) continue;  // p = 1: dq and dk are rounding errors around 0
      expect_close(got.dq, expected.dq.values(), "dq", slack_of<T>());
      expect_close(got.dk, expected.dk.values(), "dk", slack_of<T>());
    }
  });
}

// q, k and v as columns of one array, and their gradients likewise, give the same bits as three arrays.
TEST_F(DeviceAttention, SideBySide) {
  for_every_precision([]<class T>() {
    Attention s = sizes(2, 20, 20, 2, 40, 0.3);
    const AttentionCase<T> in(s);
    const auto apart = attend(s, in);
    const index c = s.heads * s.d, rows = s.n * s.tq;
    const auto beside = [&](const std::vector<T>& q, const std::vector<T>& k,
                            const std::vector<T>& v) {
      std::vector<T> all;
      for (index r = 0; r < rows; ++r)
        for (const auto* from : {&q, &k, &v})
          all.insert(all.end(), from->begin() + r * c, from->begin() + (r + 1) * c);
      return all;
    };
    s.q_row = s.kv_row = 3 * c;
    const OnDevice<T> qkv(beside(in.q, in.k, in.v)), dout(in.dout);
    const OnDevice<T> out(rows * c), dqkv(3 * rows * c);
    const OnDevice<Wide<T>> lse(s.n * s.heads * s.tq);
    const T* q = qkv.data();
    T* dq = dqkv.data();
    gpu<T>().attention_forward({s, q, q + c, q + 2 * c, out.data(), lse.data()});
    gpu<T>().attention_backward(
        {s, q, q + c, q + 2 * c, out.data(), lse.data(), dout.data(), dq, dq + c, dq + 2 * c});
    EXPECT_EQ(out.values(), apart.out.values());
    EXPECT_EQ(dqkv.values(), beside(apart.dq.values(), apart.dk.values(), apart.dv.values()));
  });
}

// exp would overflow without the running maximum.
TEST_F(DeviceAttention, LargeScores) {
  for_every_type_and_bf16([]<class T>() {
    const Attention s = sizes(1, 20, 200, 1, 8, 1.0);
    const AttentionCase<T> in(s, 300);
    const auto got = attend(s, in);
    const double most = std::is_same_v<T, bf16> ? 0.01 : by_type<T>(1e-3, 1e-11);
    EXPECT_LT(distance(got.out.values().data(), reference_of(s, in).out.values()), most);
    for (const Wide<T> v : got.dk.values()) ASSERT_TRUE(std::isfinite(v));
  });
}

// All keys score far below 0, what a key that does not exist would: its share would be e^800 times theirs.
TEST_F(DeviceAttention, LowScores) {
  for_every_type_and_bf16([]<class T>() {
    const Attention s = sizes(1, 20, 70, 1, 8, 1.0);
    AttentionCase<T> in(s);
    for (T& q : in.q) q = T(-10);
    for (T& k : in.k) k = static_cast<T>(10 + k / 8);
    const auto got = attend(s, in);
    AttentionResult<double> expected = reference_of(s, in);
    const double most = std::is_same_v<T, bf16> ? 0.02 : by_type<T>(1e-3, 1e-11);
    EXPECT_LT(distance(got.out.values().data(), expected.out.values()), most);
    // A difference of numbers near 10, times what is left of scores near 800: in bf16 that is little, in 22 bits less.
    const double most_of_dq = std::is_same_v<T, bf16> ? 1 : by_type<T>(1e-2, 1e-11);
    EXPECT_LT(distance(got.dq.values().data(), expected.dq.values()), most_of_dq);
    EXPECT_LT(distance(got.dk.values().data(), expected.dk.values()), most);
    EXPECT_LT(distance(got.dv.values().data(), expected.dv.values()), most);
  });
}

}  // namespace
}  // namespace sfumato::kernels::testing
