// U = G g Gᵀ: the filters of a convolution, transformed once per call or kept (conv_filters).
#pragma once
#include "tensor/kernels/transpose.h"
#include "tensor/kernels/winograd_passes.h"

namespace sfumato::kernels::SFUMATO_ISA_NAME {

// Some channels of panel p of U, [point][channel][lane].
template <class T, int Taps>
void winograd_filter_panel(const Conv& conv, const WeightOrder& order, index p, Range channels,
                           const T* w, T* panel) {
  constexpr index kL = kLanes<T>;
  const Panels<T> panels{conv.k};
  const index width = panels.width(p), lanes = panels.lanes(p);
  const index point = filter_panels<T>(conv).step(p);
  for (index c = channels.begin; c < channels.end; ++c) {
    for (index lane = 0; lane < width; lane += kL) {
      Vec<T> taps[Taps * Taps];
      rows_to_lanes(w + (p * panels.kWidth + lane) * order.out + c * order.in, order.out,
                    smaller(lanes - lane, kL), taps);
      const Vec<T>* const first = order.mirrored ? taps + Taps * Taps - 1 : taps;
      const int step = order.mirrored ? -1 : 1;
      const auto tap = [&](int i, int j) __attribute__((always_inline)) {
        return first[step * (Taps * i + j)];
      };
      T* const to = panel + c * width + lane;
      const auto put = [&](int i, const Vec<T>(&u)[6]) __attribute__((always_inline)) {
#pragma GCC unroll 6
        for (int j = 0; j < 6; ++j) store<T>(to + (6 * i + j) * point, u[j]);
      };
      using G = FilterTransform<T, Taps>;
      transform_2d<G, G, Vec<T>>(ElementSource{tap}, RowSink{put});
    }
  }
}

template <class T>
void winograd_filters(const Conv& conv, const WeightOrder& order, const T* w, T* filters) {
  const Panels<T> panels{conv.k};
  const index blocks = div_up(conv.c, kBlock);
  parallel_for(panels.count() * blocks, [&](index task) {
    const index p = task / blocks, c = task % blocks * kBlock;
    const Range channels{c, smaller(c + kBlock, conv.c)};
    T* const panel = filters + filter_panels<T>(conv).begin(p);
    const auto transform = conv.kh == 2 ? winograd_filter_panel<T, 2> : winograd_filter_panel<T, 3>;
    transform(conv, order, p, channels, w, panel);
  });
}

}  // namespace sfumato::kernels::SFUMATO_ISA_NAME
