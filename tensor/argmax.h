#pragma once
#include <cstdint>
#include <vector>

#include "tensor/tensor.h"

namespace sfumato {

// The column of the largest element of each row of x [N, K], f32 on the CPU; of equal ones the first.
std::vector<std::int64_t> argmax_of_rows(const Tensor& x);

}  // namespace sfumato
