// Rejection sampling by a classifier (Razavi et al. 2019, Generating Diverse High-Fidelity Images with VQ-VAE-2,
// section 3.3): a picture in which a classifier reads another class than its label is drawn again, with other noise.
//     const Read read = generate_read(model, {.labels = {7, 7, 7}}, classifier, {.tries = 4});
//     read.pictures, read.drawn_again, read.misread
// A judge of such pictures has to be another classifier: this one agrees with them by construction.
#pragma once
#include <cstdint>

#include "diffusion/generate.h"

namespace sfumato::diffusion {

struct Read {
  Tensor pictures;               // u8 [N,H,W,C]
  std::int64_t drawn_again = 0;  // how many drawings beyond the first N
  std::int64_t misread = 0;      // how many pictures the classifier still does not accept
};

// A picture is accepted if its label is the classifier's most probable class, and p(label | picture) >= confidence.
struct Rejection {
  std::int64_t tries = 1;  // drawings of a picture, at most
  double confidence = 0;   // from 0 to 1
};

// Draws each picture until it is accepted; round k has the seed options.seed + k 2³², so that with one try
// these are generate()'s pictures. A picture depends on those before it, as they decide which of a round it is; neither on
// later ones nor on `batch`. The labels are the classifier's classes, also where the model has none; the classifier is on
// the model's device. What no try made acceptable is the last drawing. Throws Error as generate() does, for labels that the classifier does not know, and for options that
// show steps or mix classes.
Read generate_read(const Pipeline& model, const GenerateOptions& options,
                   const PictureClassifier& classifier, const Rejection& rejection);

}  // namespace sfumato::diffusion
