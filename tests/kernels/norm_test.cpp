#include "tests/kernels/norm_cases.h"

namespace sfumato::kernels::testing {
namespace {

template <class T>
NormResult<T> run(const GroupNorm& s, const NormCase<T>& in) {
  NormResult<T> r(s);
  table<T>().group_norm_forward(forward_of<T>(s, in, r));
  table<T>().group_norm_backward(backward_of<T>(s, in, r));
  // In the place of dy, with something added, which must not change what else comes out.
  Guarded<T> dx(r.dx.size()), dgamma(s.c), dbeta(s.c);
  std::copy(in.dy.begin(), in.dy.end(), dx.data());
  GroupNormBackward<T> again = backward_of<T>(s, in, r);
  again.dy = again.dx = dx.data(), again.add = in.x.data();
  again.dgamma = dgamma.data(), again.dbeta = dbeta.data();
  table<T>().group_norm_backward(again);
  for (index i = 0; i < dx.size(); ++i)
    EXPECT_EQ(dx.data()[i], r.dx.data()[i] + in.x[i]) << "in place, element " << i;
  EXPECT_EQ(dgamma.values(), r.dgamma.values());
  // The same, added in place.
  Guarded<T> sum(r.dx.size());
  std::copy(in.x.begin(), in.x.end(), sum.data());
  again.dy = in.dy.data(), again.dx = sum.data(), again.add = sum.data();
  table<T>().group_norm_backward(again);
  EXPECT_EQ(sum.values(), dx.values());
  return r;
}

TEST(GroupNormKernel, MatchesTheDefinition) {
  for_every_isa([]<class T>() {
    for (const GroupNorm& s : norm_shapes()) {
      if (s.hw * s.c / s.groups < 2) continue;  // x - mean = 0: nothing to compare
      SCOPED_TRACE(describe(s));
      const NormCase<T> in(s);
      NormResult<T> got = run(s, in);
      expect_close(s, got, reference_of(s, in), 6);
    }
  });
}

TEST(GroupNormKernel, LargeMeanSmallDeviation) {
  for_every_isa([]<class T>() {
    const GroupNorm s{2, 784, 32, 8, 1e-5, true};
    NormCase<T> in(s, 1000);
    NormResult<double> expected = reference_of(s, in);
    NormResult<T> got = run(s, in);
    // x itself carries a relative error of 1e-7 * 1000; the reference starts from the rounded x.
    EXPECT_LT(distance(got.y.data(), expected.y.values()), by_type<T>(1e-4, 1e-11));
    EXPECT_LT(distance(got.rstd.data(), expected.rstd.values()), by_type<T>(1e-5, 1e-12));
  });
}

TEST(GroupNormKernel, ConstantImage) {
  for_every_isa([]<class T>() {
    const GroupNorm s{2, 49, 16, 4, 1e-5, false};
    NormCase<T> in(s);
    for (T& x : in.x) x = 5;
    NormResult<T> got = run(s, in);
    for (index i = 0; i < got.y.size(); ++i)
      ASSERT_NEAR(static_cast<double>(got.y.data()[i]), static_cast<double>(in.beta[i % s.c]),
                  1e-3);
  });
}

TEST(GroupNormKernel, SameBitsOnAnyNumberOfThreads) {
  for_every_isa([]<class T>() {
    for (const GroupNorm& s :
         {GroupNorm{1, 196, 96, 8, 1e-5, true}, GroupNorm{70, 49, 33, 3, 1e-5, true}}) {
      const NormCase<T> in(s);
      expect_same_on_any_threads([&] {
        NormResult<T> r = run(s, in);
        std::vector<T> all;
        append(all, r.y), append(all, r.dx), append(all, r.dgamma), append(all, r.dbeta);
        return all;
      });
    }
  });
}

}  // namespace
}  // namespace sfumato::kernels::testing
