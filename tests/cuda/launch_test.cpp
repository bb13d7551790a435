// Kernels start, wait for one another and share memory; the emulator notices what is wrong with them.
#include "cuda/launch.h"

#include <gtest/gtest.h>

#include <cmath>
#include <cstring>
#include <vector>

#include "cuda/block.h"
#include "cuda/channels.h"
#include "cuda/for_each.h"
#include "cuda/memory.h"
#include "cuda/phases.h"
#include "tensor/backend.h"
#include "tests/cuda/device_test.h"

namespace sfumato::cuda {
namespace {

class LaunchTest : public DeviceTest {};

template <class T>
std::vector<T> read(const Scratch<T>& from, std::size_t n) {
  std::vector<T> to(n);
  backend(Device::cuda).copy(Device::cpu, to.data(), Device::cuda, from.get(), n * sizeof(T));
  return to;
}

struct Squares {
  float* to;
  constexpr void operator()(std::int64_t i) const { to[i] = static_cast<float>(i * i); }
};

TEST_F(LaunchTest, ForEachReachesEveryElement) {
  for (const std::int64_t n : {0, 1, 255, 256, 257, 10000}) {
    const Scratch<float> to(static_cast<std::size_t>(n));
    for_each(n, Squares{to.get()});
    const auto got = read(to, static_cast<std::size_t>(n));
    for (std::int64_t i = 0; i < n; ++i)
      ASSERT_EQ(got[static_cast<std::size_t>(i)], static_cast<float>(i * i));
  }
}

// Threads reverse what the block holds, through shared memory.
struct Reverse {
  static constexpr int kThreads = 128;
  struct Shared {
    float x[kThreads];
  };
  float* x;
  bool waits;
  __device__ void operator()() const {
    auto& room = shared<Shared>().x;
    const unsigned i = threadIdx.x;
    room[i] = x[blockIdx.x * kThreads + i];
    if (waits) __syncthreads();
    x[blockIdx.x * kThreads + i] = room[kThreads - 1 - i];
  }
};

TEST_F(LaunchTest, ThreadsShareMemoryAndWait) {
  const std::size_t n = 3 * 128;
  const Scratch<float> x(n);
  for_each(static_cast<std::int64_t>(n), Squares{x.get()});
  launch({3}, Reverse{x.get(), true});
  const auto got = read(x, n);
  for (std::size_t i = 0; i < n; ++i) {
    const std::size_t from = i / 128 * 128 + 127 - i % 128;
    EXPECT_EQ(got[i], static_cast<float>(from * from));
  }
}

struct SumOfLanes {
  static constexpr int kThreads = 96;
  struct Shared {
    float sums[3];
  };
  float* out;
  __device__ void operator()() const {
    const float sum = block_sum(shared<Shared>().sums, static_cast<float>(threadIdx.x));
    if (threadIdx.x == 95) *out = sum;
  }
};

TEST_F(LaunchTest, WarpsExchangeValues) {
  const Scratch<float> out(1);
  launch({1}, SumOfLanes{out.get()});
  EXPECT_EQ(read(out, 1)[0], 95 * 96 / 2);
}

// The second block copies what the first one writes.
struct Relay {
  static constexpr int kThreads = 32;
  struct Shared {
    Phases::Shared phases;
  };
  Phases phases;
  float *x, *out;
  bool waits;
  __device__ void operator()() const {
    Shared& s = shared<Shared>();
    if (phases.begin(s.phases) == 0) {
      if (threadIdx.x == 0) *x = 7;
      phases.count(0);
    } else {
      if (waits) phases.wait(0, 1);
      if (threadIdx.x == 0) *out = *x;
    }
    phases.end(s.phases);
  }
};

TEST_F(LaunchTest, BlocksWaitForOneAnother) {
  const Scratch<float> x(1), out(1);
  launch({2}, Relay{Phases(1), x.get(), out.get(), true});
  EXPECT_EQ(read(out, 1)[0], 7);
}

#if defined(SFUMATO_CUDA_EMULATED)

#if !defined(__SANITIZE_THREAD__)  // which would report the race
TEST_F(LaunchTest, EmulatorShowsAMissingWait) {
  emulator::set_order(0);
  const Scratch<float> x(1), out(1);
  launch({2}, Relay{Phases(1), x.get(), out.get(), false});
  EXPECT_TRUE(std::isnan(read(out, 1)[0]));
}

TEST_F(LaunchTest, EmulatorShowsAMissingBarrier) {
  emulator::set_order(0);
  const Scratch<float> x(128);
  for_each(128, Squares{x.get()});
  launch({1}, Reverse{x.get(), false});
  EXPECT_TRUE(std::isnan(read(x, 128)[0]));  // nobody had written what thread 0 read
}
#endif

struct TwoBarriers {
  static constexpr int kThreads = 64;
  struct Shared {};
  float* out;
  __device__ void operator()() const {
    // NOLINTNEXTLINE(bugprone-branch-clone): two barriers, though they look alike
    if (threadIdx.x < 32) {
      __syncthreads();
    } else {
      __syncthreads();
    }
  }
};
struct WaitsWithoutShared {
  static constexpr int kThreads = 32;
  float* out;
  __device__ void operator()() const { __syncthreads(); }
};

TEST_F(LaunchTest, EmulatorThrowsForWhatWouldHang) {
  const Scratch<float> out(1);
  launch({1}, TwoBarriers{out.get()});
  expect_error(synchronize, "threads of one block wait at two barriers");
  launch({1}, WaitsWithoutShared{out.get()});
  expect_error(synchronize, "a kernel without Shared waits");
}

struct Zeros {
  unsigned* to;
  constexpr void operator()(std::int64_t i) const { to[i] = 0; }
};
struct WaitsForABlock {
  static constexpr int kThreads = 32;
  struct Shared {};
  unsigned* counter;
  unsigned waiting, counting;
  __device__ void operator()() const {
    if (blockIdx.x == counting) emulator::add_after_writes(counter);
    if (blockIdx.x == waiting) emulator::wait_for(counter, 1);
  }
};

TEST_F(LaunchTest, EmulatorThrowsForAWaitThatMayNotEnd) {
  const Scratch<unsigned> counter(1);
  for_each(1, Zeros{counter.get()});
  launch({2}, WaitsForABlock{counter.get(), 1, 2});
  expect_error(synchronize, "block 1 waits until a counter that is 0 is 1: no block is left");
  launch({2}, WaitsForABlock{counter.get(), 0, 1});
  expect_error(synchronize, "block 0 waits for the later block 1");
  for_each(1, Zeros{counter.get()});
  launch({2}, WaitsForABlock{counter.get(), 1, 0});
  synchronize();
}

TEST_F(LaunchTest, EmulatorThrowsForAnAddressOfTheCpu) {
  if (!emulator::kChecksAddresses) GTEST_SKIP() << "the compiler cannot clear padding";
  float here = 0;
  expect_error([&] { for_each(1, Squares{&here}); },
               "a kernel was given an address of the CPU's memory (word 0");
}

// Half an address lies in the padding, the other half in the number beside it.
TEST_F(LaunchTest, EmulatorIgnoresWhatIsLeftInPadding) {
  struct Pairs {
    struct {
      std::int64_t a, b;
    } of[32];
    constexpr void operator()(unsigned, unsigned) const {}
  };
  using Kernel = ForEachOfRow<Pairs>;
  alignas(Kernel) unsigned char room[sizeof(Kernel)];
  const void* const here = room;
  for (std::size_t at = 0; at < sizeof room; at += sizeof here)
    std::memcpy(room + at, &here, sizeof here);
  Kernel& kernel = *reinterpret_cast<Kernel*>(room);
  kernel.f = {}, kernel.rows = 0;
  launch({1}, kernel);
  synchronize();
}

TEST_F(LaunchTest, DeviceMemoryIsOutOfTheCpusReach) {
  const Scratch<float> x(1);
  EXPECT_DEATH(*x.get() = 1, "");
}
#endif

}  // namespace
}  // namespace sfumato::cuda
