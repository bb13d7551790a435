// Edits of pictures with a trained model:
//     const Pipeline model = load_pipeline("runs/a");
//     const Tensor digit = io::read_image("seven.png"), mask = io::read_image("mask.png");
//     const Tensor pictures = inpaint(model, {.labels = {7, 7}}, digit, mask);  // u8 [2,H,W,C]
//
// Pictures are u8 [H,W,C]. GenerateOptions means what it means to generate(): a label for each picture of the result,
// the sampler, its steps, guidance, the seed; picture i depends on them and on i, not on `batch` or how many there
// are. (on_step is not called.) All throw Error as generate() does, for a picture that is not u8 of the model's
// channels and of the size that `options` or the model says, and as the algorithms of editing.h do.
#pragma once
#include <cstdint>

#include "diffusion/editing.h"
#include "diffusion/generate.h"

namespace sfumato::diffusion {

// A mask is u8 [H,W] or [H,W,1]: pixels of 128 and more (white) are drawn anew, the others are the picture's, bit for
// bit. Throws Error for a mask without a white pixel.
Tensor inpaint(const Pipeline& model, const GenerateOptions& options, const Tensor& picture,
               const Tensor& mask);
Tensor repaint(const Pipeline& model, const GenerateOptions& options, const Tensor& picture,
               const Tensor& mask, const Jumps& jumps = {});

// strength 0: the picture; 1: generate().
Tensor image_to_image(const Pipeline& model, const GenerateOptions& options, const Tensor& picture,
                      double strength);

// Around the picture, on a canvas of options.height x options.width, whose pixels (top + y, left + x) are the
// picture's; the network sees windows of the model's size, half a window apart, and the picture as inpaint() knows
// it. With an undefined picture, the whole canvas is drawn. Throws Error for a picture that does not fit there.
Tensor outpaint(const Pipeline& model, const GenerateOptions& options, const Tensor& picture,
                std::int64_t top, std::int64_t left);

// How a picture is walked back to its noise (inversion.h).
struct Inverted {
  std::int64_t label = 0;  // what is in the picture; of a class-conditional model only
  std::int64_t refinements = 5;
};

// x_T [1,H,W,C] of which DDIM without guidance makes the picture; options.labels is not looked at.
Tensor invert(const Pipeline& model, const GenerateOptions& options, const Tensor& picture,
              const Inverted& inverted);

// The picture walked back with its own label and forth, by DDIM, with those of options.labels and the guidance of the
// options. Its noise is first turned towards that of `seed` (slerp), by a share from 0, an edit that keeps what the
// label does not say, to 1, new pictures: variations.
Tensor redraw(const Pipeline& model, const GenerateOptions& options, const Tensor& picture,
              const Inverted& inverted, double share = 0);

// `count` pictures from one end to the other, by DDIM: noises between the two (slerp) and, where the labels differ,
// answers between those for both (Mix). Each end is a picture, walked back to its noise; or, for one that is
// undefined, picture 0 of its seed. options.labels, mix and seed are not looked at.
struct End {
  Tensor picture = {};
  std::uint64_t seed = 0;
  std::int64_t label = 0;
};
Tensor interpolate(const Pipeline& model, const GenerateOptions& options, const End& from,
                   const End& to, std::int64_t count, std::int64_t refinements = 5);

}  // namespace sfumato::diffusion
