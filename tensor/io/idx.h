// IDX: the format of MNIST (http://yann.lecun.com/exdb/mnist). Big-endian:
//   0 0 type rank | rank extents of 4 bytes | the numbers, row-major
// Type 8 (u8) is the one in use: labels [N], images [N,H,W] or [N,H,W,C]. Type 12 (i32) is that of
// QMNIST's labels.
#pragma once
#include <filesystem>

#include "tensor/tensor.h"

namespace sfumato::io {

// A u8 tensor of rank 1, 3 or 4, or an i64 one of rank 1 or 2 (from type 12), from a raw or a
// gzip-compressed file, told apart by content. Throws Error naming the file when the magic number
// is another, an extent is 0, the data are fewer or more than the extents say (decompression stops
// there) or more than data_budget(), or gzip's checksum disagrees.
Tensor read_idx(const std::filesystem::path& path);

}  // namespace sfumato::io
