// Tensors on the device: the same elements as on the CPU, and no way to read them there by mistake.
#include <cmath>
#include <cstring>
#include <limits>

#include "tensor/arithmetic.h"
#include "tensor/backend.h"
#include "tensor/index_check.h"
#include "tensor/rng.h"
#include "tests/cuda/device_test.h"

namespace sfumato {
namespace {

class DeviceTensor : public DeviceTest {};

TEST_F(DeviceTensor, TravelsThereAndBack) {
  for (const std::int64_t n :
       {0, 1, 64, 65, 100000}) {  // up to 256 bytes travel as a kernel's arguments
    const Tensor x = Rng(1, Purpose::test).normal({n});
    const Tensor there = x.to(Device::cuda);
    EXPECT_EQ(there.device(), Device::cuda);
    expect_same_bits(there.clone(), x);
    expect_same_bits(there.reshape({n, 1}).slice(n / 2, n), x.reshape({n, 1}).slice(n / 2, n));
  }
  EXPECT_EQ(Tensor::full({1}, 0.5, kGpu).item(), 0.5);
}

TEST_F(DeviceTensor, ElementsAreReadOnTheCpuOnly) {
  Tensor x({3}, kGpu);
  const std::string way_out = "its elements are on cuda:0: .to(Device::cpu) brings them here";
  expect_error([&] { x.values<float>(); }, way_out);
  expect_error([&] { x.raw(); }, way_out);
  expect_error([&] { add(x, Tensor({3})); }, "second input is f32, expected f32 on cuda:0");
}

TEST_F(DeviceTensor, FillsConvertsAndPermutesAsTheCpu) {
  const DType all[] = {DType::f32, DType::f64, DType::i64, DType::u8, DType::bf16};
  const Tensor numbers = Rng(1, Purpose::test).randint({2, 3, 4, 5}, 200);
  for (const DType from : all) {
    expect_same_bits(Tensor::full({70}, 3, {from, Device::cuda}), Tensor::full({70}, 3, from));
    const Tensor x = numbers.to(from);
    expect_same_bits(permute(x.to(Device::cuda), {2, 0, 3, 1}), permute(x, {2, 0, 3, 1}));
    for (const DType to : all) expect_same_bits(x.to(Device::cuda).to(to), x.to(to));
  }
  expect_same_bits(permute(Tensor::full({}, 2, kGpu), {}), Tensor::full({}, 2));
}

TEST_F(DeviceTensor, ConversionToIntegersSaturates) {
  const Tensor x = Tensor::from<float>({5}, {-3, 300, 1e30F, -1e30F, NAN}).to(Device::cuda);
  const Tensor u = x.to(DType::u8).to(Device::cpu), i = x.to(DType::i64).to(Device::cpu);
  const std::int64_t high = std::numeric_limits<std::int64_t>::max(),
                     low = std::numeric_limits<std::int64_t>::min();
  expect_same_bits(u, Tensor::from<std::uint8_t>({5}, {0, 255, 255, 0, 0}));
  expect_same_bits(i, Tensor::from<std::int64_t>({5}, {-3, 300, high, low, 0}));
}

TEST_F(DeviceTensor, ArithmeticIsTheCpus) {
  const Tensor a = Rng(1, Purpose::test).normal({3, 1, 40}),
               b = Rng(2, Purpose::test).normal({5, 1});
  const Tensor x = a.to(Device::cuda), y = b.to(Device::cuda);
  expect_same_bits(add(x, y), add(a, b));
  expect_same_bits(add(y, x), add(b, a));
  expect_same_bits(add(x, x), add(a, a));
  expect_same_bits(scale(x, 0.3), scale(a, 0.3));
  expect_close(reduce_to(add(x, y), {5, 1}), reduce_to(add(a, b), {5, 1}), 1e-6);
  expect_close(reduce_to(add(x, y), {3, 1, 40}), reduce_to(add(a, b), {3, 1, 40}), 1e-6);
  for (const std::int64_t n : {0, 1, 1000, 8192, 8193, 100003}) {
    const Tensor many = Rng(3, Purpose::test).normal({n});
    EXPECT_NEAR(sum(many.to(Device::cuda)).item(), sum(many).item(),
                1e-12 * static_cast<double>(n));
    EXPECT_NEAR(sum_of_squares(many.to(Device::cuda)).item(), sum_of_squares(many).item(),
                1e-12 * static_cast<double>(n));
  }
}

TEST_F(DeviceTensor, RandomNumbersAreTheCpusBits) {
  for (const std::int64_t n : {1, 5, 4096, 100003}) {
    Rng here(42, Purpose::noise, 7), there(42, Purpose::noise, 7, Device::cuda);
    for (int draw = 0; draw < 2; ++draw) {
      expect_same_bits(there.normal({n}), here.normal({n}));
      expect_same_bits(there.uniform({n}), here.uniform({n}));
      expect_same_bits(there.randint({n}, 1000), here.randint({n}, 1000));
    }
  }
  const Tensor index = Tensor::full({}, 7, {DType::i64, Device::cuda});
  expect_same_bits(Rng(42, Purpose::noise, index).normal({9}),
                   Rng(42, Purpose::noise, 7).normal({9}));
  expect_same_bits(Rng(42, Purpose::dropout, index, 5, 12).normal({9}),
                   Rng(42, Purpose::dropout, 7 << 12 | 5).normal({9}));
}

TEST_F(DeviceTensor, NormalRowsAreTheirStreamsStarts) {
  for (const Device device : {Device::cpu, Device::cuda}) {
    const Tensor rows =
        normal_rows(42, Purpose::sample_step, 7, 1000, {3, 5, 2}, {DType::f64, device});
    for (std::int64_t n = 0; n < 3; ++n)
      expect_same_bits(rows.slice(n, n + 1),
                       Rng(42, Purpose::sample_step, 7 + 1000 * n).normal({1, 5, 2}, DType::f64));
  }
}

TEST_F(DeviceTensor, IndexOutOfRangeIsThrownAtTheNextWait) {
  const Tensor good = Tensor::from<std::int64_t>({3}, {0, 9, 4});
  const Tensor bad = Tensor::from<std::int64_t>({4}, {1, 12, -1, 3});
  const std::string sentence = "[embedding] index 12 is not in 0..9";
  expect_error([&] { expect_indices("embedding", "index", bad, 10); }, sentence);
  expect_indices("embedding", "index", good.to(Device::cuda), 10);
  synchronize(Device::cuda);
  expect_indices("embedding", "index", bad.to(Device::cuda), 10);
  expect_indices("embedding", "index", Tensor::full({1}, 77, {DType::i64, Device::cuda}), 10);
  expect_error([&] { synchronize(Device::cuda); }, sentence);
  synchronize(Device::cuda);  // once
}

TEST(DeviceName, IsCheckedAndSaysWhy) {
  EXPECT_EQ(use_device("cpu"), Device::cpu);
  expect_error([] { use_device("gpu"); }, "expected cpu, cuda, cuda:N or auto, got 'gpu'");
  expect_error([] { use_device("cuda:"); }, "expected cpu, cuda");
  expect_error([] { use_device("cuda:-1"); }, "expected cpu, cuda");
}

#if defined(SFUMATO_CUDA_EMULATED)
TEST_F(DeviceTensor, ExhaustedMemorySaysWhatHelps) {
  expect_error([] { Tensor({std::int64_t{1} << 40}, kGpu); },
               "[cuda:0] no 4398046511104 bytes left (68.");
  expect_error([] { Tensor({std::int64_t{1} << 40}, kGpu); },
               "GB free): try a smaller --batch, --recompute or --precision bf16");
}
#endif

}  // namespace
}  // namespace sfumato
