#include "tests/cuda/kernel_test.h"
#include "tests/kernels/pointwise_cases.h"

namespace sfumato::kernels::testing {
namespace {

class DevicePointwise : public DeviceTest {};

struct Gpu {
  template <class T>
  using Input = OnDevice<T>;
  template <class T>
  using Output = OnDevice<T>;
  template <class T>
  static const Kernels<T>& kernels() {
    return gpu<T>();
  }
};

TEST_F(DevicePointwise, Silu) {
  for_every_type([]<class T>() {
    for (const index n : {1, 33, 40001}) expect_activation<SiluRows, Gpu, T>(n);
  });
}

TEST_F(DevicePointwise, SiluOfExtremeInputs) {
  for_every_type([]<class T>() { expect_activation_of_extreme_inputs<SiluRows, Gpu, T>(); });
}

TEST_F(DevicePointwise, GeluTanh) {
  for_every_type([]<class T>() {
    for (const index n : {1, 33, 40001}) expect_activation<GeluTanhRows, Gpu, T>(n);
  });
}

TEST_F(DevicePointwise, GeluTanhOfExtremeInputs) {
  for_every_type([]<class T>() { expect_activation_of_extreme_inputs<GeluTanhRows, Gpu, T>(); });
}

TEST_F(DevicePointwise, Softmax) {
  for_every_type([]<class T>() {
    for (const index cols : {1, 2, 17, 33, 100, 40001}) expect_softmax<Gpu, T>(cols);
  });
}

TEST_F(DevicePointwise, SoftmaxMaskedAndNan) {
  for_every_type([]<class T>() { expect_softmax_masked_and_nan<Gpu, T>(); });
}

TEST_F(DevicePointwise, SumRows) {
  for_every_type([]<class T>() {
    for (const index outer : {1, 3})
      for (const index cols : {1, 3, 32, 33, 70})
        for (const index rows : {0, 1, 31, 512, 513, 5000})
          expect_sum_rows<Gpu, T>(outer, rows, cols);
  });
}

TEST_F(DevicePointwise, Sums) {
  for_every_type([]<class T>() {
    for (const index n : {0, 1, 100, 8192, 100'003}) expect_sums<Gpu, T>(n);
  });
}

TEST_F(DevicePointwise, CopyColumns) {
  for_every_type([]<class T>() {
    for (const index count : {1, 3, 40})
      for (const index cols : {1, 5, 200}) expect_copy_columns<Gpu, T>(cols, count);
  });
}

}  // namespace
}  // namespace sfumato::kernels::testing
