#include "tensor/heap.h"

#include <algorithm>
#include <cstdlib>
#include <new>
#include <utility>

#if defined(__linux__)
#include <sys/mman.h>
#endif

namespace sfumato::memory {
namespace {

constexpr std::size_t kHugePage = 2 << 20, kChunk = 32 << 20;

constexpr std::size_t round_up(std::size_t bytes, std::size_t to) {
  return (bytes + to - 1) / to * to;
}

}  // namespace

Chunk fetch_chunk(std::size_t& bytes) {
  const std::size_t size = round_up(std::max(bytes, kChunk), kHugePage);
  if (size < bytes) return nullptr;
  void* chunk = std::aligned_alloc(kHugePage, size);
#if defined(__linux__)
  if (chunk) madvise(chunk, size, MADV_HUGEPAGE);  // a hint; the system may ignore it
#endif
  bytes = size;
  return Chunk(static_cast<std::byte*>(chunk));
}

void* Chunks::cut(std::size_t bytes) {
  auto chunk =
      std::find_if(chunks_.begin(), chunks_.end(), [&](const Open& c) { return bytes <= c.left; });
  if (chunk == chunks_.end()) {
    std::size_t size = bytes;
    Chunk fresh = fetch_chunk(size);
    if (!fresh) return nullptr;
    std::byte* begin = fresh.get();
    chunk = chunks_.insert(chunk, Open{std::move(fresh), begin, size});
  }
  std::byte* block = chunk->next;
  chunk->next += bytes;
  chunk->left -= bytes;
  return block;
}

struct alignas(kAlign) Heap::Block {
  std::size_t bytes;      // after this header
  Block *before, *after;  // the neighbours in memory, null at the ends of a chunk
  bool free;
  Block *previous_free, *next_free;
};

void Heap::insert(Block* block) noexcept {
  block->free = true;
  block->previous_free = nullptr;
  block->next_free = free_;
  if (free_) free_->previous_free = block;
  free_ = block;
}

void Heap::remove(Block* block) noexcept {
  block->free = false;
  (block->previous_free ? block->previous_free->next_free : free_) = block->next_free;
  if (block->next_free) block->next_free->previous_free = block->previous_free;
}

void Heap::absorb_next(Block* block) noexcept {
  block->bytes += sizeof(Block) + block->after->bytes;
  block->after = block->after->after;
  if (block->after) block->after->before = block;
}

bool Heap::grow(std::size_t bytes) {
  std::size_t size = bytes + sizeof(Block);
  Chunk chunk = size < bytes ? nullptr : fetch_chunk(size);
  if (!chunk) return false;
  insert(new (chunk.get()) Block{size - sizeof(Block), nullptr, nullptr, true, nullptr, nullptr});
  chunks_.push_back(std::move(chunk));
  return true;
}

void* Heap::allocate(std::size_t bytes) {
  const std::size_t size = round_up(bytes, kAlign);
  if (size < bytes) return nullptr;
  const auto find = [&] {
    Block* best = nullptr;
    for (Block* b = free_; b; b = b->next_free) {
      if (b->bytes >= size && (!best || b->bytes < best->bytes)) best = b;
    }
    return best;
  };
  Block* best = find();
  if (!best) {
    if (!grow(size)) return nullptr;
    best = find();
  }
  remove(best);
  if (best->bytes - size > sizeof(Block)) {
    std::byte* rest = reinterpret_cast<std::byte*>(best + 1) + size;
    Block* second = new (rest)
        Block{best->bytes - size - sizeof(Block), best, best->after, true, nullptr, nullptr};
    if (best->after) best->after->before = second;
    best->after = second;
    best->bytes = size;
    insert(second);
  }
  return best + 1;
}

void Heap::release(void* numbers) noexcept {
  Block* block = static_cast<Block*>(numbers) - 1;
  if (block->after && block->after->free) {
    remove(block->after);
    absorb_next(block);
  }
  if (block->before && block->before->free) {
    block = block->before;
    remove(block);
    absorb_next(block);
  }
  insert(block);
}

}  // namespace sfumato::memory
