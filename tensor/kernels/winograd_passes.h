// What the gradients call of the forward convolution (winograd_forward.h, winograd_filters.h), which
// is compiled once, in sets/winograd_forward.cpp.
#pragma once
#include "tensor/kernels/conv_arguments.h"
#include "tensor/kernels/winograd_images.h"
#include "tensor/kernels/winograd_layout.h"

namespace sfumato::kernels::SFUMATO_ISA_NAME {

// ---- U

template <class T>
PointPanels<T> filter_panels(const Conv& conv) {
  return {{conv.k}, conv.c};
}
// Elements of U.
template <class T>
index winograd_filters_size(const Conv& conv) {
  return filter_panels<T>(conv).size();
}

// All of U, for a convolution whose weights have the layout `order`.
template <class T>
void winograd_filters(const Conv& conv, const WeightOrder& order, const T* w, T* filters);

// ---- V

// The input of V: the input of a convolution, its layout, and whether the statistics of its
// normalisation are to be written first.
template <class T>
struct WinogradInput {
  const Conv& conv;
  const WinogradPlan& plan;
  const ConvInput<T>& in;
  TiledImage tiled = {};
  bool measure = false;
};

// V for some images of a block and some rows of their tiles.
template <class T>
void winograd_inputs(const WinogradInput<T>& input, const WinogradBlock& b, Range images,
                     Range tile_rows, const TileLayout& layout, T* v);

// ---- y

// A forward convolution, or the input gradient as the convolution of dy with mirrored filters.
template <class T>
struct WinogradJob {
  Conv conv;
  ConvInput<T> in;
  TiledImage in_tiled;  // blocks, if the input is a gradient of blocks
  bool measure;         // write the statistics of the input's normalisation first
  const T* filters;     // U
  ConvOutput<T> out;
  TiledImage out_tiled;
  bool streamed;
  Image<const T> prefetch = {};  // images like y that the caller reads next
};
template <class T>
void winograd(const WinogradJob<T>& job);

}  // namespace sfumato::kernels::SFUMATO_ISA_NAME
