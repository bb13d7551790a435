#include "cuda/memory.h"

#include <fmt/format.h>

#include <algorithm>
#include <memory>
#include <mutex>
#include <set>
#include <unordered_map>
#include <utility>

#include "cuda/runtime.h"
#include "tensor/error.h"

namespace sfumato::cuda {
namespace {

constexpr std::size_t kAlign = 256, kChunk = std::size_t{32} << 20;

// A part of a chunk. Its neighbours are the parts of the same chunk before and after it.
struct Block {
  std::byte* begin;
  std::size_t bytes;
  Pool* pool;
  Block *before = nullptr, *after = nullptr;
  bool is_free = true;
};

struct BySize {
  bool operator()(const Block* a, const Block* b) const {
    return std::pair(a->bytes, a->begin) < std::pair(b->bytes, b->begin);
  }
};

}  // namespace

class Pool {
 public:
  std::set<Block*, BySize> free;
};

namespace {

struct Memory {
  std::mutex mutex;
  Pool everybodys;
  Pool* in_use = &everybodys;
  std::unordered_map<void*, std::unique_ptr<Block>> blocks;  // by their first byte
};
// Never destroyed: tensors with static lifetime give their blocks back at the end of the process.
Memory& memory() {
  static auto* instance = new Memory;
  return *instance;
}

Block* add_block(Block block) {
  return (memory().blocks[block.begin] = std::make_unique<Block>(block)).get();
}

// The smallest free block with room for `bytes`, or one in a new chunk; nullptr if the device has no memory left.
Block* find_block(Pool& pool, std::size_t bytes) {
  const Block least{nullptr, bytes, nullptr};
  const auto found = pool.free.lower_bound(const_cast<Block*>(&least));
  if (found != pool.free.end()) return *found;
  const std::size_t chunk = std::max(bytes, kChunk);
  auto* begin = static_cast<std::byte*>(fetch(chunk));
  if (!begin) return nullptr;
  Block* block = add_block({begin, chunk, &pool});
  pool.free.insert(block);
  return block;
}

// Cuts the bytes after the first `bytes` off, as a free block.
void split(Block* block, std::size_t bytes) {
  if (block->bytes == bytes) return;
  Block* rest =
      add_block({block->begin + bytes, block->bytes - bytes, block->pool, block, block->after});
  if (rest->after) rest->after->before = rest;
  block->after = rest;
  block->bytes = bytes;
  rest->pool->free.insert(rest);
}

// Adds the next block, which is free, to `block`.
void absorb_next(Block* block) {
  Block* next = block->after;
  next->pool->free.erase(next);
  block->bytes += next->bytes;
  block->after = next->after;
  if (next->after) next->after->before = block;
  memory().blocks.erase(next->begin);
}

std::string gigabytes(std::size_t bytes) {
  return fmt::format("{:.1f}", static_cast<double>(bytes) / 1e9);
}

}  // namespace

void* allocate(std::size_t bytes) {
  Memory& m = memory();
  const std::lock_guard lock(m.mutex);
  const std::size_t room = (std::max<std::size_t>(bytes, 1) + kAlign - 1) / kAlign * kAlign;
  Block* block = room < bytes ? nullptr : find_block(*m.in_use, room);
  if (!block) {
    const MemoryInfo info = memory_info();
    throw Error(
        name(),
        fmt::format("no {} bytes left ({} of {} GB free): try a smaller --batch, --recompute or "
                    "--precision bf16",
                    bytes, gigabytes(info.free), gigabytes(info.total)));
  }
  block->pool->free.erase(block);
  split(block, room);
  block->is_free = false;
  mark_allocated(block->begin, bytes, room);
  return block->begin;
}

void release(void* begin) noexcept {
  Memory& m = memory();
  const std::lock_guard lock(m.mutex);
  Block* block = m.blocks.at(begin).get();
  mark_released(block->begin, block->bytes);
  block->is_free = true;
  if (block->after && block->after->is_free) absorb_next(block);
  if (block->before && block->before->is_free) {
    block = block->before;
    block->pool->free.erase(block);
    absorb_next(block);
    block->pool->free.insert(block);
  } else {
    block->pool->free.insert(block);
  }
}

Pool* new_pool() { return new Pool; }

Pool* use_pool(Pool* pool) {
  Memory& m = memory();
  const std::lock_guard lock(m.mutex);
  Pool* before = std::exchange(m.in_use, pool ? pool : &m.everybodys);
  return before == &m.everybodys ? nullptr : before;
}

void delete_pool(Pool* pool) noexcept {
  Memory& m = memory();
  const std::lock_guard lock(m.mutex);
  m.everybodys.free.merge(pool->free);
  for (auto& [begin, block] : m.blocks)
    if (block->pool == pool) block->pool = &m.everybodys;
  delete pool;
}

}  // namespace sfumato::cuda
