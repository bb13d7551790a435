// Images whose channels lie in one array, or side by side in two: what a U-Net's up path sees are
// the channels of the level below beside those of the way down, never copied together.
#pragma once
#include "tensor/kernels/simd.h"

namespace sfumato::kernels::SFUMATO_ISA_NAME {

// Pixels of c channels, the last beside_c of them in an array of their own.
template <class T>
struct Image {
  T* x;  // [pixels, c - beside_c]
  index c;
  T* beside = nullptr;  // [pixels, beside_c]
  index beside_c = 0;

  index own() const { return c - beside_c; }
  // Distance between pixels of the array that has this channel.
  index step(index channel) const { return channel < own() ? own() : beside_c; }
  // Null where the array is.
  T* at(index pixel, index channel) const {
    T* const array = channel < own() ? x : beside;
    if (array == nullptr) return nullptr;
    return array + pixel * step(channel) + (channel < own() ? channel : channel - own());
  }
  Image from(index pixel) const {
    return {at(pixel, 0), c, beside_c > 0 ? at(pixel, own()) : nullptr, beside_c};
  }
  // f(part) for the channels of each array.
  template <class F>
  [[gnu::always_inline]] void parts(Range channels, F&& f) const {
    const Range arrays[2] = {{channels.begin, smaller(channels.end, own())},
                             {larger(channels.begin, own()), channels.end}};
    for (int i = 0; i < 2; ++i) {
      if (arrays[i].begin < arrays[i].end) f(arrays[i]);
    }
  }
};

// Whether to stream to an image of n * hw pixels, to which `add` is added.
template <class T>
bool streams(const Image<T>& to, const Image<const T>& add, index pixels) {
  bool all = true;
  to.parts({0, to.c}, [&](Range part) {
    T* const array = to.at(0, part.begin);
    all =
        all && add.at(0, part.begin) != array && streams(array, part.size(), pixels * part.size());
  });
  return all;
}

}  // namespace sfumato::kernels::SFUMATO_ISA_NAME
