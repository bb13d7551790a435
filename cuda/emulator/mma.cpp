#include "cuda/emulator/mma.h"

namespace sfumato::cuda::emulator {
namespace {

// The lanes' addresses, the first or the second ones.
struct Given {
  std::uintptr_t addresses[32];
  explicit Given(OfLanes all, int number = 0) {
    for (int lane = 0; lane < 32; ++lane)
      addresses[lane] = reinterpret_cast<std::uintptr_t>(address_of(all, lane, number));
  }
};

}  // namespace

OfLanes give_row(const void* row) {
  expect_multiple(row, sizeof(Chunk));
  const OfLanes rows = give(&row, sizeof row);
  if (lane() == 0) count_shared(Given(rows).addresses, 16);
  return rows;
}

void give_word(const void* word) {
  const OfLanes words = give(&word, sizeof word);
  if (lane() == 0) count_shared(Given(words).addresses, 4);
}

void begin_copy(Chunk* to, const void* from) {
  expect_multiple(to, sizeof(Chunk)), expect_multiple(from, sizeof(Chunk));
  const void* const both[] = {to, from};
  const OfLanes all = give(both, sizeof both);
  if (lane() == 0) count_shared(Given(all).addresses, 16), count_copies(Given(all, 1).addresses);
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

}  // namespace sfumato::cuda::emulator

namespace sfumato::cuda {
namespace {

using Fragments = const std::uint32_t[4];

// The sum of products of two words' numbers.
float product(bf16, std::uint32_t x, std::uint32_t y) {
  const auto upper = [](std::uint32_t v) { return std::bit_cast<float>(v & 0xffff0000u); };
  return upper(x << 16) * upper(y << 16) + upper(x) * upper(y);
}
float product(float, std::uint32_t x, std::uint32_t y) {  // of TF32
  const auto read = [](std::uint32_t v) { return std::bit_cast<float>(v & ~0x1fffu); };
  return read(x) * read(y);
}

template <class S>
void multiply(float (&d)[4], const Fragments& a, std::uint32_t b0, std::uint32_t b1) {
  const std::uint32_t own[] = {a[0], a[1], a[2], a[3], b0, b1};
  const emulator::OfLanes all = emulator::give(own, sizeof own);
  const int lane = emulator::lane();
  if (lane == 0) emulator::count_product();
  const auto word = [all](int of, int place) {
    std::uint32_t w;
    std::memcpy(&w, all[of] + std::ptrdiff_t{4} * place, sizeof w);
    return w;
  };
  std::uint32_t rows[2][8], cols[2][8];  // all words of this lane's rows of a and columns of b
  for (int half = 0; half < 2; ++half)
    for (int term = 0; term < 8; ++term) {
      rows[half][term] = word(lane / 4 * 4 + term % 4, half + term / 4 * 2);
      cols[half][term] = word((lane % 4 * 2 + half) * 4 + term % 4, 4 + term / 4);
    }
  for (int i = 0; i < 4; ++i)
    for (int term = 0; term < 8; ++term) d[i] += product(S(), rows[i / 2][term], cols[i % 2][term]);
}

}  // namespace

void multiply_add(bf16, float (&d)[4], const std::uint32_t (&a)[4], std::uint32_t b0,
                  std::uint32_t b1) {
  multiply<bf16>(d, a, b0, b1);
}
void multiply_add(float, float (&d)[4], const std::uint32_t (&a)[4], std::uint32_t b0,
                  std::uint32_t b1) {
  multiply<float>(d, a, b0, b1);
}

}  // namespace sfumato::cuda
