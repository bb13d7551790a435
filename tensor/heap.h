// Where blocks of memory come from: chunks of whole huge pages, fetched from the system and kept.
// (With pages of 4 KiB a training step spends several percent of its time translating addresses.)
#pragma once
#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <memory>
#include <vector>

namespace sfumato::memory {

inline constexpr std::size_t kAlign = 64;

struct Free {
  void operator()(std::byte* p) const { std::free(p); }
};
using Chunk = std::unique_ptr<std::byte, Free>;
// A fresh chunk of at least `bytes`, which are rounded up to its size. Null if the system has no
// memory left.
Chunk fetch_chunk(std::size_t& bytes);

// Blocks that are never given back: each cut from the first chunk with room.
class Chunks {
 public:
  // `bytes`: a multiple of 64. Null if the system has no memory left.
  void* cut(std::size_t bytes);

 private:
  struct Open {
    Chunk memory;
    std::byte* next;
    std::size_t left;
  };
  std::vector<Open> chunks_;
};

// Blocks of any size that are given back: the smallest free one that is large enough is split, and
// neighbours that are both free become one. A program that asks for the same blocks in the same
// order, as training steps do, gets the same places again, and all of them together take little
// more than what is in use at the fullest moment. No locks: memory.cpp holds one around it.
class Heap {
 public:
  // Aligned to 64 bytes. Null if the system has no memory left.
  void* allocate(std::size_t bytes);
  void release(void* block) noexcept;
  // Chunks fetched so far.
  std::uint64_t fetched() const { return chunks_.size(); }

 private:
  struct alignas(kAlign) Block;  // stands in front of its bytes

  bool grow(std::size_t bytes);
  void insert(Block* block) noexcept;
  void remove(Block* block) noexcept;
  static void absorb_next(Block* block) noexcept;

  Block* free_ = nullptr;  // a doubly linked list
  std::vector<Chunk> chunks_;
};

}  // namespace sfumato::memory
