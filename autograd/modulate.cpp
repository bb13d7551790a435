// What an image is told, channel by channel: scales, shifts and gates [N,C] for the tokens [N,T,C] of N images.
#include <fmt/format.h>

#include "autograd/ops.h"
#include "tensor/for_each.h"

namespace sfumato {
namespace {

struct Tokens {
  std::int64_t n, t, c;
};

Tokens tokens_of(const char* op, const Tensor& x) {
  expect_rank(op, "input", x, 3);
  return {x.dim(0), x.dim(1), x.dim(2)};
}

void expect_of_image(const char* op, const char* what, const Var& v, const Tensor& x) {
  expect_shape(op, what, v.value(), {x.dim(0), x.dim(2)});
  expect_kind(op, what, v.value(), wide(x.kind()));
}

// to = x (1 + scale) + shift; shift null: 0.
template <class T>
struct Modulated {
  Tokens s;
  const T* x;
  const Wide<T>*scale, *shift;
  T* to;

  struct Row {  // the channels of a token
    const T* x;
    const Wide<T>*scale, *shift;
    T* to;
    constexpr void operator()(std::int64_t j) const {
      to[j] = static_cast<T>(x[j] * (1 + scale[j]) + (shift ? shift[j] : 0));
    }
  };
  constexpr Row operator()(std::int64_t token) const {
    const std::int64_t of_image = token / s.t * s.c;
    return {x + token * s.c, scale + of_image, shift ? shift + of_image : nullptr,
            to + token * s.c};
  }
};

// to = x + gate y; x null: 0.
template <class T>
struct Gated {
  Tokens s;
  const T *x, *y;
  const Wide<T>* gate;
  T* to;

  struct Row {
    const T *x, *y;
    const Wide<T>* gate;
    T* to;
    constexpr void operator()(std::int64_t j) const {
      const Wide<T> summand = x ? static_cast<Wide<T>>(x[j]) : 0;
      to[j] = static_cast<T>(summand + gate[j] * y[j]);
    }
  };
  constexpr Row operator()(std::int64_t token) const {
    return {x ? x + token * s.c : nullptr, y + token * s.c, gate + token / s.t * s.c,
            to + token * s.c};
  }
};

// Σ dy x and Σ dy over the tokens of each image; sums null: not wanted. One call takes kColumns channels.
template <class T>
struct SumsOfImage {
  static constexpr std::int64_t kColumns = 16;
  Tokens s;
  const T *dy, *x;
  Wide<T>*products, *sums;

  constexpr std::int64_t blocks() const { return (s.c + kColumns - 1) / kColumns; }
  constexpr void operator()(std::int64_t i) const {
    const std::int64_t image = i / blocks(), first = i % blocks() * kColumns;
    const std::int64_t columns = std::min(kColumns, s.c - first);
    Wide<T> product[kColumns] = {}, sum[kColumns] = {};
    for (std::int64_t t = 0; t < s.t; ++t) {
      const std::int64_t at = (image * s.t + t) * s.c + first;
      for (std::int64_t j = 0; j < columns; ++j) {
        const Wide<T> d = dy[at + j];
        product[j] += d * x[at + j];
        sum[j] += d;
      }
    }
    for (std::int64_t j = 0; j < columns; ++j) {
      products[image * s.c + first + j] = product[j];
      if (sums) sums[image * s.c + first + j] = sum[j];
    }
  }
};

template <class T>
void sum_images(const Tokens& s, const Tensor& dy, const Tensor& x, Tensor products, Tensor sums) {
  const SumsOfImage<T> f{s, dy.data<T>(), x.data<T>(), products.data<Wide<T>>(),
                         sums.defined() ? sums.data<Wide<T>>() : nullptr};
  for_each(dy.device(), s.n * f.blocks(), f, /*grain=*/1 + kElementGrain / (1 + s.t * f.kColumns));
}

}  // namespace

// y = x (1 + s) + b:  dx = dy (1 + s),  ds = Σ_T dy x,  db = Σ_T dy
Var modulate(const Var& x, const Var& shift, const Var& scale) {
  const char* op = "modulate";
  const Tensor xv = x.value(), factor = scale.value();
  const Tokens s = tokens_of(op, xv);
  expect_of_image(op, "shift", shift, xv);
  expect_of_image(op, "scale", scale, xv);
  return dispatch_float(op, x.kind(), [&]<class T>() {
    const auto run = [s, factor](const Tensor& from, const Wide<T>* added) {
      Tensor to(from.shape(), from.kind());
      for_each_row(to.device(), s.n * s.t, s.c,
                   Modulated<T>{s, from.data<T>(), factor.data<Wide<T>>(), added, to.data<T>()});
      return to;
    };
    Tensor y = run(xv, shift.value().data<Wide<T>>());
    return record(op, y, {x, shift, scale}, kNoProducts, [=](const Tensor& dy, const Needs& needs) {
      Gradients g(3);
      if (needs[0]) g[0] = run(dy, nullptr);
      const Kind exact = wide(xv.kind());
      g[1] = Tensor({s.n, s.c}, exact), g[2] = Tensor({s.n, s.c}, exact);
      sum_images<T>(s, dy, xv, g[2], g[1]);
      return g;
    });
  });
}

// z = x + g y:  dx = dz,  dg = Σ_T dz y,  dy = g dz
Var gated_sum(const Var& x, const Var& gate, const Var& y) {
  const char* op = "gated_sum";
  const Tensor xv = x.value(), yv = y.value(), factor = gate.value();
  const Tokens s = tokens_of(op, xv);
  expect_shape(op, "summand", yv, xv.shape());
  expect_kind(op, "summand", yv, x.kind());
  expect_of_image(op, "gate", gate, xv);
  return dispatch_float(op, x.kind(), [&]<class T>() {
    const auto run = [s, factor](const T* summand, const Tensor& from) {
      Tensor to(from.shape(), from.kind());
      for_each_row(to.device(), s.n * s.t, s.c,
                   Gated<T>{s, summand, from.data<T>(), factor.data<Wide<T>>(), to.data<T>()});
      return to;
    };
    Tensor z = run(xv.data<T>(), yv);
    return record(op, z, {x, gate, y}, kNoProducts, [=](const Tensor& dz, const Needs& needs) {
      Gradients g(3);
      if (needs[0]) g[0] = dz;
      g[1] = Tensor({s.n, s.c}, wide(xv.kind()));
      sum_images<T>(s, dz, yv, g[1], {});
      if (needs[2]) g[2] = run(nullptr, dz);
      return g;
    });
  });
}

}  // namespace sfumato
