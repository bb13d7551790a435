#include "tensor/argmax.h"

#include <algorithm>

namespace sfumato {

std::vector<std::int64_t> argmax_of_rows(const Tensor& x) {
  std::vector<std::int64_t> columns;
  const float* row = x.data<float>();
  for (std::int64_t i = 0; i < x.dim(0); ++i, row += x.dim(1))
    columns.push_back(std::max_element(row, row + x.dim(1)) - row);
  return columns;
}

}  // namespace sfumato
