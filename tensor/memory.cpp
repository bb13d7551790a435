#include "tensor/memory.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <bit>
#include <cstdlib>
#include <mutex>
#include <vector>

#include "tensor/error.h"

namespace sfumato::memory {
namespace {

#if defined(__SANITIZE_ADDRESS__)
constexpr bool kCache = false;  // let the sanitizer see every block's end of life
#else
constexpr bool kCache = true;
#endif
constexpr std::size_t kAlign = 64;

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

class Cache {
 public:
  void* take(std::size_t bytes) {
    const SizeClass c = size_class(bytes);
    {
      std::lock_guard lock(mutex_);
      stats_.bytes_in_use += c.bytes;
      stats_.bytes_peak = std::max(stats_.bytes_peak, stats_.bytes_in_use);
      auto& list = free_[c.index];
      if (!list.empty()) {
        void* block = list.back();
        list.pop_back();
        return block;
      }
      ++stats_.system_allocations;
      // Room for every block of this class to come back without the list itself growing then.
      if (list.capacity() < ++owned_[c.index]) list.reserve(2 * owned_[c.index] + 16);
    }
    void* block = std::aligned_alloc(kAlign, c.bytes);
    if (!block) throw Error("memory", fmt::format("the system has no {} bytes left", c.bytes));
    return block;
  }

  void put(void* block, std::size_t bytes) noexcept {
    const SizeClass c = size_class(bytes);
    std::lock_guard lock(mutex_);
    stats_.bytes_in_use -= c.bytes;
    if (kCache) {
      free_[c.index].push_back(block);
    } else {
      std::free(block);
    }
  }

  Stats stats() {
    std::lock_guard lock(mutex_);
    return stats_;
  }

 private:
  std::mutex mutex_;
  std::array<std::vector<void*>, 64 * 4 + 8> free_;
  std::array<std::size_t, 64 * 4 + 8> owned_{};
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
Stats stats() { return cache().stats(); }

}  // namespace sfumato::memory
