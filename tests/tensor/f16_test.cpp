#include "tensor/f16.h"

#include <gtest/gtest.h>

#include <cmath>
#include <limits>

namespace sfumato {
namespace {

TEST(F16, EveryNumberComesBack) {
  for (std::uint32_t bits = 0; bits < 65536; ++bits) {
    const float v = from_f16(static_cast<std::uint16_t>(bits));
    if (std::isnan(v))
      EXPECT_TRUE(std::isnan(from_f16(to_f16(v))));
    else
      EXPECT_EQ(to_f16(v), bits);
  }
}

// Between two neighbours: to the nearer, and in the middle to the even one.
TEST(F16, RoundsToTheNearest) {
  for (std::uint16_t bits = 0; bits < 0x7bff; ++bits) {
    const float low = from_f16(bits), high = from_f16(static_cast<std::uint16_t>(bits + 1));
    const float middle = (low + high) / 2;
    EXPECT_EQ(to_f16(middle), bits % 2 == 0 ? bits : bits + 1);
    EXPECT_EQ(to_f16(std::nextafter(middle, 0.0f)), bits);
    EXPECT_EQ(to_f16(-std::nextafter(middle, high)), (bits + 1) | 0x8000);
  }
  EXPECT_EQ(to_f16(65519), 0x7bff);
  EXPECT_EQ(to_f16(65520), 0x7c00);
  EXPECT_EQ(to_f16(-std::numeric_limits<float>::infinity()), 0xfc00);
  EXPECT_EQ(to_f16(1e-30f), 0);
}

}  // namespace
}  // namespace sfumato
