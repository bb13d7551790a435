// Division by a number that all threads divide by. A GPU has no instruction for it, and takes some twenty.
#pragma once
#include <bit>
#include <cstdint>

namespace sfumato::cuda {

// n / d and n % d by one multiplication (Granlund and Montgomery 1994, figure 4.1), for every n; d >= 1.
class Divisor {
 public:
  constexpr explicit Divisor(unsigned d = 1)
      : d_(d),
        shift_(static_cast<unsigned>(std::bit_width(d - 1))),
        factor_(static_cast<unsigned>(
            ((std::uint64_t{1} << 32) * ((std::uint64_t{1} << shift_) - d)) / d + 1)) {}

  constexpr operator unsigned() const { return d_; }
  friend constexpr unsigned operator/(unsigned n, const Divisor& by) {
    const std::uint64_t high = (static_cast<std::uint64_t>(by.factor_) * n) >> 32;
    return static_cast<unsigned>((high + n) >> by.shift_);
  }
  friend constexpr unsigned operator%(unsigned n, const Divisor& by) { return n - n / by * by.d_; }

 private:
  unsigned d_, shift_, factor_;
};

}  // namespace sfumato::cuda
