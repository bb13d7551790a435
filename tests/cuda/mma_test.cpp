// Tensor cores: what the lanes of a warp hold, and how often the tiles' rows meet in the same banks.
#include "cuda/mma.h"

#include <vector>

#include "cuda/conv.h"
#include "cuda/launch.h"
#include "cuda/mma_tile.h"
#include "tests/cuda/attention_run.h"
#include "tests/kernels/conv_cases.h"

namespace sfumato::cuda {
namespace {

using kernels::testing::distance;
using kernels::testing::numbers;
using kernels::testing::OnDevice;

class TensorCores : public DeviceTest {};

// One warp: d [16, 8] = a b of a [16, terms] and b [terms, 8], both in shared memory as rows of 16 bytes; S is bf16 and terms
// are 16, or it is float and they are 8. `transposed`: from rows of terms.
template <class S>
struct OneProduct {
  static constexpr int kThreads = 32, kTerms = 32 / sizeof(S);
  struct Shared {
    Chunk a[32], b[32];
  };
  bool transposed;
  const float *a, *b;
  float* d;

  __device__ void operator()() const {
    Shared& s = shared<Shared>();
    const unsigned lane = threadIdx.x;
    // Lane l is for row l % 8 of matrix l / 8: a's in the order (above, first terms), (below, first terms), (above, last
    // terms), (below, last terms); b's the first terms, the last terms, and both once more.
    s.a[lane] = row(a, lane / 8 % 2 * 8, 16, lane / 16, lane % 8, true);
    s.b[lane] = row(b, 0, 8, lane / 8 % 2, lane % 8, false);
    __syncthreads();
    std::uint32_t of_a[4], of_b[4];
    if (transposed) {
      load_transposed(of_a, &s.a[lane]), load_transposed(of_b, &s.b[lane]);
    } else {
      load_matrices(of_a, &s.a[lane]), load_matrices(of_b, &s.b[lane]);
    }
    if (sizeof(S) == 4)
      for (unsigned i = 0; i < 4; ++i) {
        of_a[i] = tf32_of(std::bit_cast<float>(of_a[i]));
        of_b[i] = tf32_of(std::bit_cast<float>(of_b[i]));
      }
    float sums[4] = {1, 1, 1, 1};
    multiply_add(S(), sums, of_a, of_b[2], of_b[3]);
    for (unsigned i = 0; i < 4; ++i) d[(lane / 4 + i / 2 * 8) * 8 + lane % 4 * 2 + i % 2] = sums[i];
  }

  // Row i of the matrix of eight rows (or columns) from `first` on by a half of the terms.
  __device__ Chunk row(const float* m, unsigned first, unsigned rows, unsigned half, unsigned i,
                       bool is_a) const {
    constexpr unsigned kOf = 16 / sizeof(S);
    struct {
      S of[kOf];
    } numbers;
    for (unsigned e = 0; e < kOf; ++e) {
      const unsigned outer = first + (transposed ? e : i), term = half * kOf + (transposed ? i : e);
      numbers.of[e] = S(is_a ? m[outer * kTerms + term] : m[term * rows + outer]);
    }
    return std::bit_cast<Chunk>(numbers);
  }
};

template <class S>
void expect_product(bool transposed, double most) {
  constexpr int kTerms = OneProduct<S>::kTerms;
  const std::vector<float> a = numbers<float>(16 * kTerms, 1), b = numbers<float>(kTerms * 8, 2);
  const OnDevice<float> on_a(a), on_b(b), d(16 * 8);
  launch({1}, OneProduct<S>{transposed, on_a.data(), on_b.data(), d.data()});
  std::vector<double> exact(16 * 8, 1);
  for (std::size_t i = 0; i < 16; ++i)
    for (std::size_t j = 0; j < 8; ++j)
      for (std::size_t k = 0; k < kTerms; ++k)
        exact[i * 8 + j] +=
            static_cast<double>(a[i * kTerms + k]) * static_cast<double>(b[k * 8 + j]);
  EXPECT_LT(distance(d.values().data(), exact), most);
}

TEST_F(TensorCores, MultiplyWhatTheLanesHold) {
  expect_product<bf16>(false, 4e-3);
  expect_product<bf16>(true, 4e-3);
  expect_product<float>(false, 5e-4);
}

#if !defined(__CUDACC__)
TEST_F(TensorCores, RoundToTheNearest) {
  EXPECT_EQ(std::bit_cast<float>(tf32_of(1 + 0x1p-10f)), 1 + 0x1p-10f);
  EXPECT_EQ(std::bit_cast<float>(tf32_of(1 + 0x1p-11f)), 1 + 0x1p-10f);
  EXPECT_EQ(std::bit_cast<float>(tf32_of(-1 - 0x1p-11f)), -1 - 0x1p-10f);
  EXPECT_EQ(std::bit_cast<float>(tf32_of(1 + 0x1p-12f)), 1);
}

// Copies of 32 chunks from `from` on, `times` of them before it waits.
struct Copies {
  static constexpr int kThreads = 32;
  struct Shared {
    Chunk chunks[32];
  };
  const float* from;
  int times;
  __device__ void operator()() const {
    for (int i = 0; i < times; ++i)
      copy_chunk(&shared<Shared>().chunks[threadIdx.x], from + 4 * threadIdx.x);
    commit_copies();
    wait_for_copies<0>();
  }
};

TEST_F(TensorCores, EmulatorThrowsForCopiesThatCannotBe) {
  const OnDevice<float> x(32 * 4 + 1);
  launch({1}, Copies{x.data(), 128});
  synchronize(Device::cuda);
  launch({1}, Copies{x.data() + 1, 1});
  expect_error([] { synchronize(Device::cuda); }, "an address that is no multiple of 16");
  launch({1}, Copies{x.data(), 129});
  expect_error([] { synchronize(Device::cuda); }, "begun more copies than it waits for");
}

// One convolution forward and backward.
template <class T>
void convolve(const kernels::Conv& s) {
  const OnDevice<T> x(numbers<T>(s.n * s.h * s.w * s.c, 1)), w(numbers<T>(s.k * s.c * 9, 2));
  const OnDevice<T> y(s.n * s.oh * s.ow * s.k), dx(x.size());
  const OnDevice<float> dw(w.size());
  conv_forward<T>(s, {.x = x.data()}, w.data(), {.y = y.data()}, nullptr);
  conv_backward<T>(s, {.x = x.data()}, y.data(), w.data(), {.dx = dx.data(), .dw = dw.data()});
  synchronize(Device::cuda);
}

template <class T>
void attend(const kernels::Attention& s) {
  kernels::testing::attend(s, kernels::testing::AttentionCase<T>(s));
  synchronize(Device::cuda);
}

TEST_F(TensorCores, RowsNeverMeetInTheSameBanks) {
  const emulator::Counts before = emulator::counts();
  for (const kernels::index channels : {16, 32, 64, 96}) {
    const kernels::Conv s = kernels::testing::square(2, 8, channels, channels, 3, 1);
    convolve<bf16>(s);
    allow_tf32(Device::cuda, true);
    convolve<float>(s);
    allow_tf32(Device::cuda, false);
  }
  for (const kernels::index d : {8, 32, 64, 96}) {
    const kernels::Attention s = kernels::testing::sizes(1, 40, 70, 2, d, 0.2);
    attend<bf16>(s);
    attend<float>(s);
    allow_tf32(Device::cuda, true);
    attend<float>(s);
    allow_tf32(Device::cuda, false);
  }
  const emulator::Counts after = emulator::counts();
  EXPECT_GT(after.products - before.products, 10000u);
  EXPECT_GT(after.shared_accesses - before.shared_accesses, 10000u);
  EXPECT_EQ(after.conflicts, before.conflicts);
}

// Nothing is multiplied in vain where channels fill the tiles, and pixels and taps the warps' parts of them.
TEST_F(TensorCores, ProductsOfAConvolution) {
  const kernels::Conv s = kernels::testing::square(2, 16, 64, 64, 3, 1);
  const emulator::Counts before = emulator::counts();
  convolve<bf16>(s);
  const std::uint64_t of_each = 2 * 16 * 16 * 64 * 64 * 9 / (16 * 8 * 16);
  EXPECT_EQ(emulator::counts().products - before.products, 3 * of_each);
}
#endif

}  // namespace
}  // namespace sfumato::cuda
