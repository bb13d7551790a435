// Group normalisation for the convolutions, which measure, apply and differentiate it in their own
// passes. Its functions are defined in norm_statistics.h and norm_backward.h and compiled once, in
// sets/norm.cpp.
#pragma once
#include "tensor/kernels/image.h"

namespace sfumato::kernels::SFUMATO_ISA_NAME {

// mean and rstd of the groups in `channels`, for one image. of_channel: scratch [channels.size()].
template <class T>
void group_statistics(const GroupNorm& s, Range channels, const Image<const T>& x, T* of_channel,
                      T* mean, T* rstd);
// Of all images.
template <class T>
void group_norm_statistics(const GroupNorm& s, const Image<const T>& x, T* mean, T* rstd);

// Some channels of one image, backward.
template <class T>
struct NormImageBackward {
  const GroupNorm& norm;
  Range channels;
  Image<const T> x;
  const T *gamma, *beta, *mean, *rstd;  // gamma, beta [c]; mean, rstd [groups]
  const T* dy;                          // [hw, c]
  T* dz;                                // scratch [hw, channels.size()]; may be dy if all channels
  T* work;                              // scratch [4, channels.size()]
  Image<T> dx;                          // in memory like x
  Image<const T> add;                   // null, or added to dx
  bool streamed;                        // dx is written by non-temporal stores
  T *dgamma, *dbeta;                    // [channels.size()]: added to, or if `first` overwritten
  bool first;
  T* y = nullptr;  // null, or where the output goes, [hw, channels.size()]

  T* centers() const { return work; }                       // mean of each channel's group
  T* scales() const { return work + channels.size(); }      // rstd
  T* sums_a() const { return work + 2 * channels.size(); }  // Σ dz, then rstd A/m
  T* sums_b() const { return work + 3 * channels.size(); }  // Σ dz xhat, then rstd² B/m
};
template <class T>
void group_norm_backward_image(const NormImageBackward<T>& image);

// kernels.h's group_norm_backward, for images that may have skip channels.
template <class T>
struct NormBackward {
  GroupNorm norm;
  Image<const T> x;
  const T *gamma, *beta, *mean, *rstd, *dy;
  Image<const T> add;
  Image<T> dx;
  T *dgamma, *dbeta;
};
template <class T>
void group_norm_gradients(const NormBackward<T>& g);

// dgamma and dbeta: the partial sums [count][gamma, beta][c], added up in order.
template <class T>
void add_norm_partials(index c, index count, const T* partials, T* dgamma, T* dbeta) {
  for (index i = 0; i < c; ++i) {
    dgamma[i] = dbeta[i] = 0;
    for (index p = 0; p < count; ++p) {
      dgamma[i] += partials[p * 2 * c + i];
      dbeta[i] += partials[p * 2 * c + c + i];
    }
  }
}

}  // namespace sfumato::kernels::SFUMATO_ISA_NAME
