// The caching allocator keeps released blocks and hands them out again. From the second training step on nothing
// reaches malloc, whose fresh pages would cost more than the arithmetic on them.
#pragma once
#include <cstddef>
#include <cstdint>

#include "tensor/sanitizers.h"

namespace sfumato::memory {

// Whether released blocks are kept, and sizes rounded up to a few classes. Not under the address sanitizer: there each
// block comes from malloc in the exact size, so the sanitizer sees any access past its end or after its release.
inline constexpr bool kKeepsBlocks = !kAddressSanitizer;

// At least `bytes` (0 counts as 1) aligned to 64 bytes, contents unspecified. Throws Error when the
// system has no memory left. Thread-safe.
void* allocate(std::size_t bytes);
// Returns a block from `allocate`, with the size asked for then. Thread-safe.
void release(void* block, std::size_t bytes) noexcept;

// The same for blocks that live inside one task of a parallel_for. The number of tasks that run at once varies. So when
// a task needs one block more than any task before it, one is allocated for every thread: the blocks of the first step
// are enough for all later ones. A block is released by the thread that allocated it; the thread gets the block back
// that it released last.
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
  // T may be a pointer. NOLINTBEGIN(bugprone-sizeof-expression)
  T* allocate(std::size_t n) { return static_cast<T*>(memory::allocate(n * sizeof(T))); }
  void deallocate(T* p, std::size_t n) noexcept { memory::release(p, n * sizeof(T)); }
  // NOLINTEND(bugprone-sizeof-expression)
  bool operator==(const Allocator&) const { return true; }
};

}  // namespace sfumato::memory
