// The real pictures nearest to drawn ones: are they copies?
#pragma once
#include <cstdint>
#include <vector>

#include "tensor/tensor.h"

namespace sfumato::eval {

// The two nearest of a set to one picture.
struct Neighbours {
  std::int64_t first, second;  // rows of the set; second is −1 in a set of one
  double first_distance,
      second_distance;  // root mean square difference of the pixels, in [0, 2]; second may be infinite
  // Whether the nearest is much nearer than the next: less than a third of its distance. "Diffusion models memorise"
  // test of Yoon 2023 ("Diffusion probabilistic models generalize when they fail to memorize"), section 3.
  bool copied() const { return first_distance < second_distance / 3; }
};

// For each of `pictures` [N,H,W,C] among `set` [M,H,W,C], both u8 (compared as numbers in [−1, 1]) or f32. Of equal
// distances the lower row counts as nearer. Throws Error for other shapes.
std::vector<Neighbours> nearest(const Tensor& pictures, const Tensor& set);

}  // namespace sfumato::eval
