// `evaluate --likelihood`: bits/dim of test pictures, by the probability flow and by the variational bound.
#pragma once
#include <cstdint>
#include <optional>

#include "diffusion/bound.h"
#include "diffusion/data/dataset.h"
#include "diffusion/pipeline.h"

namespace sfumato::apps {

// For each number of a picture, averaged over the pictures.
struct BitsPerDim {
  std::int64_t pictures = 0;
  double flow = 0,
         flow_error = 0;  // diffusion/likelihood.h on dequantised pixels, and its standard error
  std::optional<diffusion::VariationalBound> bound = {};  // its terms; of DDPM's process alone
};
// The bound takes the timesteps 1..16, and of the others one in so many, which stands for its neighbours.
inline constexpr std::int64_t kBoundStride = 10;

// Of the first `count` pictures of `data`, or all that there are. The model is as it was, but for its gradients.
BitsPerDim bits_per_dim(const diffusion::Pipeline& model, const data::ImageDataset& data,
                        std::int64_t count, std::uint64_t seed);

}  // namespace sfumato::apps
