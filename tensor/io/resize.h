// Pictures of any size brought to one.
#pragma once
#include "tensor/io/image.h"
#include "tensor/tensor.h"

namespace sfumato::io {

// `image` u8 [H,W,C], cropped about its centre to the aspect of `size` and resized to it: bit for
// bit what ImageOps.fit(image, (width, height), Image.Resampling.BICUBIC) of Pillow 13 gives
// (before 13, Pillow always resized the rows first, which rounds otherwise here and there). When it
// shrinks, the cubic is stretched over all the pixels that fall into one (no aliasing). A picture
// that has the size already is returned as it is.
Tensor fit_to(const Tensor& image, const Extent& size);

}  // namespace sfumato::io
