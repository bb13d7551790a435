// Mini-batches of a labelled image set, shuffled anew for each epoch.
#pragma once
#include <cstdint>
#include <optional>

#include "diffusion/data/shuffle.h"
#include "tensor/tensor.h"

namespace sfumato::data {

struct Batch {
  Tensor x0;      // f32 [n,H,W,C] in [-1, 1]
  Tensor labels;  // i64 [n]; undefined without labels
};

// Batch number k is a function of (seed, k) alone: resuming at step k needs no other memory. Immutable; any thread may
// ask.
class Batches {
 public:
  // images u8 [N,H,W,C], labels i64 [N] or undefined. With a null label, each label is replaced by
  // it with probability `label_dropout`, so that one network learns both p(x | label) and p(x), as
  // classifier-free guidance needs (Ho & Salimans 2021, algorithm 1). `flip`: half of the pictures are mirrored, left to
  // right; which ones is a function of (seed, epoch, picture). Batches are made where the images are.
  Batches(Tensor images, Tensor labels, std::int64_t batch, std::uint64_t seed,
          std::optional<std::int64_t> null_label = {}, double label_dropout = 0, bool flip = false);
  // Throws Error for a negative number, or one that is too large.
  Batch at(std::int64_t k) const;
  // The same for a number that is a tensor, i64 [], on the images' device (and not checked): a recorded step
  // (tensor/recorded.h) takes another batch at each replay.
  Batch at(const Tensor& k) const;

 private:
  Tensor images_, labels_;
  std::int64_t batch_;
  std::uint64_t seed_;
  std::optional<std::int64_t> null_label_;
  double label_dropout_;
  bool flip_;
  Shuffle shuffle_;
};

// u8 0..255 -> f32 [-1, 1], and back (rounded, clipped).
Tensor to_signed(const Tensor& images);
Tensor to_bytes(const Tensor& x);

}  // namespace sfumato::data
