#include "tests/cuda/kernel_test.h"
#include "tests/kernels/norm_cases.h"

namespace sfumato::kernels::testing {
namespace {

class DeviceGroupNorm : public DeviceTest {};

template <class T>
NormResult<T, OnDevice> run(const GroupNorm& s, const NormCase<T>& in) {
  const NormCase<T, OnDevice> there(in);
  NormResult<T, OnDevice> r(s);
  gpu<T>().group_norm_forward(forward_of<T>(s, there, r));
  gpu<T>().group_norm_backward(backward_of<T>(s, there, r));
  return r;
}

TEST_F(DeviceGroupNorm, MatchesTheDefinition) {
  for_every_type_and_bf16([]<class T>() {
    for (const GroupNorm& s : norm_shapes()) {
      // The emulator is slow: each shape with SiLU or without, not both.
      if (s.silu != ((s.n + s.hw + s.c) % 2 == 0)) continue;
      if (s.hw * s.c / s.groups < 2) continue;  // x - mean = 0: nothing to compare
      if (s.n > 100) continue;                  // too slow for the emulator; InPlace has fewer rows
      SCOPED_TRACE(describe(s));
      const NormCase<T> in(s);
      const auto got = run(s, in);
      expect_close(s, got, reference_of(s, in), 6 * slack_of<T>());
    }
  });
}

// Bands of several groups, of chunks that do not part as groups do, and of more chunks than a block has threads.
TEST_F(DeviceGroupNorm, Bands) {
  for_every_type_and_bf16([]<class T>() {
    for (const GroupNorm& s :
         {GroupNorm{2, 300, 96, 32, 1e-5, true}, GroupNorm{2, 20, 144, 16, 1e-5, true},
          GroupNorm{1, 3, 2056, 8, 1e-5, false}, GroupNorm{2, 2, 2100, 1, 1e-5, true},
          GroupNorm{1, 2, 2049, 1, 1e-5, true}}) {
      SCOPED_TRACE(describe(s));
      const NormCase<T> in(s);
      const auto got = run(s, in);
      expect_close(s, got, reference_of(s, in), 6 * slack_of<T>());
    }
  });
}

// dx in the place of dy, and added to what is there.
TEST_F(DeviceGroupNorm, InPlace) {
  for_every_type([]<class T>() {
    for (const GroupNorm& s :
         {GroupNorm{3, 49, 48, 8, 1e-5, true}, GroupNorm{2, 5, 600, 2, 1e-5, false},
          GroupNorm{200, 1, 9, 1, 1e-5, false}}) {
      SCOPED_TRACE(describe(s));
      const NormCase<T> in(s);
      auto sum = reference_of(s, in).dx.values();
      for (std::size_t i = 0; i < sum.size(); ++i) sum[i] += in.x[i];
      const NormCase<T, OnDevice> there(in);
      NormResult<T, OnDevice> r(s);
      gpu<T>().group_norm_forward(forward_of<T>(s, there, r));
      GroupNormBackward<T> backward = backward_of<T>(s, there, r);
      r.dx.set(in.dy);
      backward.dy = r.dx.data(), backward.add = there.x.data();
      gpu<T>().group_norm_backward(backward);
      expect_close(r.dx, sum, "in the place of dy");
      r.dx.set(in.x);
      backward.dy = there.dy.data(), backward.add = r.dx.data();
      gpu<T>().group_norm_backward(backward);
      expect_close(r.dx, sum, "added in place");
    }
  });
}

TEST_F(DeviceGroupNorm, LargeMeanSmallDeviation) {
  for_every_type([]<class T>() {
    const GroupNorm s{2, 784, 32, 8, 1e-5, true};
    const NormCase<T> in(s, 1000);
    NormResult<double> expected = reference_of(s, in);
    const auto got = run(s, in);
    EXPECT_LT(distance(got.y.values().data(), expected.y.values()), by_type<T>(1e-4, 1e-11));
    EXPECT_LT(distance(got.rstd.values().data(), expected.rstd.values()), by_type<T>(1e-5, 1e-12));
  });
}

}  // namespace
}  // namespace sfumato::kernels::testing
