// The convolutions of kernels.h: Winograd where it pays, else direct.
#pragma once
#include "tensor/kernels/winograd.h"

namespace sfumato::kernels::SFUMATO_ISA_NAME {

// The direct kernels read plain images: what ConvInput promises is done in a pass of its own first.
template <class T>
class PlainInput {
 public:
  PlainInput(const Conv& s, const ConvInput<T>& in)
      : plain_(!in.upsample && in.groups == 0),
        x_(in.x),
        copy_(plain_ ? 0 : s.n * s.h * s.w * s.c) {
    if (plain_) return;
    const index rows = in.upsample ? s.h / 2 : s.h, cols = in.upsample ? s.w / 2 : s.w;
    parallel_for(s.n, [&](index image) {
      ReadNorm<T> norm(in, s.c);
      norm.set_image(image);
      for (index r = 0; r < s.h; ++r) {
        const index from = in.upsample ? r / 2 : r;
        norm.copy(in.x + (image * rows + from) * cols * s.c, s.w,
                  copy_.get() + (image * s.h + r) * s.w * s.c, s.c);
      }
    });
  }
  const T* get() const { return plain_ ? x_ : copy_.get(); }

 private:
  bool plain_;
  const T* x_;
  Scratch<T> copy_;
};

// What a direct convolution leaves for ConvOutput to add.
template <class T>
void add_to_output(const Conv& s, const ConvOutput<T>& out) {
  if (out.per_image == nullptr && out.residual == nullptr) return;
  parallel_for(s.n * s.oh, [&](index row) {
    const index image = row / s.oh, size = s.ow * s.k;
    for_vectors<T>(s.k, [&](index o, auto extent) {
      const Vec<T> shift = out.per_image ? load(out.per_image + image * s.k + o, extent) : Vec<T>{};
      for (index i = row * size + o; i < (row + 1) * size; i += s.k) {
        Vec<T> y = load(out.y + i, extent) + shift;
        if (out.residual) y += load(out.residual + i, extent);
        store<T>(out.y + i, y, extent);
      }
    });
  });
}

template <class T>
index conv_filters_size(const Conv& s) {
  return winograd_pays<T>(s) ? winograd_filters_size<T>(s) : 0;
}
template <class T>
void conv_filters(const Conv& s, const T* w, T* filters) {
  if (winograd_pays<T>(s)) winograd_filters(s, {s.c * 9, 9, false}, w, filters);
}

template <class T>
void conv_forward(const Conv& s, const ConvInput<T>& in, const T* w, const ConvOutput<T>& out,
                  const T* filters) {
  if (s.n <= 0 || s.oh <= 0 || s.ow <= 0 || s.k <= 0) return;
  if (winograd_pays<T>(s)) {
    const Scratch<T> made(filters ? 0 : winograd_filters_size<T>(s));
    if (!filters) winograd_filters(s, {s.c * 9, 9, false}, w, made.get());
    return winograd(s, in, filters ? filters : made.get(), out);
  }
  direct_forward(s, PlainInput<T>(s, in).get(), w, out.bias, out.y);
  add_to_output(s, out);
}

// to[n, h/2, w/2, c] (+)= the sums of 2x2 blocks of from[n, h, w, c].
template <class T>
void sum_blocks(const Conv& s, const T* from, bool add, T* to) {
  const index line = s.w * s.c;
  parallel_for(s.n * (s.h / 2), [&](index row) {
    for (index j = 0; j < s.w / 2; ++j) {
      const T* f = from + 2 * row * line + 2 * j * s.c;
      T* t = to + (row * (s.w / 2) + j) * s.c;
      for_vectors<T>(s.c, [&](index c, auto e) {
        const Vec<T> sum = (load(f + c, e) + load(f + s.c + c, e)) +
                           (load(f + line + c, e) + load(f + line + s.c + c, e));
        store<T>(t + c, add ? load(t + c, e) + sum : sum, e);
      });
    }
  });
}

template <class T>
void conv_backward_data(const Conv& s, const T* dy, const T* w, T* dx, bool upsample,
                        bool accumulate) {
  if (s.n <= 0 || s.h <= 0 || s.w <= 0 || s.c <= 0) return;
  if (winograd_pays<T>(s)) {
    // The adjoint at stride 1 is a convolution of dy with the taps mirrored.
    const Conv turned{s.n, s.oh, s.ow, s.k, s.h, s.w, s.c, 3, 3, 1, 2 - s.pad_top, 2 - s.pad_left};
    ConvOutput<T> out{dx};
    out.sum_2x2 = upsample;
    out.residual = accumulate ? dx : nullptr;
    const Scratch<T> filters(winograd_filters_size<T>(turned));
    winograd_filters(turned, {9, s.c * 9, true}, w, filters.get());
    return winograd(turned, ConvInput<T>{dy}, filters.get(), out);
  }
  if (is_pointwise(s) && !upsample) {
    const Gemm g{s.n * s.h * s.w, s.c, s.k, false, false, accumulate, s.k, s.c, s.c};
    return gemm_rows(g, dy, w, static_cast<const T*>(nullptr), dx);
  }
  if (!upsample && !accumulate) return direct_backward_data(s, dy, w, dx);
  const index size = s.n * s.h * s.w * s.c;
  const Scratch<T> full(size);
  direct_backward_data(s, dy, w, full.get());
  if (upsample) return sum_blocks(s, full.get(), accumulate, dx);
  parallel_ranges(size, 1 << 14, [&](index begin, index end) {
    for_vectors<T>(end - begin, [&](index i, auto e) {
      store<T>(dx + begin + i, load(dx + begin + i, e) + load(full.get() + begin + i, e), e);
    });
  });
}

template <class T>
void conv_backward_weights(const Conv& s, const ConvInput<T>& in, const T* dy, T* dw, T* db) {
  if (s.k <= 0 || s.c <= 0) return;
  if (s.n <= 0 || s.oh <= 0 || s.ow <= 0) {
    zero(dw, s.k * s.c * s.kh * s.kw);
    if (db) zero(db, s.k);
  } else if (winograd_pays<T>(s)) {
    winograd_backward_weights(s, in, dy, dw, db);
  } else {
    direct_backward_weights(s, PlainInput<T>(s, in).get(), dy, dw, db);
  }
}

}  // namespace sfumato::kernels::SFUMATO_ISA_NAME
