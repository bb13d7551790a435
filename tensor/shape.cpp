#include "tensor/shape.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>

#include "tensor/error.h"

namespace sfumato {

Shape::Shape(std::initializer_list<std::int64_t> extents) : Shape(extents.begin(), extents.end()) {}

Shape::Shape(const std::int64_t* begin, const std::int64_t* end) {
  if (end - begin > kMaxRank)
    throw Error("shape", fmt::format("expected at most {} axes, got {}", kMaxRank, end - begin));
  rank_ = static_cast<int>(end - begin);
  std::copy(begin, end, extents_.begin());
  check();
}

void Shape::check() const {
  constexpr std::int64_t kLimit = std::int64_t{1} << 62;
  std::int64_t n = 1;
  for (std::int64_t e : *this) {
    if (e < 0) throw Error("shape", fmt::format("negative extent in {}", str()));
    if (e != 0 && n > kLimit / e) throw Error("shape", fmt::format("{} is too large", str()));
    n *= e;
  }
}

int Shape::axis(int i) const {
  const int a = i < 0 ? i + rank_ : i;
  if (a < 0 || a >= rank_)
    throw Error("shape", fmt::format("axis {} is out of range for {}", i, str()));
  return a;
}

std::int64_t Shape::operator[](int i) const { return extents_[axis(i)]; }

std::int64_t Shape::size() const {
  std::int64_t n = 1;
  for (std::int64_t e : *this) n *= e;
  return n;
}

Shape Shape::with(int i, std::int64_t extent) const {
  Shape s = *this;
  s.extents_[axis(i)] = extent;
  s.check();
  return s;
}

bool Shape::operator==(const Shape& other) const {
  return std::equal(begin(), end(), other.begin(), other.end());
}

std::string Shape::str() const { return fmt::format("[{}]", fmt::join(begin(), end(), ", ")); }

Shape broadcast(const char* op, const Shape& a, const Shape& b) {
  std::array<std::int64_t, Shape::kMaxRank> out{};
  const int rank = std::max(a.rank(), b.rank());
  for (int i = 0; i < rank; ++i) {
    const std::int64_t ea = i < rank - a.rank() ? 1 : a[i - (rank - a.rank())];
    const std::int64_t eb = i < rank - b.rank() ? 1 : b[i - (rank - b.rank())];
    if (ea != eb && ea != 1 && eb != 1)
      throw Error(op, fmt::format("shapes {} and {} do not broadcast", a.str(), b.str()));
    out[i] = ea == 1 ? eb : ea;
  }
  return Shape(out.data(), out.data() + rank);
}

}  // namespace sfumato
