// How a convolution reads its input (ConvInput): copied row by row into scratch memory, with the
// prologue (normalisation, SiLU, nearest-neighbour 2x upsampling) applied while copying.
#pragma once
#include "tensor/kernels/conv_arguments.h"
#include "tensor/kernels/simd_math.h"
#include "tensor/kernels/tile.h"

namespace sfumato::kernels::SFUMATO_ISA_NAME {

// The prologue, x -> (x - center) scale + shift, with one center, scale and shift per channel of one
// image, then SiLU.
template <class T>
class Prologue {
 public:
  Prologue(const Conv& conv, const ConvInput<T>& in)
      : in_(in),
        image_(image_of(conv, in)),
        channels_(conv.c),
        center_scale_(in.groups > 0 ? 2 * channels_ : 0) {}
  // Writes the image's statistics; the image is then in the cache.
  void measure(const Conv& conv, index image) {
    const GroupNorm norm = norm_of(conv, in_);
    group_statistics(norm, {0, conv.c}, image_.from(image * norm.hw), center_scale_.get(),
                     in_.mean + image * in_.groups, in_.rstd + image * in_.groups);
  }
  void set_image(index image) {
    if (in_.groups == 0) return;
    const index per_group = channels_ / in_.groups;
    const T *mean = in_.mean + image * in_.groups, *rstd = in_.rstd + image * in_.groups;
    for (index c = 0; c < channels_; ++c) {
      center_scale_[c] = mean[c / per_group];
      center_scale_[channels_ + c] = rstd[c / per_group] * in_.gamma[c];
    }
  }
  // to[i * to_step + c] for `pixels` pixels, from stored pixel `first` on, and all channels. If
  // to_step has room for whole vectors, the lanes after the last channel become 0.
  void copy(index first, index pixels, T* to, index to_step) const {
    const bool exact = to_step == channels_ || image_.skip_channels > 0;
    if (exact && to_step > channels_) {
      for (index i = 1; i <= pixels; ++i) store<T>(to + i * to_step - kLanes<T>, Vec<T>{});
    }
    // Pixel by pixel, in the order of memory: the hardware prefetcher follows a linear scan.
    const auto run = [&](auto value) {
      const index copies = in_.upsample ? 2 : 1, step = to_step;
      const bool masked = exact;
      image_.for_arrays({0, channels_}, [&](Range segment) {
        const index channels = segment.size(), begin = segment.begin;
        const T* from = image_.at(first, begin);
        T* pixel = to + begin;
        T* const end = pixel + pixels * step;
        for (; pixel < end; from += channels) {
          for (index copy = 0; copy < copies; ++copy, pixel += step) {
            for_vectors<T>(channels, [&](index c, auto lanes) {
              const Vec<T> v = value(load(from + c, lanes), begin + c, lanes);
              if (masked) {
                store<T>(pixel + c, v, lanes);
              } else {
                store<T>(pixel + c, v);
              }
            });
          }
        }
      });
    };
    const T *const center = center_scale_.get(), *const scale = center + channels_,
                   *const shift = in_.beta;
    const auto norm = [&](Vec<T> x, index c, auto lanes) {
      return (x - load(center + c, lanes)) * load(scale + c, lanes) + load(shift + c, lanes);
    };
    if (in_.groups == 0) {
      run([](Vec<T> x, index, auto) { return x; });
    } else if (in_.silu) {
      run([&](Vec<T> x, index c, auto lanes) { return silu<T>(norm(x, c, lanes)); });
    } else {
      run(norm);
    }
  }

 private:
  const ConvInput<T>& in_;
  Image<const T> image_;
  index channels_;
  Scratch<T> center_scale_;  // [2, channels]
};

// A rectangle of an image, copied to [row][column][step channels], with zeros outside the image.
struct Window {
  index top, rows, left, cols;  // in pixels, or in blocks of them
  index step;                   // elements per pixel
};
template <class T>
void read_window(const Conv& conv, const Prologue<T>& prologue, index image, const Window& window,
                 T* to) {
  const index begin = clamp_to(-window.left, 0, window.cols);
  const index end = clamp_to(conv.w - window.left, begin, window.cols), step = window.step;
  for (index r = window.top; r < window.top + window.rows; ++r, to += window.cols * step) {
    if (r < 0 || r >= conv.h) {
      zero(to, window.cols * step);
      continue;
    }
    zero(to, begin * step);
    prologue.copy((image * conv.h + r) * conv.w + window.left + begin, end - begin,
                  to + begin * step, step);
    zero(to + end * step, (window.cols - end) * step);
  }
}

}  // namespace sfumato::kernels::SFUMATO_ISA_NAME
