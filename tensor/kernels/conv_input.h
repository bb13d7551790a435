// How a convolution reads its input (ConvInput): copied row by row into scratch memory, where
// normalisation, SiLU and doubling of the pixels happen on the way.
#pragma once
#include "tensor/kernels/norm.h"
#include "tensor/kernels/tile.h"

namespace sfumato::kernels::SFUMATO_ISA_NAME {

// Pixels of one image of x, as it is stored.
template <class T>
index stored_pixels(const Conv& s, const ConvInput<T>& in) {
  return in.upsample ? s.h / 2 * (s.w / 2) : s.h * s.w;
}
template <class T>
GroupNorm norm_of(const Conv& s, const ConvInput<T>& in) {
  return {s.n, stored_pixels(s, in), s.c, in.groups, in.eps, in.silu};
}
template <class T>
Image<const T> image_of(const Conv& s, const ConvInput<T>& in) {
  return {in.x, s.c, in.beside, in.beside_c};
}
// Where its gradient goes, and what is added to it.
template <class T>
Image<T> gradient_of(const Conv& s, const ConvInput<T>& in, const ConvGradients<T>& g) {
  return {g.dx, s.c, g.dbeside, in.beside_c};
}
template <class T>
Image<const T> added_of(const Conv& s, const ConvInput<T>& in, const ConvGradients<T>& g) {
  return {g.add, s.c, g.add_beside, in.beside_c};
}

// x -> (x - center) scale + shift, one number each per channel of one image.
template <class T>
class ReadNorm {
 public:
  ReadNorm(const Conv& s, const ConvInput<T>& in)
      : in_(in),
        image_(image_of(s, in)),
        channels_(s.c),
        numbers_(in.groups > 0 ? 2 * channels_ : 0) {}
  // Writes the image's statistics; it is then in the cache.
  void measure(const Conv& s, index image) {
    const GroupNorm norm = norm_of(s, in_);
    group_statistics(norm, {0, s.c}, image_.from(image * norm.hw), numbers_.get(),
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
  // to[i * to_step + c] for `pixels` pixels, from stored pixel `first` on, and all channels. Where
  // to_step has room for whole vectors, the rest of the last one becomes 0.
  void copy(index first, index pixels, T* to, index to_step) const {
    const bool exact = to_step == channels_ || image_.beside_c > 0;
    if (exact && to_step > channels_) {
      for (index i = 1; i <= pixels; ++i) store<T>(to + i * to_step - kLanes<T>, Vec<T>{});
    }
    // Pixel by pixel, as memory lies: the hardware fetches ahead of a plain scan.
    const auto run = [&](auto value) {
      const index copies = in_.upsample ? 2 : 1, step = to_step;
      const bool masked = exact;
      image_.parts({0, channels_}, [&](Range part) {
        const index channels = part.size(), begin = part.begin;
        const T* from = image_.at(first, begin);
        T* pixel = to + begin;
        T* const end = pixel + pixels * step;
        for (; pixel < end; from += channels) {
          for (index copy = 0; copy < copies; ++copy, pixel += step) {
            for_vectors<T>(channels, [&](index c, auto extent) {
              const Vec<T> v = value(load(from + c, extent), begin + c, extent);
              if (masked) {
                store<T>(pixel + c, v, extent);
              } else {
                store<T>(pixel + c, v);
              }
            });
          }
        }
      });
    };
    const T *const center = numbers_.get(), *const scale = center + channels_,
                   *const shift = in_.beta;
    const auto norm = [&](Vec<T> x, index c, auto extent) {
      return (x - load(center + c, extent)) * load(scale + c, extent) + load(shift + c, extent);
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
  Image<const T> image_;
  index channels_;
  Scratch<T> numbers_;
};

// The gradient of pixels that were only read, `du`, to where it belongs.
template <class T>
void place_gradient(const T* du, index pixels, const Image<const T>& add, const Image<T>& dx) {
  dx.parts({0, dx.c}, [&](Range part) {
    const T* summand = add.at(0, part.begin);
    T* to = dx.at(0, part.begin);
    for (index i = 0; i < pixels; ++i) {
      for_vectors<T>(part.size(), [&](index c, auto extent) {
        const Vec<T> d = load(du + i * dx.c + part.begin + c, extent);
        const index j = i * part.size() + c;
        store<T>(to + j, summand ? d + load(summand + j, extent) : d, extent);
      });
    }
  });
}

// Rows [top, top + rows) and columns [left, left + cols) of an image of s, with zeros outside it:
// to[row][col][step channels]. Its pixels are not doubled.
template <class T>
void read_window(const Conv& s, const ReadNorm<T>& norm, index image, index top, index rows,
                 index left, index cols, T* to, index step) {
  const index begin = clamp_to(-left, 0, cols), end = clamp_to(s.w - left, begin, cols);
  for (index r = top; r < top + rows; ++r, to += cols * step) {
    if (r < 0 || r >= s.h) {
      zero(to, cols * step);
      continue;
    }
    zero(to, begin * step);
    norm.copy((image * s.h + r) * s.w + left + begin, end - begin, to + begin * step, step);
    zero(to + end * step, (cols - end) * step);
  }
}

}  // namespace sfumato::kernels::SFUMATO_ISA_NAME
