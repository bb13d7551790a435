// Images as kernels see them: pixels [n * h * w], each with its channels.
#pragma once
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
  T* first;
  unsigned count;
  T* second = nullptr;
  unsigned rest = 0;

  constexpr T& at(index pixel, unsigned c) const {
    return c < count ? first[pixel * count + c] : second[pixel * rest + c - count];
  }
  // A channel of all pixels.
  struct Column {
    T* first;
    unsigned step;
    constexpr T& operator[](index pixel) const { return first[pixel * step]; }
  };
  constexpr Column column(unsigned c) const {
    return c < count ? Column{first + c, count} : Column{second + c - count, rest};
  }
  // Whether pixels are made of whole chunks.
  bool in_chunks() const { return cuda::in_chunks(count, first) && cuda::in_chunks(rest, second); }
  // 0 where there is no array.
  constexpr Wide<std::remove_const_t<T>> or_zero(index pixel, unsigned c) const {
    if (c < count ? first : second) return at(pixel, c);
    return 0;
  }
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
  constexpr Wide<T> xhat(index image, index pixel, unsigned c) const {
    const index group = image * groups + c / per_group;
    return (x.at(pixel, c) - mean[group]) * rstd[group];
  }
  // du/dz.
  constexpr Wide<T> slope(Wide<T> z) const {
    if (!silu) return 1;
    const Wide<T> s = 1 / (1 + std::exp(-z));
    return s * (1 + z * (1 - s));
  }
  constexpr Wide<T> slope(Wide<T> xhat, unsigned c) const {
    return silu ? slope(gamma[c] * xhat + beta[c]) : 1;
  }
  constexpr Wide<T> u(index image, index pixel, unsigned c) const {
    return of_channel(image, c)(x.at(pixel, c));
  }

  // u of a channel of an image, as a function of x.
  struct OfChannel {
    bool normalises, silu;
    Wide<T> gamma, beta, mean, rstd;
    constexpr Wide<T> operator()(Wide<T> x) const {
      const Wide<T> z = normalises ? gamma * ((x - mean) * rstd) + beta : x;
      return silu ? z / (1 + std::exp(-z)) : z;
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
