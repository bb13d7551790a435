// .npy: one NumPy array in one file (numpy.lib.format).
#pragma once
#include <filesystem>
#include <string>

#include "tensor/tensor.h"

namespace sfumato::io {

// u8, f32, f64 or i64, little-endian, in C order; format versions 1.0 and 2.0. Throws Error naming
// the file for another dtype or byte order, for Fortran order, and when the numbers are fewer or
// more than the shape says.
Tensor read_npy(const std::filesystem::path& path);

// An array of any dtype of truth values or numbers, of either byte order and in either memory
// order, as the nearest dtype there is here that holds its values: bool and u8 as u8, other whole
// numbers as i64, float16 and float32 as f32, float64 as f64.
struct NpyArray {
  Tensor values;
  std::string dtype;  // in NumPy's words: "bool", "int32", "float16"
};
// From a file, or from its bytes in memory. Throws Error naming the file (`where`) as read_npy
// does; for complex numbers, texts, dates, objects and records; for a uint64 beyond 2^63; and when
// the result is more than data_budget().
NpyArray read_any_npy(const std::filesystem::path& path);
NpyArray read_any_npy(const std::string& where, const std::string& bytes);

// Version 1.0, replaced atomically.
void write_npy(const std::filesystem::path& path, const Tensor& tensor);

}  // namespace sfumato::io
