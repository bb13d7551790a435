// What the tests of the device's kernels share: arrays in its memory. Cases and references are those of tests/kernels.
#pragma once
#include <memory>

#include "cuda/conv.h"
#include "cuda/gemm.h"
#include "tensor/backend.h"
#include "tests/cuda/device_test.h"
#include "tests/kernels/kernel_test.h"

namespace sfumato::kernels::testing {

// An array in the device's memory: a copy of numbers, or an output between two guard zones, NaN until written.
template <class T>
class OnDevice {
 public:
  explicit OnDevice(index count) : OnDevice(count, kGuard) {
    std::vector<T> all(static_cast<std::size_t>(count + 2 * kGuard), static_cast<T>(kMark));
    std::fill_n(all.begin() + kGuard, count, static_cast<T>(NAN));
    upload(all);
  }
  explicit OnDevice(const std::vector<T>& from) : OnDevice(std::ssize(from), 0) { upload(from); }
  template <class Iterator>
  OnDevice(Iterator begin, Iterator end) : OnDevice(std::vector<T>(begin, end)) {}

  T* data() const { return static_cast<T*>(block_.get()) + guard_; }
  index size() const { return size_; }
  void set(const std::vector<T>& to) {
    backend(Device::cuda).copy(Device::cuda, data(), Device::cpu, to.data(), to.size() * sizeof(T));
  }
  std::vector<T> values() const {
    std::vector<T> all(static_cast<std::size_t>(size_ + 2 * guard_));
    backend(Device::cuda)
        .copy(Device::cpu, all.data(), Device::cuda, block_.get(), all.size() * sizeof(T));
    for (index i = 0; i < guard_; ++i) {
      EXPECT_EQ(all[guard_ - 1 - i], kMark) << "written " << i + 1 << " before the array";
      EXPECT_EQ(all[guard_ + size_ + i], kMark) << "written " << i + 1 << " after its end";
    }
    return {all.begin() + guard_, all.begin() + guard_ + size_};
  }

 private:
  OnDevice(index size, index guard)
      : size_(size),
        guard_(guard),
        block_(
            backend(Device::cuda).allocate(static_cast<std::size_t>(size + 2 * guard) * sizeof(T)),
            [](void* p) { backend(Device::cuda).release(p); }) {}
  void upload(const std::vector<T>& all) {
    backend(Device::cuda)
        .copy(Device::cuda, block_.get(), Device::cpu, all.data(), all.size() * sizeof(T));
  }
  static constexpr index kGuard = 64;
  static constexpr float kMark = -12352;  // a number of every type
  index size_, guard_;
  std::shared_ptr<void> block_;
};

template <class T>
void expect_close(const OnDevice<T>& got, const std::vector<double>& expected, const char* what,
                  double slack = 1) {
  ASSERT_EQ(got.size(), std::ssize(expected));
  const double d = distance(got.values().data(), expected);
  EXPECT_TRUE((d < slack * by_type<T>(2e-6, 1e-14)))
      << what << ": relative distance " << d;  // false for NaN as well
}

// bf16 is less exact than float by this: 0.012 is enough where inputs are rounded, or sums cancel. TF32 by 500: 1e-3.
template <class T>
double slack_of() {
  return std::is_same_v<T, bf16>                            ? 6000
         : std::is_same_v<T, float> && cuda::tf32_allowed() ? 500
                                                            : 1;
}

// body.operator()<T>() for float and double, and for bf16 too. (The threads of a block meet in double where they do in float:
// the thread sanitizer sees float alone.)
template <class Body>
void for_every_type(const Body& body) {
  {
    SCOPED_TRACE("f32");
    body.template operator()<float>();
  }
  if (kThreadSanitizer) return;
  SCOPED_TRACE("f64");
  body.template operator()<double>();
}

template <class Body>
void for_every_type_and_bf16(const Body& body) {
  for_every_type(body);
  SCOPED_TRACE("bf16");
  body.template operator()<bf16>();
}

// body.operator()<float>() with products in TF32, and the three others. (To the thread sanitizer TF32 is bf16 once more.)
template <class Body>
void for_every_precision(const Body& body) {
  for_every_type_and_bf16(body);
  if (kThreadSanitizer) return;
  SCOPED_TRACE("TF32");
  allow_tf32(Device::cuda, true);
  body.template operator()<float>();
  allow_tf32(Device::cuda, false);
}

// body() by each of the ways in which a convolution is computed. (Threads of a block meet in tiles, and in what columns use as
// other kernels do: the thread sanitizer sees tiles alone.) Leaves cuda::conv_path at the last.
template <class Body>
void for_every_conv_path(const Body& body) {
  using cuda::ConvPath;
  for (const ConvPath path : {ConvPath::tiles, ConvPath::columns}) {
    if (kThreadSanitizer && path == ConvPath::columns) continue;
    SCOPED_TRACE(path == ConvPath::tiles ? "by tiles" : "by columns");
    cuda::conv_path = path;
    body();
  }
}

template <class T>
const Kernels<T>& gpu() {
  return on<T>(Device::cuda);
}

}  // namespace sfumato::kernels::testing
