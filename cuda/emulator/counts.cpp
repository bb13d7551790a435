#include "cuda/emulator/counts.h"

#include <algorithm>
#include <array>
#include <iterator>
#include <map>
#include <unordered_map>
#include <unordered_set>
#include <utility>

#include "cuda/emulator/memory.h"
#include "cuda/emulator/simt.h"

namespace sfumato::cuda::emulator {
namespace {

using Addresses = std::uintptr_t[32];

Counts counted;
bool keeps_launches = false;
std::vector<Launched> kept;
std::unordered_set<std::uintptr_t> touched;  // sectors, by the launch that runs

// The first of `size` bytes that the lanes touch, f(place) for each different one.
template <class F>
void each_place(const Addresses& addresses, unsigned bytes, std::uintptr_t size, const F& f) {
  std::array<std::uintptr_t, 64> seen;
  std::size_t count = 0;
  for (const std::uintptr_t address : addresses) {
    if (address == 0) continue;
    for (std::uintptr_t place = address / size; place <= (address + bytes - 1) / size; ++place)
      if (std::find(seen.begin(), seen.begin() + count, place) == seen.begin() + count)
        f(seen[count++] = place);
  }
}

}  // namespace

Counts counts() {
  Counts all = counted;
  all.blocks = blocks_begun();
  return all;
}

std::vector<Launched> take_launches() {
  keeps_launches = true;
  return std::exchange(kept, {});
}

void count_product() { ++counted.products; }

// 128 bytes pass at once, `bytes` of each of 128 / bytes lanes that follow one another: more often where different ones lie in
// the same banks.
void count_shared(const Addresses& addresses, unsigned bytes) {
  const unsigned size = std::max(bytes, 4u), lanes = 128 / size;  // a bank has 4 bytes
  for (unsigned first = 0; first < 32; first += lanes) {
    std::uint64_t of_bank[32] = {}, most = 0;
    std::uintptr_t seen[32];
    std::size_t count = 0;
    for (unsigned lane = first; lane < first + lanes; ++lane) {
      const std::uintptr_t place = addresses[lane] / size;
      if (addresses[lane] == 0 || std::find(seen, seen + count, place) != seen + count) continue;
      seen[count++] = place;
      most = std::max(most, ++of_bank[place % lanes]);
    }
    counted.shared_accesses += most;
    counted.conflicts += most > 0 ? most - 1 : 0;
  }
}

void count_copies(const Addresses& from) {
  static std::uintptr_t l1[2048];  // what is at each place
  static std::uint64_t of_block = 0;
  if (std::exchange(of_block, blocks_begun()) != blocks_begun())
    std::fill(std::begin(l1), std::end(l1), 0);
  each_place(from, 16, 32, [](std::uintptr_t sector) {
    ++counted.sectors;
    counted.missed += std::exchange(l1[sector % std::size(l1)], sector) != sector;
    if (kCountsAccesses) touched.insert(sector);
  });
}

void begin_launch() { touched.clear(); }

void end_launch(const BlockSize& size, std::uint64_t blocks) {
  static Counts before;
  counted.touched += touched.size();
  const Counts now = counts();
  if (keeps_launches) kept.push_back({size, blocks, now - before});
  before = now;
}

#if defined(SFUMATO_COUNT_ACCESSES)

namespace {

// An instruction of a warp, between two barriers: there its lanes meet again, whatever loops they were in.
struct Site {
  const void* place;
  unsigned warp;
  std::uint64_t barriers;
  bool operator==(const Site&) const = default;
};
struct SiteHash {
  std::size_t operator()(const Site& s) const {
    return (reinterpret_cast<std::size_t>(s.place) * 32 + s.warp) ^ s.barriers * 0x9e3779b97f4a7c15;
  }
};
// What it has accessed, each time that a lane came to it.
struct Instruction {
  unsigned bytes;
  bool writes;
  std::array<unsigned, 32> times_of_lane = {};
  std::vector<std::array<std::uintptr_t, 32>> times = {};
};
struct BlockAccesses {
  SharedRange shared;
  std::unordered_map<Site, Instruction, SiteHash> instructions;
};
std::map<unsigned, BlockAccesses> of_blocks;
BlockAccesses* running = nullptr;
int uncounted = 0;

bool is_within(std::uintptr_t address, const void* begin, std::size_t bytes) {
  return address - reinterpret_cast<std::uintptr_t>(begin) < bytes;
}

void note(const void* address, unsigned bytes, bool writes, const void* place) {
  if (!running || uncounted > 0) return;
  const auto at = reinterpret_cast<std::uintptr_t>(address);
  if (!is_within(at, running->shared.begin, running->shared.bytes) && !is_device_address(at))
    return;
  const unsigned lane = threadIdx.x % 32, warp = threadIdx.x / 32;
  const Site site{place, warp, barriers_passed()};
  Instruction& of =
      running->instructions.try_emplace(site, Instruction{bytes, writes}).first->second;
  const unsigned time = of.times_of_lane[lane]++;
  if (time == of.times.size()) of.times.emplace_back();
  of.times[time][lane] = at;
}

void count(const BlockAccesses& block) {
  std::unordered_set<std::uintptr_t> read;
  for (const auto& [site, of] : block.instructions)
    for (const auto& lanes : of.times) {
      Addresses addresses;
      std::copy(lanes.begin(), lanes.end(), addresses);
      const auto first = *std::find_if(lanes.begin(), lanes.end(), [](auto a) { return a != 0; });
      if (is_within(first, block.shared.begin, block.shared.bytes)) {
        count_shared(addresses, of.bytes);
        continue;
      }
      each_place(addresses, of.bytes, 128, [](std::uintptr_t) { ++counted.lines; });
      each_place(addresses, of.bytes, 32, [&of = of, &read](std::uintptr_t sector) {
        counted.missed += of.writes || read.insert(sector).second;
        touched.insert(sector);
      });
    }
}

}  // namespace

Uncounted::Uncounted() { ++uncounted; }
Uncounted::~Uncounted() { --uncounted; }
[[gnu::noinline]] void count_access(const void* address, unsigned bytes, bool writes) {
  note(address, bytes, writes, __builtin_return_address(0));
}
void count_accesses_of(unsigned block, SharedRange shared) {
  if (keeps_launches)
    running = &of_blocks.try_emplace(block, BlockAccesses{shared, {}}).first->second;
}
void count_no_accesses() { running = nullptr; }
void end_accesses_of(unsigned block) {
  const auto found = of_blocks.find(block);
  if (found == of_blocks.end()) return;
  count(found->second);
  of_blocks.erase(found);
}

#else

void count_accesses_of(unsigned, SharedRange) {}
void count_no_accesses() {}
void end_accesses_of(unsigned) {}

#endif

}  // namespace sfumato::cuda::emulator

#if defined(SFUMATO_COUNT_ACCESSES)
// What -fsanitize-coverage=trace-loads,trace-stores calls.
#define SFUMATO_CALLED_AT(bytes)                                                       \
  void __sanitizer_cov_load##bytes(const void* address) {                              \
    sfumato::cuda::emulator::note(address, bytes, false, __builtin_return_address(0)); \
  }                                                                                    \
  void __sanitizer_cov_store##bytes(const void* address) {                             \
    sfumato::cuda::emulator::note(address, bytes, true, __builtin_return_address(0));  \
  }
extern "C" {
SFUMATO_CALLED_AT(1)
SFUMATO_CALLED_AT(2)
SFUMATO_CALLED_AT(4)
SFUMATO_CALLED_AT(8)
SFUMATO_CALLED_AT(16)
}
#endif
