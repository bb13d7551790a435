// What the tests of the device share.
#pragma once
#include <gtest/gtest.h>

#include <cmath>
#include <cstdlib>
#include <cstring>
#include <string>

#include "tensor/device.h"
#include "tensor/error.h"
#include "tensor/tensor.h"
#if defined(SFUMATO_CUDA_EMULATED)
#include "cuda/emulator/simt.h"
#endif

namespace sfumato {

inline const Kind kGpu{DType::f32, Device::cuda};

// Takes the GPU; without one its tests are skipped. SFUMATO_EMULATOR_ORDER=1, 2, ... makes the emulated blocks, and the
// threads of a block, run in another order.
class DeviceTest : public ::testing::Test {
 protected:
  void SetUp() override {
    try {
      use_device("cuda");
    } catch (const Error& e) {
      GTEST_SKIP() << e.what();
    }
#if defined(SFUMATO_CUDA_EMULATED)
    const char* order = std::getenv("SFUMATO_EMULATOR_ORDER");
    cuda::emulator::set_order(order ? std::strtoull(order, nullptr, 10) : 0);
#endif
  }
};

// f() throws an Error whose message contains `text`.
template <class F>
void expect_error(F&& f, const std::string& text) {
  try {
    f();
    ADD_FAILURE() << "nothing was thrown, expected: " << text;
  } catch (const Error& e) {
    EXPECT_NE(std::string(e.what()).find(text), std::string::npos) << e.what();
  }
}

// The same shape, dtype and bytes, on any devices.
inline void expect_same_bits(const Tensor& a, const Tensor& b) {
  ASSERT_EQ(a.shape().str(), b.shape().str());
  ASSERT_EQ(a.dtype(), b.dtype());
  const Tensor x = a.to(Device::cpu), y = b.to(Device::cpu);
  EXPECT_TRUE(x.bytes() == 0 || std::memcmp(x.raw(), y.raw(), x.bytes()) == 0);
}

// |got - expected| <= tolerance |expected| as vectors; NaN is never close.
inline void expect_close(const Tensor& got, const Tensor& expected, double tolerance) {
  ASSERT_EQ(got.shape().str(), expected.shape().str());
  const Tensor x = got.to(Device::cpu).to(DType::f64), y = expected.to(Device::cpu).to(DType::f64);
  double difference = 0, norm = 0;
  for (std::int64_t i = 0; i < x.size(); ++i) {
    difference += std::pow(x.data<double>()[i] - y.data<double>()[i], 2);
    norm += std::pow(y.data<double>()[i], 2);
  }
  EXPECT_TRUE(std::sqrt(difference) <= tolerance * std::sqrt(norm)) << std::sqrt(difference / norm);
}

}  // namespace sfumato
