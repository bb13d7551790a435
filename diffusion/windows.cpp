// MultiDiffusion's denoiser (editing.h).
#include <fmt/format.h>

#include <algorithm>
#include <vector>

#include "diffusion/editing.h"
#include "tensor/for_each.h"

namespace sfumato::diffusion {
namespace {

// A window of canvases [N,H,W,C], and where its elements [N,h,w,C] are in them.
struct Window {
  std::int64_t height, width, canvas_height, canvas_width, channels;
  std::int64_t top = 0, left = 0;
  constexpr std::int64_t on_canvas(std::int64_t i) const {
    const std::int64_t c = i % channels, x = i / channels % width;
    const std::int64_t y = i / channels / width % height, n = i / channels / width / height;
    return ((n * canvas_height + top + y) * canvas_width + left + x) * channels + c;
  }
};

template <class T>
struct CutOut {
  Window window;
  const T* canvas;
  T* out;
  constexpr void operator()(std::int64_t i) const { out[i] = canvas[window.on_canvas(i)]; }
};

// Adds an answer, and 1 to the number of answers.
template <class T>
struct AddIn {
  Window window;
  const T* answer;
  T *sum, *count;
  constexpr void operator()(std::int64_t i) const {
    sum[window.on_canvas(i)] += answer[i];
    count[window.on_canvas(i)] += T(1);
  }
};

template <class T>
struct DivideBy {
  T* sum;
  const T* count;
  constexpr void operator()(std::int64_t i) const { sum[i] /= count[i]; }
};

// Where windows begin along an axis.
std::vector<std::int64_t> origins(std::int64_t canvas, std::int64_t window, std::int64_t stride) {
  if (canvas < window || stride < 1 || stride > window)
    throw Error("windowed",
                fmt::format("expected a canvas of at least {} pixels and a stride in 1..{}, got {} "
                            "and {}",
                            window, window, canvas, stride));
  std::vector<std::int64_t> result;
  for (std::int64_t at = 0; at < canvas - window; at += stride) result.push_back(at);
  result.push_back(canvas - window);
  return result;
}

}  // namespace

Denoiser windowed(const Denoiser& denoiser, const io::Extent& window, const io::Extent& stride) {
  return [=](const Tensor& xt, double t) {
    expect_rank("windowed", "xt", xt, 4);
    const std::int64_t n = xt.dim(0), H = xt.dim(1), W = xt.dim(2), C = xt.dim(3);
    const std::vector<std::int64_t> tops = origins(H, window.height, stride.height),
                                    lefts = origins(W, window.width, stride.width);
    Tensor sum, count;
    dispatch_float("windowed", xt.dtype(), [&]<class T>() {
      for (const std::int64_t top : tops)
        for (const std::int64_t left : lefts) {
          Window at{window.height, window.width, H, W, C, top, left};
          Tensor part({n, window.height, window.width, C}, xt.kind());
          for_each(xt.device(), part.size(), CutOut<T>{at, xt.data<T>(), part.data<T>()});
          const Tensor answer = denoiser(part, t);
          at.channels = answer.dim(3);  // not always as many as xt's
          if (!sum.defined()) {
            sum = Tensor::zeros({n, H, W, at.channels}, xt.kind());
            count = Tensor::zeros(sum.shape(), xt.kind());
          }
          for_each(xt.device(), answer.size(),
                   AddIn<T>{at, answer.data<T>(), sum.data<T>(), count.data<T>()});
        }
      for_each(xt.device(), sum.size(), DivideBy<T>{sum.data<T>(), count.data<T>()});
    });
    return sum;
  };
}

}  // namespace sfumato::diffusion
