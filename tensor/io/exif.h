// The orientation that a camera writes into its pictures: how the stored rows are to be shown.
#pragma once
#include <string_view>

#include "tensor/tensor.h"

namespace sfumato::io {

// The orientation tag, 1..8, of EXIF data (a TIFF header and its first directory) or of an XMP
// packet. 0 where there is none, or where the data are broken: viewers then show the rows as
// stored.
int exif_orientation(std::string_view tiff);
int xmp_orientation(std::string_view packet);

// True when `orientation` exchanges height and width.
bool swaps_sides(int orientation);

// `image` u8 [H,W,C] as it is to be shown, [W,H,C] for orientations 5 to 8. As PIL's
// ImageOps.exif_transpose.
Tensor turned(const Tensor& image, int orientation);

}  // namespace sfumato::io
