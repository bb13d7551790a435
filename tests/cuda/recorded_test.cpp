// Replays of a recorded step are the step, bit for bit.
#include "tensor/recorded.h"

#include "tensor/arithmetic.h"
#include "tensor/backend.h"
#include "tensor/rng.h"
#include "tests/cuda/device_test.h"

namespace sfumato {
namespace {

class RecordedTest : public DeviceTest {};

Tensor index(std::int64_t k) { return Tensor::full({}, static_cast<double>(k), DType::i64); }

// Least squares by gradient descent: w [16, 1], with new inputs at each step.
struct Learner {
  Tensor w = Tensor::zeros({16, 1}, kGpu);
  Tensor teacher = Rng(1, Purpose::test, 0, Device::cuda).normal({16, 1});

  static Tensor multiply(const Tensor& a, bool transpose_a, const Tensor& b) {
    const std::int64_t m = a.dim(transpose_a ? 1 : 0), k = a.dim(transpose_a ? 0 : 1), n = b.dim(1);
    Tensor c({m, n}, kGpu);
    kernels::on<float>(Device::cuda)
        .gemm({.m = m,
               .n = n,
               .k = k,
               .transpose_a = transpose_a,
               .a = a.data<float>(),
               .b = b.data<float>(),
               .c = c.data<float>()});
    return c;
  }

  // The loss at step in[0].
  std::vector<Tensor> operator()(std::span<const Tensor> in) {
    const Tensor x = Rng(2, Purpose::noise, in[0]).normal({32, 16});
    const Tensor difference = multiply(x, false, add(w, scale(teacher, -1)));
    add_scaled(w, multiply(x, true, difference), -0.01);
    return {sum_of_squares(difference)};
  }
};

TEST_F(RecordedTest, FortyReplaysAreFortySteps) {
  Learner eager, replayed;
  Recorded step(Device::cuda, [&](std::span<const Tensor> in) { return replayed(in); });
  double first = 0, last = 0;
  for (std::int64_t k = 0; k < 40; ++k) {
    const Tensor loss = step({index(k)})[0];
    const Tensor expected = eager(std::array{index(k).to(Device::cuda)})[0];
    expect_same_bits(loss, expected);
    (k == 0 ? first : last) = expected.item();
    const Tensor other =
        Rng(9, Purpose::test, 0, Device::cuda).normal({5000});  // in memory beside the record's
    EXPECT_GT(sum_of_squares(other).item(), 0);
  }
  expect_same_bits(replayed.w, eager.w);
  EXPECT_LT(last, 0.1 * first);
}

TEST_F(RecordedTest, TwoRecordsDoNotDisturbEachOther) {
  Learner a, b, expected;
  Recorded first(Device::cuda, [&](std::span<const Tensor> in) { return a(in); });
  Recorded second(Device::cuda, [&](std::span<const Tensor> in) { return b(in); });
  for (std::int64_t k = 0; k < 5; ++k) {
    const Tensor loss = expected(std::array{index(k).to(Device::cuda)})[0];
    expect_same_bits(first({index(k)})[0], loss);
    expect_same_bits(second({index(k)})[0], loss);
  }
}

TEST_F(RecordedTest, IsCalledTwiceAndThenReplayed) {
  int calls = 0;
  Recorded twice(Device::cuda, [&](std::span<const Tensor> in) {
    ++calls;
    return std::vector{scale(in[0], 2)};
  });
  for (int k = 0; k < 5; ++k) EXPECT_EQ(twice({Tensor::full({3}, k)})[0].slice(0, 1).item(), 2 * k);
  EXPECT_EQ(calls, 2);
  expect_error([&] { twice({Tensor({4})}); }, "source has shape [4], expected [3]");
  expect_error([&] { twice({}); }, "expected 1 inputs, got 0");
}

TEST_F(RecordedTest, OnTheCpuACallIsACall) {
  int calls = 0;
  Recorded f(Device::cpu, [&](std::span<const Tensor> in) {
    ++calls;
    return std::vector{scale(in[0], in[0].item())};
  });
  for (int k = 0; k < 3; ++k) EXPECT_EQ(f({Tensor::full({}, k)})[0].item(), k * k);
  EXPECT_EQ(calls, 3);
}

TEST_F(RecordedTest, ReadingInsideIsAnErrorAndTheNextCallPlansAgain) {
  bool reads = false;
  Recorded f(Device::cuda, [&](std::span<const Tensor> in) {
    if (reads) static_cast<void>(in[0].item());
    return std::vector{scale(in[0], 2)};
  });
  f({Tensor::full({}, 1)});
  reads = true;
  expect_error([&] { f({Tensor::full({}, 2)}); },
               "a recorded function may not wait for the device or read its numbers");
  reads = false;
  for (int k = 3; k < 6; ++k) EXPECT_EQ(f({Tensor::full({}, k)})[0].item(), 2 * k);
}

TEST_F(RecordedTest, OutputsOutliveIt) {
  Tensor y;
  {
    Recorded f(Device::cuda,
               [](std::span<const Tensor> in) { return std::vector{scale(in[0], 2)}; });
    for (int k = 0; k < 3; ++k) y = f({Tensor::full({7}, k)})[0];
  }
  expect_same_bits(y, Tensor::full({7}, 4));
}

}  // namespace
}  // namespace sfumato
