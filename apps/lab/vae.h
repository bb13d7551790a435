// The VAE that labs compare with.
#pragma once
#include <cstdint>
#include <vector>

#include "apps/lab/lab.h"
#include "diffusion/data/batches.h"
#include "nn/vae.h"

namespace sfumato::apps {

class LabVae {
 public:
  explicit LabVae(const LabSetting& setting);
  // On the bound per number of a picture, in nats.
  void train(const data::Batches& batches, std::int64_t steps);

  // The means of p(x | z), u8: for z ~ N(0, I), and for the codes of pictures x, f32 in [−1, 1].
  Tensor draw(const std::vector<std::int64_t>& labels) const;
  Tensor reconstruct(const Tensor& x, const Tensor& labels) const;

  // Floating-point operations of one picture: all of it, and the decoder alone.
  double flop() const, decoder_flop() const;
  std::int64_t parameters() const { return params_.count(); }
  const nn::Vae& network() const { return vae_; }

 private:
  std::uint64_t seed_;
  nn::Params params_;
  nn::Vae vae_;
};

}  // namespace sfumato::apps
