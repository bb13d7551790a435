// `evaluate --pairs`: the drawn pictures that are nearest to a training picture, above these.
#pragma once
#include <cstdint>
#include <string>
#include <vector>

#include "tensor/tensor.h"

namespace sfumato::apps {

class ClosestPairs {
 public:
  static constexpr std::int64_t kColumns = 10;

  // Does nothing where `file` is "". Throws Error for a name that is not that of a PNG file, or a file that cannot be written.
  ClosestPairs(std::string file, Tensor training);

  // Two rows of a set, u8 [N,H,W,C]: the nearest pictures, from the left, and their training pictures.
  void add(const Tensor& pictures);
  void write() const;

 private:
  std::string file_;
  Tensor training_;
  std::vector<Tensor> rows_;
};

}  // namespace sfumato::apps
