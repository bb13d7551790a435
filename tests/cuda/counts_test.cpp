// What the emulator counts of loads and stores is what can be counted by hand. In a build of the preset cuda-counts.
#include "cuda/emulator/counts.h"

#include <gtest/gtest.h>

#include "tensor/arithmetic.h"
#include "tensor/backend.h"
#include "tests/cuda/device_test.h"

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

}  // namespace
}  // namespace sfumato::cuda::emulator
#endif
