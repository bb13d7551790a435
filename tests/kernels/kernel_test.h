// What the kernel tests share: inputs, outputs with guard zones, comparison, and running each case
// for every instruction set and number type.
#pragma once
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <string>
#include <type_traits>
#include <vector>

#include "tensor/kernels/isa.h"
#include "tensor/kernels/kernels.h"
#include "tensor/kernels/reference.h"
#include "tensor/parallel.h"
#include "tensor/sanitizers.h"

namespace sfumato::kernels::testing {

// Numbers in [-1, 1), the same for every run and type. The vector ends exactly where the array
// does, so the address sanitizer sees a load that reads past it.
template <class T>
std::vector<T> numbers(index count, std::uint64_t seed) {
  std::vector<T> v(static_cast<std::size_t>(count));
  std::uint64_t state = seed * 0x9E3779B97F4A7C15u + 1;
  for (T& x : v) {
    state = state * 6364136223846793005u + 1442695040888963407u;
    x = static_cast<T>(static_cast<float>(state >> 40) / (1 << 23) - 1);
  }
  return v;
}

// An output array between two guard zones, aligned as tensors are (large ones are streamed to only
// then); NaN until written.
template <class T>
class Guarded {
 public:
  explicit Guarded(index count) : all_(count + 3 * kGuard, kMark) {
    for (index i = 0; i < count; ++i) data()[i] = static_cast<T>(NAN);
  }
  T* data() { return all_.data() + begin(); }
  index size() const { return static_cast<index>(all_.size()) - 3 * kGuard; }
  std::vector<T> values() { return std::vector<T>(data(), data() + size()); }
  void expect_guards_whole() const {
    for (index i = 1; i <= kGuard; ++i) {
      ASSERT_EQ(all_[begin() - i], kMark) << "written " << i << " before the array";
      ASSERT_EQ(all_[begin() + size() - 1 + i], kMark) << "written " << i << " after its end";
    }
  }

 private:
  // The first aligned element after kGuard others.
  index begin() const {
    const auto after = reinterpret_cast<std::uintptr_t>(all_.data() + kGuard);
    return kGuard + static_cast<index>((64 - after % 64) % 64 / sizeof(T));
  }
  static constexpr index kGuard = 64;
  static constexpr T kMark = static_cast<T>(-12345.25);
  std::vector<T> all_;
};

// The norm of the difference relative to the norm of what is expected.
template <class T>
double distance(const T* got, const std::vector<double>& expected) {
  double difference = 0, norm = 0;
  for (std::size_t i = 0; i < expected.size(); ++i) {
    const double d = static_cast<double>(got[i]) - expected[i];
    difference += d * d;
    norm += expected[i] * expected[i];
  }
  return std::sqrt(difference) / (norm > 0 ? std::sqrt(norm) : 1);
}

template <class T>
double by_type(double f32, double f64) {
  return std::is_same_v<T, double> ? f64 : f32;
}

template <class T>
void expect_close(Guarded<T>& got, const std::vector<double>& expected, const char* what,
                  double slack = 1) {
  ASSERT_EQ(got.size(), static_cast<index>(expected.size()));
  const double d = distance(got.data(), expected);
  EXPECT_TRUE((d < slack * by_type<T>(2e-6, 1e-14)))
      << what << ": relative distance " << d;  // false for NaN as well
  got.expect_guards_whole();
}

template <class T>
std::vector<double> as_double(const std::vector<T>& v) {
  return std::vector<double>(v.begin(), v.end());
}

// body.operator()<T>() for float on every instruction set of this machine, and for double on those
// that have their own kernels for it.
template <class Body>
void for_every_isa(const Body& body) {
  const Isa before = isa();
  for (const Isa each : available_isas()) {
    if (kThreadSanitizer && each == Isa::reference) continue;  // it has no threads
    SCOPED_TRACE(name(each));
    set_isa(each);
    {
      SCOPED_TRACE("f32");
      body.template operator()<float>();
    }
    if (!kThreadSanitizer && (each == Isa::reference || each == Isa::generic)) {
      SCOPED_TRACE("f64");  // shares its work among threads as f32 does
      body.template operator()<double>();
    }
  }
  set_isa(before);
}

// body() returns all outputs; they must be the same bits on any number of threads.
template <class Body>
void expect_same_on_any_threads(const Body& body) {
  const int before = thread_count();
  set_thread_count(1);
  const auto expected = body();
  for (const int threads : {2, 3, 16}) {
    set_thread_count(threads);
    const auto got = body();
    ASSERT_EQ(got.size(), expected.size());
    for (std::size_t i = 0; i < got.size(); ++i)
      ASSERT_EQ(got[i], expected[i]) << "element " << i << " on " << threads << " threads";
  }
  set_thread_count(before);
}

template <class T>
void append(std::vector<T>& to, Guarded<T>& from) {
  to.insert(to.end(), from.data(), from.data() + from.size());
}

}  // namespace sfumato::kernels::testing
