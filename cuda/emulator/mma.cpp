#include "cuda/emulator/mma.h"

#include <algorithm>
#include <iterator>
#include <utility>

namespace sfumato::cuda::emulator {
namespace {

Counts counted;

// 128 bytes pass at once, `bytes` of each of 128 / bytes lanes that follow one another: more often where different ones lie in
// the same banks.
void count(OfLanes addresses, unsigned bytes) {
  const unsigned lanes = 128 / bytes;
  std::uintptr_t place[32];
  for (int lane = 0; lane < 32; ++lane)
    place[lane] = reinterpret_cast<std::uintptr_t>(address_of(addresses, lane)) / bytes;
  for (unsigned first = 0; first < 32; first += lanes) {
    std::uint64_t of_bank[32] = {}, most = 0;
    for (unsigned lane = first; lane < first + lanes; ++lane)
      if (std::find(place + first, place + lane, place[lane]) == place + lane)
        most = std::max(most, ++of_bank[place[lane] % lanes]);
    counted.shared_accesses += most;
    counted.conflicts += most - 1;
  }
}

void count_sectors(OfLanes addresses) {
  static std::uintptr_t l1[2048];  // what is at each place
  static std::uint64_t of_block = 0;
  if (std::exchange(of_block, blocks_begun()) != blocks_begun())
    std::fill(std::begin(l1), std::end(l1), 0);
  std::uintptr_t seen[32];
  std::size_t sectors = 0;
  for (int lane = 0; lane < 32; ++lane) {
    const auto sector = reinterpret_cast<std::uintptr_t>(address_of(addresses, lane)) / 32;
    if (sector == 0 || std::find(seen, seen + sectors, sector) != seen + sectors) continue;
    seen[sectors++] = sector;
    counted.missed += std::exchange(l1[sector % std::size(l1)], sector) != sector;
  }
  counted.sectors += sectors;
}

}  // namespace

Counts counts() {
  Counts all = counted;
  all.blocks = blocks_begun();
  return all;
}

OfLanes give_row(const void* row) {
  expect_chunk(row);
  const OfLanes rows = give(&row, sizeof row);
  if (lane() == 0) count(rows, 16);
  return rows;
}

void give_word(const void* word) {
  const OfLanes words = give(&word, sizeof word);
  if (lane() == 0) count(words, 4);
}

void begin_copy(Chunk* to, const void* from) {
  expect_chunk(from);
  give_row(to);
  const OfLanes all = give(&from, sizeof from);
  if (lane() == 0) count_sectors(all);
  Copies& own = copies();
  if (own.last - own.first == Copies::kMost)
    fail("a thread has begun more copies than it waits for");
  own.begun[own.last++ % Copies::kMost] = {to, from, own.groups};
}
void commit_copies() { ++copies().groups; }
bool take_copy(Copy& copy, std::uint64_t groups) {
  Copies& own = copies();
  if (own.first == own.last) return false;
  copy = own.begun[own.first % Copies::kMost];
  if (copy.group + groups >= own.groups) return false;
  ++own.first;
  return true;
}

void multiply_words(float (&d)[4], const std::uint32_t (&a)[4], std::uint32_t b0, std::uint32_t b1,
                    float (*product)(std::uint32_t, std::uint32_t)) {
  const std::uint32_t own[] = {a[0], a[1], a[2], a[3], b0, b1};
  const OfLanes all = give(own, sizeof own);
  const auto word = [all](int lane, int place) {
    std::uint32_t w;
    std::memcpy(&w, all[lane] + 4 * place, sizeof w);
    return w;
  };
  const int lane = emulator::lane();
  if (lane == 0) ++counted.products;
  for (int i = 0; i < 4; ++i) {
    const int below = i / 2, col = lane % 4 * 2 + i % 2;
    for (int term = 0; term < 8; ++term) {
      const int late = term / 4;
      d[i] += product(word(lane / 4 * 4 + term % 4, below + 2 * late),
                      word(col * 4 + term % 4, 4 + late));
    }
  }
}

}  // namespace sfumato::cuda::emulator
