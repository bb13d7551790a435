#include "tensor/heap.h"

#include <gtest/gtest.h>

#include <cstring>
#include <random>

namespace sfumato::memory {
namespace {

struct Held {
  void* block;
  std::size_t bytes;
  unsigned char mark;
};

bool intact(const Held& h) {
  const auto* p = static_cast<const unsigned char*>(h.block);
  for (std::size_t i = 0; i < h.bytes; ++i) {
    if (p[i] != h.mark) return false;
  }
  return true;
}

// A random sequence of requests and returns; the places of the blocks, in order.
std::vector<void*> churn(Heap& heap) {
  std::mt19937 random(1);
  std::vector<Held> held;
  std::vector<void*> places;
  const auto drop = [&](std::size_t i) {
    EXPECT_TRUE(intact(held[i])) << "a block of " << held[i].bytes << " bytes was written over";
    heap.release(held[i].block);
    held.erase(held.begin() + static_cast<std::ptrdiff_t>(i));
  };
  for (int i = 0; i < 2000; ++i) {
    if (held.size() < 40 || random() % 2) {
      const std::size_t bytes = 1 + random() % (std::size_t{1} << (8 + random() % 10));
      void* block = heap.allocate(bytes);
      EXPECT_EQ(reinterpret_cast<std::uintptr_t>(block) % kAlign, 0u);
      held.push_back({block, bytes, static_cast<unsigned char>(i)});
      std::memset(block, held.back().mark, bytes);
      places.push_back(block);
    } else {
      drop(random() % held.size());
    }
  }
  while (!held.empty()) drop(held.size() / 2);
  return places;
}

TEST(Heap, BlocksDoNotOverlapAndComeBackInTheSamePlaces) {
  Heap heap;
  churn(heap);
  const std::uint64_t fetched = heap.fetched();
  const std::vector<void*> once = churn(heap);
  EXPECT_EQ(once, churn(heap));
  EXPECT_EQ(heap.fetched(), fetched) << "chunks";
}

TEST(Heap, FreeNeighboursBecomeOne) {
  Heap heap;
  std::vector<void*> blocks;
  for (int i = 0; i < 30; ++i) blocks.push_back(heap.allocate(std::size_t{1} << 20));
  for (const int start : {1, 0}) {
    for (std::size_t i = static_cast<std::size_t>(start); i < blocks.size(); i += 2)
      heap.release(blocks[i]);
  }
  heap.release(heap.allocate(std::size_t{30} << 20));
  EXPECT_EQ(heap.fetched(), 1u);
}

TEST(Heap, AbsurdSizesAreRefused) {
  Heap heap;
  EXPECT_EQ(heap.allocate(~std::size_t{0}), nullptr);
  EXPECT_EQ(heap.allocate(~std::size_t{0} - 100), nullptr);
}

}  // namespace
}  // namespace sfumato::memory
