// The order of the pictures in an epoch, as a function: any position can be asked for alone, on any device, and
// nothing is kept.
#pragma once
#include <cstdint>
#include <utility>

#include "tensor/rng.h"

namespace sfumato::data {

// For each epoch a permutation of 0..n-1: shuffle(epoch, position) is the number of the picture there.
//
// A Feistel network (Luby and Rackoff 1988) permutes pairs (l, r) by rounds (l, r) -> (r, l + F(r)), whatever F is; here
// F is random numbers and sums are modulo m. Numbers below m² are such pairs, and m² is the first square that is not less
// than n. A number that leaves 0..n-1 is permuted again until it is back; as the permutation is made of cycles, it must
// come back ("cycle walking", Black and Rogaway 2002). That is rare, since m² < n + 2√n + 1.
class Shuffle {  // a value
 public:
  constexpr Shuffle(std::uint64_t seed, std::int64_t n) : seed_(seed), n_(n) {
    while (m_ * m_ < n) ++m_;
  }

  constexpr std::int64_t operator()(std::int64_t epoch, std::int64_t position) const {
    const RandomBlocks blocks{.seed = seed_,
                              .stream = static_cast<std::uint64_t>(Purpose::shuffle) << 48 |
                                        static_cast<std::uint64_t>(epoch)};
    do {
      std::int64_t l = position / m_, r = position % m_;
      for (std::int64_t round = 0; round < kRounds; ++round)
        l = std::exchange(r, (l + blocks(round << 32 | r)[0]) % m_);
      position = l * m_ + r;
    } while (position >= n_);
    return position;
  }

 private:
  static constexpr std::int64_t kRounds = 8;
  std::uint64_t seed_;
  std::int64_t n_, m_ = 1;
};

}  // namespace sfumato::data
