// Whether indices are in range, on any device.
#pragma once
#include "tensor/tensor.h"

namespace sfumato {

// Throws Error unless every element of `indices` (i64) is in [0, end): "[embedding] index 12 is not in 0..9". On the CPU
// at once. On a GPU nobody waits: the first of them that is out of range is noted, and whoever waits next for the device
// (Tensor::item, to(Device::cpu), synchronize) throws it. So a function that uses the indices there must bring them into
// range itself (bound_index). `op` and `what` are texts that are never freed.
void expect_indices(const char* op, const char* what, const Tensor& indices, std::int64_t end);

// The nearest index in [0, end).
constexpr std::int64_t bound_index(std::int64_t i, std::int64_t end) {
  return i < 0 ? 0 : i < end ? i : end - 1;
}

}  // namespace sfumato
