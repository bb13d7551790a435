// The device's memory. Blocks are cut from chunks that are fetched from the device and kept, so the second step of a
// training fetches nothing. A block given back is handed out again at once, because the device does its work in the
// order in which it was asked for.
#pragma once
#include <cstddef>

namespace sfumato::cuda {

// At least `bytes` (0 counts as 1) aligned to 256 bytes, contents unspecified. Throws Error when no memory is left.
// Thread-safe.
void* allocate(std::size_t bytes);
// A block from `allocate`. Thread-safe.
void release(void* block) noexcept;

// Where blocks come from. A recording has a pool of its own: its replays write to the blocks that it was recorded with.
class Pool;
Pool* new_pool();
// Blocks come from `pool` from now on; nullptr is everybody's pool. Returns the pool in use before (nullptr likewise).
Pool* use_pool(Pool* pool);
// All blocks of the pool, those in use too, become everybody's.
void delete_pool(Pool* pool) noexcept;

// A block that is given back at the end of its scope.
template <class T>
class Scratch {
 public:
  explicit Scratch(std::size_t count) : block_(allocate(count * sizeof(T))) {}
  ~Scratch() { release(block_); }
  Scratch(const Scratch&) = delete;
  Scratch& operator=(const Scratch&) = delete;
  T* get() const { return static_cast<T*>(block_); }

 private:
  void* block_;
};

}  // namespace sfumato::cuda
