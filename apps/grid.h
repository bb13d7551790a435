// Pictures of many pictures.
#pragma once
#include <string>
#include <vector>

#include "tensor/tensor.h"

namespace sfumato::apps {

struct GridOptions {
  std::int64_t columns = 8;
  std::vector<std::string> headers = {};  // one a column, written above it; none: no header row
  std::int64_t zoom = 0;                  // 0: so that a picture is at most 64 pixels large
};

// The shape of make_grid's result for images of this shape [N,H,W,C].
Shape grid_shape(const Shape& images, const GridOptions& options);

// images u8 [N,H,W,C] -> u8 [height, width, C]: row by row, small pictures enlarged by a whole
// factor.
Tensor make_grid(const Tensor& images, const GridOptions& options);

}  // namespace sfumato::apps
