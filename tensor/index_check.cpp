#include "tensor/index_check.h"

#include "tensor/backend.h"

namespace sfumato {

std::string IndexFault::message() const {
  return std::string(what) + " " + std::to_string(value) + " is not in 0.." +
         std::to_string(end - 1);
}

void expect_indices(const char* op, const char* what, const Tensor& indices, std::int64_t end) {
  expect_dtype(op, what, indices, DType::i64);
  if (indices.device() != Device::cpu)
    return backend(indices.device())
        .check_indices(indices.size(), indices.data<std::int64_t>(), {op, what, 0, end});
  for (const std::int64_t value : indices.values<std::int64_t>())
    if (value < 0 || value >= end) throw Error(op, IndexFault{op, what, value, end}.message());
}

}  // namespace sfumato
