#include "cuda/conv.h"
#include "tests/cuda/kernel_test.h"
#include "tests/kernels/linear_cases.h"

namespace sfumato::kernels::testing {
namespace {

class DeviceLinear : public DeviceTest {
 protected:
  void TearDown() override { cuda::conv_path = cuda::ConvPath::automatic; }
};

TEST_F(DeviceLinear, MatchesTheDefinition) {
  for (const LinearCase& c : linear_cases()) {
    SCOPED_TRACE(describe(c));
    const auto exact = exact_linear(c);
    for_every_conv_path([&] {
      for_every_precision([&]<class T>() {
        LinearArrays<T, OnDevice, OnDevice> got(c);
        got.run(gpu<T>(), c);
        expect_close(got.y, exact.y, "y", slack_of<T>());
        expect_close(got.dx, exact.dx, "dx", slack_of<T>());
        expect_close(got.dx_alone, exact.dx_alone, "dx without summand", slack_of<T>());
        expect_close(got.dw, exact.dw, "dw", slack_of<T>());
        expect_close(got.db, exact.db, "db", slack_of<T>());
      });
    });
  }
}

}  // namespace
}  // namespace sfumato::kernels::testing
