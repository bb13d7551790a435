// cuda/runtime.h without a GPU.
#include "cuda/runtime.h"

#include <cstring>
#include <utility>
#include <vector>

#include "cuda/emulator/memory.h"
#include "tensor/error.h"
#if defined(__SANITIZE_ADDRESS__)
#include <sanitizer/asan_interface.h>
#else
#define ASAN_POISON_MEMORY_REGION(begin, bytes) static_cast<void>(0)
#define ASAN_UNPOISON_MEMORY_REGION(begin, bytes) static_cast<void>(0)
#endif

namespace sfumato::cuda {

class Recording {
 public:
  std::vector<std::function<void()>> work;
};

namespace {
Recording* recording = nullptr;
std::uint64_t started = 0;

// What was asked for and is not done yet. A GPU may be late, so the emulator is: it works when somebody waits, or when
// this is full. Who forgets to wait finds old numbers.
std::vector<std::function<void()>> queue;
constexpr std::size_t kMostLate = 512;

void do_queue() {
  const auto work = std::exchange(queue, {});  // gone, too, if one of them throws
  const emulator::Access access;
  for (const auto& each : work) each();
}
}  // namespace

std::string use(int index) {
  return index == 0 ? "" : "there is no such GPU, the last one is cuda:0";
}
std::string name() { return "cuda:0"; }

void* fetch(std::size_t bytes) {
  void* block = emulator::fetch(bytes);
  if (block) ASAN_POISON_MEMORY_REGION(block, bytes);
  return block;
}

void* fetch_pinned(std::size_t bytes) { return emulator::fetch_pinned(bytes); }
MemoryInfo memory_info() { return {emulator::kRoom - emulator::fetched(), emulator::kRoom}; }

void submit(std::function<void()> work) {
  if (recording) {
    recording->work.push_back(std::move(work));
    return;
  }
  queue.push_back(std::move(work));
  if (queue.size() >= kMostLate) do_queue();
}

void copy(void* destination, const void* source, std::size_t bytes) {
  ++started;
  submit([=] { std::memcpy(destination, source, bytes); });
}

void synchronize() {
  if (recording)
    throw Error(name(), "a recorded function may not wait for the device or read its numbers");
  do_queue();
}

void start_recording() {
  if (recording) throw Error(name(), "a recording is going on already");
  recording = new Recording;
}
Recording* stop_recording() { return std::exchange(recording, nullptr); }
void replay(const Recording* r) {
  for (const auto& work : r->work) submit(work);
}
void forget(Recording* r) noexcept { delete r; }
bool is_recording() { return recording != nullptr; }

void launched(const char*) { ++started; }
std::uint64_t launches() { return started; }

void mark_allocated(void* block, std::size_t bytes, [[maybe_unused]] std::size_t room) {
  submit([=] {
    ASAN_POISON_MEMORY_REGION(block, room);
    ASAN_UNPOISON_MEMORY_REGION(block, bytes);
    std::memset(block, 0xff, bytes);
  });
}
void mark_released([[maybe_unused]] void* block, [[maybe_unused]] std::size_t room) {
#if defined(__SANITIZE_ADDRESS__)
  submit([=] { ASAN_POISON_MEMORY_REGION(block, room); });
#endif
}

}  // namespace sfumato::cuda
