#include "cuda/emulator/memory.h"

#include <sys/mman.h>

#include <cstdint>
#include <cstring>
#include <mutex>
#include <string>

#include "cuda/emulator/simt.h"
#include "tensor/error.h"

namespace sfumato::cuda::emulator {
namespace {

constexpr std::size_t kPage = 4096, kHugePage = std::size_t{2} << 20,
                      kPinned = std::size_t{16} << 20;

unsigned char* fresh_arena() {
  auto* const room = static_cast<unsigned char*>(mmap(
      nullptr, kRoom + kHugePage, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0));
  unsigned char* const arena =
      room + kHugePage - reinterpret_cast<std::uintptr_t>(room) % kHugePage;
  // Protecting memory and lifting it, around every kernel, takes the less time the fewer pages there are.
  madvise(arena, kRoom, MADV_HUGEPAGE);
  return arena;
}
unsigned char* arena() {
  static auto* const begin = fresh_arena();
  return begin;
}
std::size_t used = 0;
int accesses = 0;
std::mutex mutex;  // blocks may be given back by any thread

// Kernels may be given addresses of this memory.
unsigned char* pinned() {
  static auto* const begin =
      static_cast<unsigned char*>(mmap(nullptr, kPinned, PROT_READ | PROT_WRITE,
                                       MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0));
  return begin;
}
std::size_t pinned_used = 0;

bool is_within(std::uintptr_t word, const unsigned char* begin, std::size_t bytes) {
  return word - reinterpret_cast<std::uintptr_t>(begin) < bytes;
}

// Whether the word is an address of memory that this process has, other than the device's. Programs, heaps and stacks
// lie above kLowest; below it lies what the sanitizers keep, and pairs of numbers look like its addresses.
bool is_host_address(std::uintptr_t word) {
  constexpr std::uintptr_t kLowest = 0x5000'0000'0000;
  if (word < kLowest || word >> 47 || is_device_address(word) || is_within(word, pinned(), kPinned))
    return false;
  unsigned char resident;
  // NOLINTNEXTLINE(performance-no-int-to-ptr): the word may be any number
  return mincore(reinterpret_cast<void*>(word / kPage * kPage), 1, &resident) == 0;
}

}  // namespace

bool is_device_address(std::uintptr_t address) { return is_within(address, arena(), kRoom); }

void* fetch(std::size_t bytes) {
  const std::lock_guard lock(mutex);
  const std::size_t size = (bytes + kHugePage - 1) / kHugePage * kHugePage;
  if (size < bytes || size > kRoom - used) return nullptr;
  void* const block = arena() + used;
  used += size;
  if (accesses > 0) mprotect(block, size, PROT_READ | PROT_WRITE);
  return block;
}

void* fetch_pinned(std::size_t bytes) {
  const std::size_t size = (bytes + 63) / 64 * 64;
  if (size > kPinned - pinned_used) throw Error("emulator", "no pinned memory left");
  void* const block = pinned() + pinned_used;
  pinned_used += size;
  return block;
}

std::size_t fetched() { return used; }

Access::Access() {
  const std::lock_guard lock(mutex);
  if (accesses++ == 0) mprotect(arena(), used, PROT_READ | PROT_WRITE);
}
Access::~Access() {
  const std::lock_guard lock(mutex);
  if (--accesses == 0) mprotect(arena(), used, PROT_NONE);
}

void expect_device_addresses(const char* kernel, const void* arguments, std::size_t bytes) {
  for (std::size_t at = 0; at + sizeof(void*) <= bytes; at += sizeof(void*)) {
    std::uintptr_t word;
    std::memcpy(&word, static_cast<const unsigned char*>(arguments) + at, sizeof word);
    if (is_host_address(word))
      throw Error("emulator", "a kernel was given an address of the CPU's memory (word " +
                                  std::to_string(at / sizeof word) +
                                  " of its arguments): " + kernel);
  }
}

}  // namespace sfumato::cuda::emulator
