// .npy: one NumPy array in one file (numpy.lib.format). u8, f32, f64 and i64, little-endian, in C
// order.
#pragma once
#include <filesystem>

#include "tensor/tensor.h"

namespace sfumato::io {

// Format versions 1.0 and 2.0. Throws Error naming the file for another dtype or byte order, for
// Fortran order, and when the numbers are fewer or more than the shape says.
Tensor read_npy(const std::filesystem::path& path);

// Version 1.0, replaced atomically.
void write_npy(const std::filesystem::path& path, const Tensor& tensor);

}  // namespace sfumato::io
