// How much memory data from files may take once decoded. A small file can promise, and truly hold,
// a thousand times its size; what is larger than the budget is refused before it is decoded.
#pragma once
#include <cstdint>
#include <string>

namespace sfumato::io {

// Half of the memory this process may use: of the machine's, of its control group's limit, or of
// its address space's (ulimit -v), whichever is least.
std::uint64_t data_budget();

// Throws Error naming `where` when `count` items of `each` bytes are more than data_budget().
void expect_within_budget(const std::string& where, std::uint64_t count, std::uint64_t each);

}  // namespace sfumato::io
