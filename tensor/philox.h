// Philox 4x32-10 (Salmon et al. 2011, "Parallel random numbers: as easy as 1, 2, 3"): random numbers as a function of
// their address. constexpr, so that a GPU computes the same bits (for_each.h).
#pragma once
#include <array>
#include <cstdint>

namespace sfumato {

// The ten rounds on a 128-bit counter and a 64-bit key.
constexpr std::array<std::uint32_t, 4> philox4x32_10(std::array<std::uint32_t, 4> c,
                                                     std::array<std::uint32_t, 2> key) {
  for (int round = 0; round < 10; ++round) {
    const std::uint64_t p0 = std::uint64_t{0xD2511F53u} * c[0];
    const std::uint64_t p1 = std::uint64_t{0xCD9E8D57u} * c[2];
    c = {static_cast<std::uint32_t>(p1 >> 32) ^ c[1] ^ key[0], static_cast<std::uint32_t>(p1),
         static_cast<std::uint32_t>(p0 >> 32) ^ c[3] ^ key[1], static_cast<std::uint32_t>(p0)};
    key[0] += 0x9E3779B9u;
    key[1] += 0xBB67AE85u;
  }
  return c;
}

// u ~ U[0, 1), a multiple of 2^-24, of a number uniform in [0, 2^32).
constexpr float unit_interval(std::uint32_t r) {
  return static_cast<float>(static_cast<std::int32_t>(r >> 8)) * 0x1p-24f;
}

// A stream of blocks of four numbers, each uniform in [0, 2^32), from block `first` on. Where `index` is not null, the
// stream's number is `stream` + *index 2^index_shift, read on the device that asks.
struct RandomBlocks {
  std::uint64_t seed = 0, stream = 0, first = 0;
  const std::int64_t* index = nullptr;
  int index_shift = 0;

  constexpr std::array<std::uint32_t, 4> operator()(std::int64_t block) const {
    const std::uint64_t s =
        stream + (index ? static_cast<std::uint64_t>(*index) << index_shift : 0);
    const std::uint64_t c = first + static_cast<std::uint64_t>(block);
    return philox4x32_10(
        {static_cast<std::uint32_t>(c), static_cast<std::uint32_t>(c >> 32),
         static_cast<std::uint32_t>(s), static_cast<std::uint32_t>(s >> 32)},
        {static_cast<std::uint32_t>(seed), static_cast<std::uint32_t>(seed >> 32)});
  }
};

}  // namespace sfumato
