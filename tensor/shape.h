// Shape: the extent of a tensor along each axis, outermost first. Held inline (no heap), so that
// passing shapes around inside a training step costs no allocation. A value: threads may read one at once.
#pragma once
#include <array>
#include <cstdint>
#include <initializer_list>
#include <string>

namespace sfumato {

class Shape {
 public:
  static constexpr int kMaxRank = 6;

  Shape() = default;
  // Throws Error for a negative extent, a rank above kMaxRank, or a product beyond 2^62.
  Shape(std::initializer_list<std::int64_t> extents);
  Shape(const std::int64_t* begin, const std::int64_t* end);

  int rank() const { return rank_; }
  // Extent of axis i; negative counts from the back (-1 is the innermost). Throws out of range.
  std::int64_t operator[](int i) const;
  // Number of elements; 1 for rank 0.
  std::int64_t size() const;
  const std::int64_t* begin() const { return extents_.data(); }
  const std::int64_t* end() const { return extents_.data() + rank_; }
  // A copy with axis i (negative from the back) set to `extent`.
  Shape with(int i, std::int64_t extent) const;

  bool operator==(const Shape& other) const;
  std::string str() const;  // "[64, 28, 28, 1]"

 private:
  int axis(int i) const;
  void check() const;

  std::array<std::int64_t, kMaxRank> extents_{};
  int rank_ = 0;
};

// NumPy broadcasting: align at the innermost axis, an extent of 1 stretches. Throws Error naming
// `op` and both shapes when they do not fit.
Shape broadcast(const char* op, const Shape& a, const Shape& b);

}  // namespace sfumato
