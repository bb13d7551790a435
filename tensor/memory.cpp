#include "tensor/memory.h"

#include <fmt/format.h>
#include <pthread.h>

#include <algorithm>
#include <array>
#include <bit>
#include <cstdlib>
#include <mutex>
#include <new>
#include <utility>

#include "tensor/error.h"
#include "tensor/heap.h"
#include "tensor/parallel.h"
#include "tensor/sanitizers.h"

namespace sfumato::memory {
namespace {

// Up to this many bytes, blocks are kept in lists by size: a step uses hundreds of them.
constexpr std::size_t kSmall = 16 << 10;

// Size classes: four to an octave, so a block wastes at most a fifth of itself.
struct SizeClass {
  std::size_t index, bytes;
};

SizeClass size_class(std::size_t bytes) {
  if (!kKeepsBlocks) return {0, std::max<std::size_t>(bytes, 1)};
  const std::size_t n = std::max(bytes, kAlign);
  const int octave = std::bit_width(n - 1) - 1;  // 2^octave < n <= 2^(octave+1)
  const std::size_t step = std::max((std::size_t{1} << octave) / 4, kAlign);
  const std::size_t rounded = (n + step - 1) / step * step;
  const std::size_t quarter = (rounded - (std::size_t{1} << octave)) / step;  // 1..4
  // Without a cache the exact size, so that the sanitizer sees every step beyond it.
  return {static_cast<std::size_t>(octave) * 4 + quarter,
          kKeepsBlocks ? rounded : std::max<std::size_t>(bytes, 1)};
}

constexpr std::size_t kClasses = 64 * 4 + 8;

// Free blocks of one size class, each holding the address of the next.
class FreeList {
 public:
  // Null if there is none.
  void* pop() noexcept {
    Block* block = first_;
    if (block) first_ = block->next;
    return block;
  }
  void push(void* block) noexcept { first_ = new (block) Block{first_}; }

 private:
  struct Block {
    Block* next;
  };
  Block* first_ = nullptr;
};
using Lists = std::array<FreeList, kClasses>;

// The blocks of the tasks on one thread: those in use, and those released, which the thread keeps for itself. It then
// needs no lock, and the block used last may still be in its core's cache. When two threads swapped their blocks from
// task to task, every line had to move between cores: a step once took 60 % longer.
struct OfThread {
  std::array<std::uint16_t, kClasses> held{};
  Lists free;
  OfThread* next = nullptr;  // while no thread has it
};
thread_local OfThread* of_thread = nullptr;

class Cache {
 public:
  void* take(std::size_t bytes) {
    std::lock_guard lock(mutex_);
    void* block;
    if (!kKeepsBlocks || bytes <= kSmall) {
      const SizeClass c = size_class(bytes);
      bytes = c.bytes;
      block = small_[c.index].pop();
      if (!block) block = fetch(bytes);
    } else {
      const std::uint64_t fetched = heap_.fetched();
      block = heap_.allocate(bytes);
      if (!block) throw_out_of_memory(bytes);
      stats_.system_allocations += heap_.fetched() - fetched;
    }
    stats_.bytes_in_use += bytes;
    stats_.bytes_peak = std::max(stats_.bytes_peak, stats_.bytes_in_use);
    return block;
  }
  void put(void* block, std::size_t bytes) noexcept {
    std::lock_guard lock(mutex_);
    if (!kKeepsBlocks || bytes <= kSmall) {
      const SizeClass c = size_class(bytes);
      bytes = c.bytes;
      give_back(small_[c.index], block);
    } else {
      heap_.release(block);
    }
    stats_.bytes_in_use -= bytes;
  }

  void* take_in_task(std::size_t bytes) {
    const SizeClass c = size_class(bytes);
    if (!of_thread) of_thread = begin_thread();
    OfThread& mine = *of_thread;
    void* block = mine.free[c.index].pop();
    if (!block) block = take_for_task(c, mine.held[c.index] + 1);
    ++mine.held[c.index];
    return block;
  }
  void put_in_task(void* block, std::size_t bytes) noexcept {
    const SizeClass c = size_class(bytes);
    OfThread& mine = *of_thread;
    --mine.held[c.index];
    give_back(mine.free[c.index], block);
  }
  void end_thread(OfThread* mine) noexcept {
    std::lock_guard lock(mutex_);
    for (std::size_t i = 0; i < kClasses; ++i) {
      while (void* block = mine->free[i].pop()) tasks_[i].push(block);
    }
    mine->next = std::exchange(without_thread_, mine);
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
  // A key's destructor calls end_thread(). (One of a thread_local would have to be registered on its first use, which
  // allocates, and glibc ends the process where that fails.)
  OfThread* begin_thread() {
    std::lock_guard lock(mutex_);
    if (!without_thread_) without_thread_ = new OfThread;
    if (pthread_setspecific(key_.value, without_thread_) != 0) throw_out_of_memory(sizeof(void*));
    return std::exchange(without_thread_, without_thread_->next);
  }
  void* fetch(std::size_t bytes) {
    ++stats_.system_allocations;
    void* block = nullptr;
    if (kKeepsBlocks) {
      block = chunks_.cut(bytes);
    } else if (posix_memalign(&block, kAlign, bytes) !=
               0) {  // takes any size, unlike aligned_alloc
      block = nullptr;
    }
    if (!block) throw_out_of_memory(bytes);
    return block;
  }
  static void give_back(FreeList& list, void* block) noexcept {
    if (kKeepsBlocks) {
      list.push(block);
    } else {
      std::free(block);
    }
  }
  // The count-th block of its class that a task holds.
  void* take_for_task(const SizeClass& c, int count) {
    std::lock_guard lock(mutex_);
    int& fetched = fetched_[c.index];
    for (const int wanted = kKeepsBlocks ? count * thread_count() : 0; fetched < wanted; ++fetched)
      tasks_[c.index].push(fetch(c.bytes));
    void* block = tasks_[c.index].pop();
    return block ? block : fetch(c.bytes);
  }

  struct Key {
    Key();
    pthread_key_t value{};
  };

  std::mutex mutex_;
  const Key key_;
  OfThread* without_thread_ = nullptr;
  Heap heap_;
  Chunks chunks_;
  Lists small_, tasks_;                  // tasks_: what no thread keeps
  std::array<int, kClasses> fetched_{};  // blocks for tasks, with those that threads keep
  Stats stats_{};
};

// Never destroyed: tensors with static lifetime may be released after main.
Cache& cache() {
  static Cache* instance = new Cache;
  return *instance;
}

Cache::Key::Key() {
  const auto end = [](void* mine) { cache().end_thread(static_cast<OfThread*>(mine)); };
  if (pthread_key_create(&value, end) != 0)
    throw Error("memory", "the system has no key left for a thread's own data");
}

}  // namespace

void* allocate(std::size_t bytes) { return cache().take(bytes); }
void release(void* block, std::size_t bytes) noexcept { cache().put(block, bytes); }
void* allocate_in_task(std::size_t bytes) { return cache().take_in_task(bytes); }
void release_in_task(void* block, std::size_t bytes) noexcept { cache().put_in_task(block, bytes); }
Stats stats() { return cache().stats(); }
void reset_peak() { cache().reset_peak(); }

}  // namespace sfumato::memory
