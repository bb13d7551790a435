// The caching allocator. Blocks that are given back are kept and handed out again, so that from the
// second training step on nothing reaches malloc: fresh pages cost more than the arithmetic on
// them.
#pragma once
#include <cstddef>
#include <cstdint>

#include "tensor/sanitizers.h"

namespace sfumato::memory {

// Whether blocks are kept and cut to sizes in common. Not under the address sanitizer: there each
// is one of malloc's, of the very size asked for, so that any access past its end or its life is
// seen.
inline constexpr bool kKeepsBlocks = !kAddressSanitizer;

// At least `bytes` (0 counts as 1) aligned to 64 bytes, contents unspecified. Throws Error when the
// system has no memory left. Thread-safe.
void* allocate(std::size_t bytes);
// Returns a block from `allocate`, with the size asked for then. Thread-safe.
void release(void* block, std::size_t bytes) noexcept;

// The same for blocks that live inside one task of a parallel_for. How many tasks run at once is a
// matter of chance; so whenever one needs a block more than any before it, one is fetched for every
// thread, and what is fetched in the first step is enough for all that follow. The thread that took
// a block releases it, and gets back the one that it released last.
void* allocate_in_task(std::size_t bytes);
void release_in_task(void* block, std::size_t bytes) noexcept;

struct Stats {
  std::uint64_t system_allocations;  // fresh blocks or chunks of them
  std::size_t bytes_in_use;          // handed out by `allocate` and not yet returned
  std::size_t bytes_peak;            // largest bytes_in_use seen
};
Stats stats();
// bytes_peak becomes bytes_in_use.
void reset_peak();

// For standard containers: std::vector<T, memory::Allocator<T>>.
template <class T>
struct Allocator {
  using value_type = T;
  Allocator() = default;
  template <class U>
  Allocator(const Allocator<U>&) {}
  T* allocate(std::size_t n) { return static_cast<T*>(memory::allocate(n * sizeof(T))); }
  void deallocate(T* p, std::size_t n) noexcept { memory::release(p, n * sizeof(T)); }
  bool operator==(const Allocator&) const { return true; }
};

}  // namespace sfumato::memory
