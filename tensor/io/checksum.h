// A checksum that tells damaged numbers from whole ones, and one set of pictures from another. It
// is no protection against somebody who forges numbers on purpose.
#pragma once
#include <cstddef>
#include <cstdint>
#include <string>
#include <utility>
#include <vector>

#include "tensor/io/safetensors.h"
#include "tensor/tensor.h"

namespace sfumato::io {

// 64 bits over the bytes, going on from `start`. Every single changed bit changes the result.
std::uint64_t checksum(const void* bytes, std::size_t count, std::uint64_t start = 0);

// The key in a safetensors file's metadata whose value is checksum_text() of its tensors.
inline constexpr const char* kChecksumKey = "sfumato.checksum";

// Names and numbers of the tensors, in the order of their names, as 16 hexadecimal digits.
std::string checksum_text(const std::vector<std::pair<std::string, Tensor>>& tensors);

// Reads all numbers of the file. Throws Error when the file says a checksum and it is another one.
void verify_checksum(const SafeTensors& file);

}  // namespace sfumato::io
