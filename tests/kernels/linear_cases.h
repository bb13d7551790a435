// Linear layers: cases, and their results in arrays of any device.
#pragma once
#include "tests/kernels/kernel_test.h"

namespace sfumato::kernels::testing {

struct LinearCase {
  Linear s;
  bool bias, residual;
};

inline std::vector<LinearCase> linear_cases() {
  std::vector<LinearCase> all;
  for (const bool silu : {false, true}) {
    for (const bool residual : {false, true}) {
      for (const index m : {1, 5, 130, 700}) {
        all.push_back({{m, 33, 17, silu}, m != 5, residual});
        all.push_back({{m, 16, 70, silu}, m != 5, residual});
      }
    }
  }
  return all;
}

inline std::string describe(const LinearCase& c) {
  return "m in out: " + std::to_string(c.s.m) + " " + std::to_string(c.s.in) + " " +
         std::to_string(c.s.out) + (c.s.silu ? " silu" : "") + (c.residual ? " residual" : "");
}

template <class T, template <class...> class In, template <class...> class Out>
struct LinearArrays {
  explicit LinearArrays(const LinearCase& c)
      : x(numbers<T>(c.s.m * c.s.in, 1)),
        w(numbers<T>(c.s.out * c.s.in, 2)),
        bias(numbers<Wide<T>>(c.s.out, 3)),
        residual(numbers<T>(c.s.m * c.s.out, 4)),
        dy(numbers<T>(c.s.m * c.s.out, 5)),
        add(numbers<T>(c.s.m * c.s.in, 6)),
        y(dy.size()),
        dx(x.size()),
        dx_alone(x.size()),
        dw(w.size()),
        db(c.s.out) {}

  void run(const Kernels<T>& kernels, const LinearCase& c) {
    kernels.linear_forward({.linear = c.s,
                            .x = x.data(),
                            .w = w.data(),
                            .bias = c.bias ? bias.data() : nullptr,
                            .residual = c.residual ? residual.data() : nullptr,
                            .y = y.data()});
    LinearBackward<T> g{.linear = c.s, .x = x.data(), .w = w.data(), .dy = dy.data()};
    g.dx = dx.data(), g.add = add.data(), g.dw = dw.data(), g.db = c.bias ? db.data() : nullptr;
    kernels.linear_backward(g);
    g.dx = dx_alone.data(), g.add = nullptr, g.dw = g.db = nullptr;
    kernels.linear_backward(g);
    if (c.bias) return;
    g.dx = nullptr, g.db = db.data();
    kernels.linear_backward(g);
  }

  In<T> x, w;
  In<Wide<T>> bias;
  In<T> residual, dy, add;
  Out<T> y, dx, dx_alone;
  Out<Wide<T>> dw, db;
};

inline LinearArrays<double, std::vector, std::vector> exact_linear(const LinearCase& c) {
  LinearArrays<double, std::vector, std::vector> exact(c);
  Kernels<double> reference;
  reference::fill_all(reference);
  exact.run(reference, c);
  return exact;
}

}  // namespace sfumato::kernels::testing
