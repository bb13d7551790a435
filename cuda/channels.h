// Images as kernels see them: pixels [n * h * w], each with its channels.
#pragma once
#include <algorithm>
#include <bit>
#include <cmath>

#include "cuda/chunk.h"
#include "cuda/divide.h"
#include "cuda/launch.h"
#include "tensor/kernels/kernels.h"

namespace sfumato::cuda {

using kernels::index;

// The channels of a pixel in one array [pixels, count] or in two, the second [pixels, rest].
template <class T>
struct Channels {
  T* first = nullptr;
  unsigned count = 0;
  T* second = nullptr;
  unsigned rest = 0;

  constexpr T& at(index pixel, unsigned c) const {
    return c < count ? first[pixel * count + c] : second[pixel * rest + c - count];
  }
  // Whether pixels are made of whole chunks, or runs of kCount numbers (chunk.h).
  template <int kCount = kOfChunk<T>>
  bool in_runs() const {
    return cuda::in_runs<T, kCount>(count, first) && cuda::in_runs<T, kCount>(rest, second);
  }
  bool in_chunks() const { return in_runs(); }
  // 0 where there is no array.
  constexpr Wide<std::remove_const_t<T>> or_zero(index pixel, unsigned c) const {
    if (c < count ? first : second) return at(pixel, c);
    return 0;
  }
};

// The channels [c, c + kCount) of all pixels, those of them that come before `end`. A thread moves a pixel's at once if pixels are
// made of such runs. (A reference, so that a kernel's argument is read from where arguments are, and needs no registers.)
template <class T, int kCount = kOfChunk<std::remove_const_t<T>>>
class Strip {
  using Number = std::remove_const_t<T>;

 public:
  constexpr Strip(const Channels<T>& of, bool in_runs, unsigned c, unsigned end)
      : of_(of), in_runs_(in_runs), c_(c), end_(end) {}

  // 0 where there is no array.
  __device__ Numbers<Wide<Number>, kCount> load(index pixel) const {
    Numbers<Wide<Number>, kCount> v = {};
    if (!in_runs_) {
      for (int i = 0; i < kCount; ++i)
        if (c_ + i < end_) v.of[i] = of_.or_zero(pixel, c_ + i);
    } else if (c_ < of_.count ? of_.first : of_.second) {
      SFUMATO_UNROLL
      for (int at = 0; at < kCount; at += kAtOnce) {
        const auto in = std::bit_cast<Stored>(read_words<Words<kBytes>>(&of_.at(pixel, c_ + at)));
        SFUMATO_UNROLL
        for (int i = 0; i < kAtOnce; ++i) v.of[at + i] = in.numbers[i];
      }
    }
    return v;
  }
  __device__ void store(index pixel, const Numbers<Wide<Number>, kCount>& v) const {
    if (!in_runs_) {
      for (int i = 0; i < kCount; ++i)
        if (c_ + i < end_) of_.at(pixel, c_ + i) = static_cast<Number>(v.of[i]);
      return;
    }
    SFUMATO_UNROLL
    for (int at = 0; at < kCount; at += kAtOnce) {
      Stored out;
      SFUMATO_UNROLL
      for (int i = 0; i < kAtOnce; ++i) out.numbers[i] = static_cast<Number>(v.of[at + i]);
      write_words(&of_.at(pixel, c_ + at), std::bit_cast<Words<kBytes>>(out));
    }
  }

 private:
  static constexpr int kAtOnce = std::min(kCount, kOfChunk<Number>);
  static constexpr int kBytes = kAtOnce * static_cast<int>(sizeof(Number));
  struct Stored {
    Number numbers[kAtOnce];
  };
  const Channels<T>& of_;
  bool in_runs_;
  unsigned c_, end_;
};

// Kernels count in 32 bits where they divide, since a GPU has no instruction for 64.
constexpr unsigned narrow(index i) { return static_cast<unsigned>(i); }

// Image x normalised by groups of channels, then SiLU if asked:
//   xhat = (x - mean) rstd,  z = gamma xhat + beta,  u = z or z sigmoid(z).
// Without statistics (groups = 0), z = x.
template <class T>
struct Normalised {
  Channels<const T> x;
  unsigned groups = 0;  // of an image
  Divisor per_group{};  // channels of a group
  const Wide<T>*gamma = nullptr, *beta = nullptr, *mean = nullptr, *rstd = nullptr;
  bool silu = false;

  // Whether u is x.
  constexpr bool plain() const { return groups == 0 && !silu; }
  // du/dz.
  static constexpr Wide<T> slope(bool silu, Wide<T> z) {
    if (!silu) return 1;
    const Wide<T> s = 1 / (1 + std::exp(-z));
    return s * (1 + z * (1 - s));
  }
  constexpr Wide<T> slope(Wide<T> z) const { return slope(silu, z); }
  constexpr Wide<T> u(index image, index pixel, unsigned c) const {
    return of_channel(image, c)(x.at(pixel, c));
  }

  // u of a channel of an image, as a function of x.
  struct OfChannel {
    bool normalises, silu;
    Wide<T> gamma, beta, mean, rstd;
    constexpr Wide<T> operator()(Wide<T> x) const {
      const Wide<T> z = normalises ? gamma * xhat(x) + beta : x;
      return silu ? z / (1 + std::exp(-z)) : z;
    }
    constexpr Wide<T> xhat(Wide<T> x) const { return (x - mean) * rstd; }
    // du/dz, of a channel that is normalised.
    constexpr Wide<T> slope(Wide<T> xhat) const {
      return Normalised::slope(silu, gamma * xhat + beta);
    }
  };
  constexpr OfChannel of_channel(index image, unsigned c) const {
    if (groups == 0) return {false, silu, 1, 0, 0, 1};
    const index group = image * groups + c / per_group;
    return {true, silu, gamma[c], beta[c], mean[group], rstd[group]};
  }
};

// f(row, col) for every row < rows and col < cols: a block takes whole rows, so that what depends on
// the row is the same for its threads. Both are less than 2^32.
template <class F>
struct ForEachOfRow {
  static constexpr int kThreads = 128;
  index rows;
  unsigned cols;
  F f;

  __device__ void operator()() const {
    for (index row = blockIdx.x; row < rows; row += gridDim.x)
      for (unsigned col = threadIdx.x; col < cols; col += kThreads)
        f(static_cast<unsigned>(row), col);
  }
};
template <class F>
void for_each_of_row(index rows, index cols, const F& f) {
  constexpr index kBlocks = 1 << 30;
  launch({rows < kBlocks ? rows : kBlocks}, ForEachOfRow<F>{rows, narrow(cols), f});
}

}  // namespace sfumato::cuda
