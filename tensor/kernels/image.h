// Images whose channels lie in one array or in two. In a U-Net's up path a convolution reads the
// channels of the level below and those of the skip connection; they are not concatenated in memory.
#pragma once
#include "tensor/kernels/simd.h"

namespace sfumato::kernels::SFUMATO_ISA_NAME {

// Pixels of c channels, the last skip_channels of them in an array of their own.
template <class T>
struct Image {
  T* main;  // [pixels, c - skip_channels]
  index c;
  T* skip = nullptr;  // [pixels, skip_channels]
  index skip_channels = 0;

  index main_channels() const { return c - skip_channels; }
  // Distance between pixels of the array that has this channel.
  index step(index channel) const {
    return channel < main_channels() ? main_channels() : skip_channels;
  }
  // Null if the array is null.
  T* at(index pixel, index channel) const {
    T* const array = channel < main_channels() ? main : skip;
    if (array == nullptr) return nullptr;
    return array + pixel * step(channel) +
           (channel < main_channels() ? channel : channel - main_channels());
  }
  Image from(index pixel) const {
    return {at(pixel, 0), c, skip_channels > 0 ? at(pixel, main_channels()) : nullptr,
            skip_channels};
  }
  // f(segment) for the channels of each array.
  template <class F>
  [[gnu::always_inline]] void for_arrays(Range channels, F&& f) const {
    const Range arrays[2] = {{channels.begin, smaller(channels.end, main_channels())},
                             {larger(channels.begin, main_channels()), channels.end}};
    for (int i = 0; i < 2; ++i) {
      if (arrays[i].begin < arrays[i].end) f(arrays[i]);
    }
  }
};

// Whether to stream to an image of so many pixels, `add` being added to it.
template <class T>
bool streams(const Image<T>& to, const Image<const T>& add, index pixels) {
  bool all = true;
  to.for_arrays({0, to.c}, [&](Range segment) {
    T* const array = to.at(0, segment.begin);
    all = all && add.at(0, segment.begin) != array &&
          streams(array, segment.size(), pixels * segment.size());
  });
  return all;
}

}  // namespace sfumato::kernels::SFUMATO_ISA_NAME
