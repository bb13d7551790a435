#pragma once
#include <cstdint>

#include "tensor/backend.h"

namespace sfumato::cuda {

// Notes the first of x[0..n) that is not in [0, check.end), unless a fault is noted already.
void check_indices(std::int64_t n, const std::int64_t* x, IndexFault check);
// To be called after a wait: throws the fault that is noted, once.
void throw_index_fault();

}  // namespace sfumato::cuda
