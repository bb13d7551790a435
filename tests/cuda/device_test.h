// What the tests of the device share.
#pragma once
#include <gtest/gtest.h>

#include <cstdlib>
#include <string>

#include "tensor/device.h"
#include "tensor/error.h"
#if defined(SFUMATO_CUDA_EMULATED)
#include "cuda/emulator/simt.h"
#endif

namespace sfumato {

// Takes the GPU; without one its tests are skipped. SFUMATO_EMULATOR_ORDER=1, 2, ... makes the emulated threads of a
// block take turns in another order.
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

}  // namespace sfumato
