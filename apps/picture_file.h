// Files of pictures, by the name that --out gives them.
#pragma once
#include <cstdint>
#include <string>
#include <vector>

#include "apps/grid.h"
#include "tensor/tensor.h"

namespace sfumato::apps {

enum class PictureFile { grid, gif, series, npy, folder };

// By the name; throws Error for one that says nothing.
PictureFile kind_of(const std::string& out);

// "step_%03d.png" -> "step_007.png"; throws Error unless there is one such number.
std::string numbered(const std::string& pattern, std::int64_t i);

// What cannot be written is said before the work, not after it: pictures u8 of this shape, a grid of them, or `frames` grids.
// Makes the folder. Throws Error.
void expect_writable(const std::string& out, PictureFile kind, const Shape& pictures,
                     const GridOptions& grid, std::int64_t frames);

// pictures u8 [N,H,W,C] as .npy, without the axis of channels where there is one; and as single files in a folder, with the labels, which are cycled, in
// their names.
void write_array(const std::string& out, const Tensor& pictures);
void write_folder(const std::string& out, const Tensor& pictures,
                  const std::vector<std::int64_t>& labels);

}  // namespace sfumato::apps
