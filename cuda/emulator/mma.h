// Tensor cores for a C++ compiler (cuda/mma.h says what the functions do). Rows are read and chunks written where the
// sanitizers see it. What a device would take time for is counted (counts.h).
#pragma once
#include <iterator>

#include "cuda/emulator/fiber.h"
#include "cuda/mma.h"

namespace sfumato::cuda::emulator {

// The addresses of the lanes' rows of 16 bytes, or of their words; counts the access.
OfLanes give_row(const void* row);
void give_word(const void* word);
// The running thread's copies: take_copy() gives them one by one, the first first, but those of its last `groups` groups.
void begin_copy(Chunk* to, const void* from);
void commit_copies();
bool take_copy(Copy& copy, std::uint64_t groups);

// The address that a lane has given, or the second one.
inline const unsigned char* address_of(OfLanes addresses, int lane, int number = 0) {
  const unsigned char* address;
  std::memcpy(&address, addresses[lane] + sizeof address * static_cast<std::size_t>(number),
              sizeof address);
  return address;
}

}  // namespace sfumato::cuda::emulator

namespace sfumato::cuda {

inline std::uint32_t pair_of_bf16(float low, float high) {
  return bf16(low).bits | static_cast<std::uint32_t>(bf16(high).bits) << 16;
}
inline std::uint32_t tf32_of(float v) {  // halves away from 0
  const auto bits = std::bit_cast<std::uint32_t>(v);
  return v != v ? bits : (bits + 0x1000u) & ~0x1fffu;
}

inline void load_matrices(std::uint32_t (&r)[4], const Chunk* row) {
  const emulator::OfLanes rows = emulator::give_row(row);
  const emulator::Uncounted uncounted;
  const int lane = emulator::lane();
  for (int i = 0; i < 4; ++i)
    std::memcpy(&r[i], emulator::address_of(rows, 8 * i + lane / 4) + lane % 4 * 4, 4);
}
inline void load_transposed(std::uint32_t (&r)[4], const Chunk* row) {
  const emulator::OfLanes rows = emulator::give_row(row);
  const emulator::Uncounted uncounted;
  const int lane = emulator::lane();
  for (int i = 0; i < 4; ++i) {
    std::uint16_t of_rows[2];
    for (int k = 0; k < 2; ++k)
      std::memcpy(&of_rows[k], emulator::address_of(rows, 8 * i + lane % 4 * 2 + k) + lane / 4 * 2,
                  2);
    r[i] = of_rows[0] | static_cast<std::uint32_t>(of_rows[1]) << 16;
  }
}

inline std::uint32_t load_word(const std::uint32_t* from) {
  emulator::give_word(from);
  const emulator::Uncounted uncounted;
  return *from;
}
// What a copy will bring is NaN until it is waited for. (Word by word: GCC's thread sanitizer does not see a memset or memcpy
// of 16 bytes, which is compiled to one store.)
inline void copy_chunk(Chunk* to, const void* from) {
  {
    const emulator::Uncounted uncounted;
    for (std::uint32_t& word : to->words) word = 0xffffffffu;
  }
  emulator::begin_copy(to, from);
}
inline void commit_copies() { emulator::commit_copies(); }
template <int N>
void wait_for_copies() {
  for (emulator::Copy copy; emulator::take_copy(copy, N);) {
    const emulator::Uncounted uncounted;
    auto& words = static_cast<Chunk*>(copy.to)->words;
    for (std::size_t i = 0; i < std::size(words); ++i) {
      std::uint32_t word = 0;
      if (copy.from)
        std::memcpy(&word, static_cast<const unsigned char*>(copy.from) + i * sizeof word,
                    sizeof word);
      words[i] = word;
    }
  }
}

}  // namespace sfumato::cuda
