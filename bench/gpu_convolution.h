// One convolution on a GPU, of random numbers, as its three passes that benchmarks take apart.
#pragma once
#include "tensor/kernels/kernels.h"
#include "tensor/rng.h"

namespace sfumato::bench {

template <class T>
class GpuConvolution {
 public:
  explicit GpuConvolution(const kernels::Conv& s)
      : s_(s),
        x_(draw({s.n, s.h, s.w, s.c}, 0)),
        w_(draw({s.k, s.c, s.kh, s.kw}, 1)),
        dy_(draw({s.n, s.oh, s.ow, s.k}, 2)),
        y_(dy_.shape(), dy_.kind()),
        dx_(x_.shape(), x_.kind()),
        dw_(w_.shape(), Kind{dtype_of<Wide<T>>(), Device::cuda}) {}

  void forward() {
    gpu().conv_forward(s_, in(), w_.template data<T>(), {.y = y_.template data<T>()}, nullptr);
  }
  void input_gradient() { backward({.dx = dx_.template data<T>()}); }
  void weight_gradient() { backward({.dw = dw_.template data<Wide<T>>()}); }

 private:
  static Tensor draw(const Shape& shape, std::uint64_t stream) {
    return Rng(0, Purpose::general, stream, Device::cuda).normal(shape).to(dtype_of<T>());
  }
  static const kernels::Kernels<T>& gpu() { return kernels::on<T>(Device::cuda); }
  kernels::ConvInput<T> in() const { return {.x = x_.template data<T>()}; }
  void backward(const kernels::ConvGradients<T>& to) {
    gpu().conv_backward(s_, in(), dy_.template data<T>(), w_.template data<T>(), to);
  }

  kernels::Conv s_;
  Tensor x_, w_, dy_, y_, dx_, dw_;
};

}  // namespace sfumato::bench
