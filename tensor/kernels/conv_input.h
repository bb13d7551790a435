// How a convolution reads its input (ConvInput): copied row by row into scratch memory, where
// normalisation, SiLU and doubling of the pixels happen on the way.
#pragma once
#include "tensor/kernels/norm.h"
#include "tensor/kernels/tile.h"

namespace sfumato::kernels::SFUMATO_ISA_NAME {

// Numbers in one image of x, as it is stored.
template <class T>
index stored_size(const Conv& s, const ConvInput<T>& in) {
  return (in.upsample ? s.h / 2 * (s.w / 2) : s.h * s.w) * s.c;
}
template <class T>
GroupNorm norm_of(const Conv& s, const ConvInput<T>& in) {
  return {s.n, stored_size(s, in) / s.c, s.c, in.groups, in.eps, in.silu};
}

// x -> (x - center) scale + shift, one number each per channel of one image.
template <class T>
class ReadNorm {
 public:
  ReadNorm(const ConvInput<T>& in, index channels)
      : in_(in), channels_(channels), numbers_(in.groups > 0 ? 2 * channels : 0) {}
  // Writes the image's statistics; it is then in the cache.
  void measure(const Conv& s, index image) {
    const GroupNorm norm = norm_of(s, in_);
    group_statistics(norm, {0, s.c}, in_.x + image * norm.hw * s.c, numbers_.get(),
                     in_.mean + image * in_.groups, in_.rstd + image * in_.groups);
  }
  void set_image(index image) {
    if (in_.groups == 0) return;
    const index per_group = channels_ / in_.groups;
    const T *mean = in_.mean + image * in_.groups, *rstd = in_.rstd + image * in_.groups;
    for (index c = 0; c < channels_; ++c) {
      numbers_[c] = mean[c / per_group];
      numbers_[channels_ + c] = rstd[c / per_group] * in_.gamma[c];
    }
  }
  // to[i * to_step + c] for `pixels` pixels and all channels. Where to_step has room for whole
  // vectors, the rest of the last one becomes 0.
  void copy(const T* from, index pixels, T* to, index to_step) const {
    // Pixel by pixel, as memory lies: the hardware fetches ahead of a plain scan.
    const auto run = [&](auto value) {
      const index sources = in_.upsample ? pixels / 2 : pixels;
      for (index i = 0; i < sources; ++i) {
        for_vectors<T>(channels_, [&](index c, auto extent) {
          const Vec<T> v = value(load(from + i * channels_ + c, extent), c, extent);
          const auto put = [&](index pixel) {
            if (to_step == channels_) {
              store<T>(to + pixel * to_step + c, v, extent);
            } else {
              store<T>(to + pixel * to_step + c, v);
            }
          };
          if (in_.upsample) {
            put(2 * i);
            put(2 * i + 1);
          } else {
            put(i);
          }
        });
      }
    };
    const auto norm = [&](Vec<T> x, index c, auto extent) {
      const Vec<T> center = load(numbers_.get() + c, extent);
      const Vec<T> scale = load(numbers_.get() + channels_ + c, extent);
      return (x - center) * scale + load(in_.beta + c, extent);
    };
    if (in_.groups == 0) {
      run([](Vec<T> x, index, auto) { return x; });
    } else if (in_.silu) {
      run([&](Vec<T> x, index c, auto extent) { return silu<T>(norm(x, c, extent)); });
    } else {
      run(norm);
    }
  }

 private:
  const ConvInput<T>& in_;
  index channels_;
  Scratch<T> numbers_;
};

// Rows [top, top + rows) and columns [left, left + cols) of an image of s, with zeros outside it:
// to[row][col][step channels]. x: the image as it is stored.
template <class T>
void read_window(const Conv& s, const ConvInput<T>& in, const ReadNorm<T>& norm, const T* x,
                 index top, index rows, index left, index cols, T* to, index step) {
  const int half = in.upsample ? 1 : 0;
  const index begin = clamp_to(-left, 0, cols), end = clamp_to(s.w - left, begin, cols);
  for (index r = top; r < top + rows; ++r, to += cols * step) {
    if (r < 0 || r >= s.h) {
      zero(to, cols * step);
      continue;
    }
    zero(to, begin * step);
    // (An upsampled image begins at an even column here: its padding is 0 or at the left.)
    norm.copy(x + ((r >> half) * (s.w >> half) + ((left + begin) >> half)) * s.c, end - begin,
              to + begin * step, step);
    zero(to + end * step, (cols - end) * step);
  }
}

}  // namespace sfumato::kernels::SFUMATO_ISA_NAME
