#pragma once
#include <cstddef>

#include "tensor/device.h"

namespace sfumato::cuda {

// As Backend::copy says. At most 256 bytes from the CPU travel as the arguments of a kernel: nobody waits, and the CPU
// may change its memory at once. (A recording keeps such bytes as they were when it was made.)
void copy_between(Device to, void* destination, Device from, const void* source, std::size_t bytes);

}  // namespace sfumato::cuda
