// A variational autoencoder (Kingma & Welling 2014) made of the U-Net's parts: its way down, a random code where the
// U-Net has its middle, its way up. There are no skips: all that the decoder knows of a picture is the code z.
#pragma once
#include <cstdint>
#include <optional>
#include <vector>

#include "nn/layers.h"
#include "nn/params.h"
#include "tensor/rng.h"

namespace sfumato::nn {

struct VaeConfig {
  std::int64_t channels = 1, height = 16,
               width = 16;  // of the pictures; both multiples of size_multiple()
  std::vector<std::int64_t> block_out_channels = {16, 32, 32};  // of the levels, outermost first
  std::int64_t layers_per_block = 2, norm_num_groups = 8;
  std::int64_t code = 16;    // numbers in z
  std::int64_t classes = 0;  // 0: without labels
  // Throws Error naming the field unless the network can be built.
  void check() const;
  std::int64_t size_multiple() const { return std::int64_t{1} << (block_out_channels.size() - 1); }
};

class Vae {
 public:
  // Throws Error unless config.check() passes.
  Vae(const Scope& scope, const VaeConfig& config);

  // q(z | x) = N(mean, e^{log_variance} I), each [N, code].
  struct Code {
    Var mean, log_variance;
  };
  // p(x | z): for each pixel a logistic distribution in 256 bins (nn/likelihood.h), each [N,H,W,C].
  struct Pixels {
    Var mean, log_scale;
  };
  // x [N,H,W,C] in [−1, 1]; labels i64 [N], undefined without classes.
  Code encode(const Var& x, const Tensor& labels) const;
  Pixels decode(const Var& z, const Tensor& labels) const;

  const VaeConfig& config() const { return config_; }

 private:
  struct Level {
    std::vector<ResnetBlock> resnets;
    std::optional<Downsample> down;
    std::optional<Upsample> up;
  };
  ResnetBlock resnet(const Scope& scope, std::int64_t in, std::int64_t out) const;
  // What each block is told besides its input: the label's embedding; zeros without labels.
  Vars condition(const JoinedLinear& projections, const Tensor& labels, std::int64_t n,
                 DType dtype) const;

  VaeConfig config_;
  std::int64_t inner_height_, inner_width_;
  std::optional<Embedding> class_table_;
  Conv2d conv_in_;
  std::vector<Level> down_;
  Linear to_code_;  // mean and log variance
  Linear from_code_;
  std::vector<Level> up_;
  std::optional<JoinedLinear> down_projections_, up_projections_;  // of the blocks, in their order
  GroupNorm norm_out_;
  Conv2d conv_out_;  // mean and log scale
};

// The bound on −log p(x), in nats a picture, averaged over the batch (Kingma & Welling 2014, eq. 3):
//     −log p(x) ≤ E_q(z|x)[−log p(x | z)] + KL(q(z | x) ‖ N(0, I)),
//     KL = ½ Σ (μ² + e^{log σ²} − 1 − log σ²)     (appendix B).
struct Bound {
  Var distortion, rate;  // the two terms, each []
  Var total() const;     // []
  // In bits for each of the numbers of a picture.
  static double bits_per_dim(double nats, const Shape& pictures);
};
// One z for each picture: z = μ + σ ε, ε ~ N(0, I), so that gradients reach μ and σ (the reparametrisation trick,
// section 2.4). x as for encode.
Bound bound(const Vae& vae, const Tensor& x, const Tensor& labels, Rng rng);

}  // namespace sfumato::nn
