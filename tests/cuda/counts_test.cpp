// What the emulator counts of loads and stores is what can be counted by hand. In a build of the preset cuda-counts.
#include "cuda/emulator/counts.h"

#include <gtest/gtest.h>

#include "cuda/conv.h"
#include "tensor/arithmetic.h"
#include "tensor/backend.h"
#include "tests/cuda/attention_run.h"
#include "tests/kernels/conv_cases.h"

#if defined(SFUMATO_CUDA_EMULATED)
namespace sfumato::cuda::emulator {
namespace {

class CountsTest : public DeviceTest {
 protected:
  void SetUp() override {
    if (!kCountsAccesses) GTEST_SKIP() << "this build counts no loads and stores";
    DeviceTest::SetUp();
  }
};

// Of f's only launch.
template <class F>
Counts counts_of(const F& f) {
  synchronize(Device::cuda);
  take_launches();
  f();
  synchronize(Device::cuda);
  const std::vector<Launched> launches = take_launches();
  EXPECT_EQ(launches.size(), 1u);
  return launches.empty() ? Counts{} : launches[0].counts;
}

TEST_F(CountsTest, NumbersSideBySide) {
  const Tensor x = Tensor::full({1024}, 1.0, kGpu), y = Tensor::full({1024}, 2.0, kGpu);
  const Counts counts = counts_of([&] { add(x, y); });
  EXPECT_EQ(counts.lines, 3u * 1024 * 4 / 128);
  EXPECT_EQ(counts.missed, 3u * 1024 * 4 / 32);
  EXPECT_EQ(counts.touched, counts.missed);
  EXPECT_EQ(counts.shared_accesses, 0u);
}

// A thread writes a number and reads one from another row: a warp reads 32 lines, of which the next warp reads the rest.
TEST_F(CountsTest, NumbersOfRows) {
  const Tensor x = Tensor::full({32, 64}, 1.0, kGpu);
  const Counts counts = counts_of([&] { permute(x, {1, 0}); });
  EXPECT_EQ(counts.lines, 64u * 32 + 64u);
  EXPECT_EQ(counts.touched, 2u * 32 * 64 * 4 / 32);
}

// A normalised convolution and its gradients.
template <class T>
void convolve(const kernels::Conv& s, kernels::index groups) {
  using kernels::testing::numbers;
  using kernels::testing::OnDevice;
  const OnDevice<T> x(numbers<T>(s.n * s.h * s.w * s.c, 1)), w(numbers<T>(s.k * s.c * 9, 2));
  const OnDevice<Wide<T>> of_channels(numbers<Wide<T>>(s.c, 3));
  const OnDevice<T> y(s.n * s.oh * s.ow * s.k), dx(x.size());
  const OnDevice<Wide<T>> mean(s.n * groups), rstd(s.n * groups), dw(w.size()), db(s.k),
      dgamma(s.c), dbeta(s.c);
  kernels::ConvInput<T> in{.x = x.data()};
  in.groups = groups, in.silu = true, in.mean = mean.data(), in.rstd = rstd.data();
  in.gamma = in.beta = of_channels.data();
  conv_forward<T>(s, in, w.data(), {.y = y.data()}, nullptr);
  conv_backward<T>(s, in, y.data(), w.data(),
                   {.dx = dx.data(),
                    .dgamma = dgamma.data(),
                    .dbeta = dbeta.data(),
                    .dw = dw.data(),
                    .db = db.data()});
  synchronize(Device::cuda);
}

// f<T>() in bf16, f32 and TF32, none of whose launches may have conflicts.
template <class F>
void expect_no_conflicts(const F& f) {
  take_launches();
  f.template operator()<bf16>();
  f.template operator()<float>();
  allow_tf32(Device::cuda, true);
  f.template operator()<float>();
  allow_tf32(Device::cuda, false);
  std::uint64_t accesses = 0;
  for (const Launched& launch : take_launches()) {
    EXPECT_EQ(launch.counts.conflicts, 0u) << launch.size.kernel;
    accesses += launch.counts.shared_accesses;
  }
  EXPECT_GT(accesses, 5000u);
}

TEST_F(CountsTest, LanesOfConvolutionsNeverMeetInTheSameBanks) {
  for (const kernels::index channels : {16, 32, 160}) {
    for (const kernels::index of_group : {1, 8}) {
      SCOPED_TRACE(channels);
      SCOPED_TRACE(of_group);
      expect_no_conflicts([&]<class T>() {
        convolve<T>(kernels::testing::square(2, 12, channels, channels, 3, 1), channels / of_group);
      });
    }
  }
}

// Rows of threads that sum are not the same number for all lanes.
TEST_F(CountsTest, LanesOfNormsNeverMeetInTheSameBanks) {
  for (const kernels::index size : {5, 7, 14})
    expect_no_conflicts(
        [size]<class T>() { convolve<T>(kernels::testing::square(1, size, 48, 16, 3, 1), 8); });
}

TEST_F(CountsTest, LanesOfAttentionNeverMeetInTheSameBanks) {
  for (const kernels::index d : {8, 40, 128}) {
    SCOPED_TRACE(d);
    const kernels::Attention s = kernels::testing::sizes(1, 70, 40, 2, d, 0.2);
    expect_no_conflicts([&s]<class T>() {
      kernels::testing::attend(s, kernels::testing::AttentionCase<T>(s));
      synchronize(Device::cuda);
    });
  }
}

}  // namespace
}  // namespace sfumato::cuda::emulator
#endif
