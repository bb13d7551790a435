#include "tensor/memory.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <atomic>
#include <bit>
#include <cstdlib>
#include <mutex>
#include <vector>

#include "tensor/error.h"
#include "tensor/heap.h"
#include "tensor/parallel.h"

namespace sfumato::memory {
namespace {

#if defined(__SANITIZE_ADDRESS__)
constexpr bool kCache = false;  // let the sanitizer see every block's end of life
#else
constexpr bool kCache = true;
#endif
// Up to this many bytes, blocks are kept in lists by size: a step uses hundreds of them.
constexpr std::size_t kSmall = 16 << 10;

// Size classes: four to an octave, so a block wastes at most a fifth of itself.
struct SizeClass {
  std::size_t index, bytes;
};

SizeClass size_class(std::size_t bytes) {
  const std::size_t n = std::max(bytes, kAlign);
  const int octave = std::bit_width(n - 1) - 1;  // 2^octave < n <= 2^(octave+1)
  const std::size_t step = std::max((std::size_t{1} << octave) / 4, kAlign);
  const std::size_t rounded = (n + step - 1) / step * step;
  const std::size_t quarter = (rounded - (std::size_t{1} << octave)) / step;  // 1..4
  return {static_cast<std::size_t>(octave) * 4 + quarter, rounded};
}

constexpr std::size_t kClasses = 64 * 4 + 8;

constexpr int kNobody = -1;
int this_thread() {
  static std::atomic<int> threads{0};
  thread_local const int number = threads++;
  return number;
}

// The free blocks of each size class, and the threads that used them last.
struct FreeBlock {
  void* block;
  int thread;
};
struct Lists {
  std::array<std::vector<FreeBlock>, kClasses> free;
  std::array<std::size_t, kClasses> owned{};
};

// How many blocks of each class the task on this thread holds.
thread_local std::array<std::uint16_t, kClasses> held{};

class Cache {
 public:
  void* take(std::size_t bytes) {
    std::lock_guard lock(mutex_);
    if (!kCache || bytes <= kSmall) return take(small_, size_class(bytes));
    const std::uint64_t fetched = heap_.fetched();
    void* block = heap_.allocate(bytes);
    if (!block) throw_out_of_memory(bytes);
    stats_.system_allocations += heap_.fetched() - fetched;
    count(bytes);
    return block;
  }
  void put(void* block, std::size_t bytes) noexcept {
    std::lock_guard lock(mutex_);
    if (!kCache || bytes <= kSmall) return put(small_, size_class(bytes), block);
    stats_.bytes_in_use -= bytes;
    heap_.release(block);
  }

  void* take_in_task(std::size_t bytes) {
    const SizeClass c = size_class(bytes);
    const std::uint16_t count = ++held[c.index];
    std::lock_guard lock(mutex_);
    if (kCache && count > reserved_[c.index]) {
      reserved_[c.index] = count;
      const int threads = thread_count();
      for (int i = 0; i < threads; ++i) tasks_.free[c.index].push_back({fetch(tasks_, c), kNobody});
    }
    return take(tasks_, c);
  }
  void put_in_task(void* block, std::size_t bytes) noexcept {
    const SizeClass c = size_class(bytes);
    --held[c.index];
    std::lock_guard lock(mutex_);
    put(tasks_, c, block);
  }

  Stats stats() {
    std::lock_guard lock(mutex_);
    return stats_;
  }

  void reset_peak() {
    std::lock_guard lock(mutex_);
    stats_.bytes_peak = stats_.bytes_in_use;
  }

 private:
  [[noreturn]] static void throw_out_of_memory(std::size_t bytes) {
    throw Error("memory", fmt::format("the system has no {} bytes left", bytes));
  }
  void count(std::size_t bytes) {
    stats_.bytes_in_use += bytes;
    stats_.bytes_peak = std::max(stats_.bytes_peak, stats_.bytes_in_use);
  }
  // A fresh block, and room in its list for every block of this class to come back.
  void* fetch(Lists& lists, const SizeClass& c) {
    auto& list = lists.free[c.index];
    if (list.capacity() < ++lists.owned[c.index]) list.reserve(2 * lists.owned[c.index] + 16);
    ++stats_.system_allocations;
    void* block = kCache ? chunks_.cut(c.bytes) : std::aligned_alloc(kAlign, c.bytes);
    if (!block) throw_out_of_memory(c.bytes);
    return block;
  }
  void* take(Lists& lists, const SizeClass& c) {
    auto& list = lists.free[c.index];
    void* block = nullptr;
    if (list.empty()) {
      block = fetch(lists, c);
    } else {
      const auto chosen = &lists == &tasks_ ? last_used_here(list) : list.end() - 1;
      block = chosen->block;
      list.erase(chosen);
    }
    count(c.bytes);
    return block;
  }
  // The block that this thread used last, or nobody, if there is one: it may still be in its core's
  // cache. What another core has written there comes over line by line; a step once took 60 %
  // longer whenever two threads happened to swap their blocks from task to task.
  static std::vector<FreeBlock>::iterator last_used_here(std::vector<FreeBlock>& list) {
    auto chosen = list.begin();  // else the one that has lain longest
    for (auto block = list.end(); block != list.begin();) {
      --block;
      if (block->thread == this_thread()) return block;
      if (block->thread == kNobody) chosen = block;
    }
    return chosen;
  }
  void put(Lists& lists, const SizeClass& c, void* block) noexcept {
    stats_.bytes_in_use -= c.bytes;
    if (kCache) {
      lists.free[c.index].push_back({block, this_thread()});
    } else {
      std::free(block);
    }
  }

  std::mutex mutex_;
  Heap heap_;
  Chunks chunks_;
  Lists small_, tasks_;
  std::array<std::uint16_t, kClasses> reserved_{};  // blocks for each thread in tasks_
  Stats stats_{};
};

// Never destroyed: tensors with static lifetime may be released after main.
Cache& cache() {
  static Cache* instance = new Cache;
  return *instance;
}

}  // namespace

void* allocate(std::size_t bytes) { return cache().take(bytes); }
void release(void* block, std::size_t bytes) noexcept { cache().put(block, bytes); }
void* allocate_in_task(std::size_t bytes) { return cache().take_in_task(bytes); }
void release_in_task(void* block, std::size_t bytes) noexcept { cache().put_in_task(block, bytes); }
Stats stats() { return cache().stats(); }
void reset_peak() { cache().reset_peak(); }

}  // namespace sfumato::memory
