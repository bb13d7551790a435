// Arithmetic: every derivative is one line beside its formula.
#include <fmt/format.h>

#include <cmath>

#include "autograd/ops.h"
#include "autograd/pointwise.h"

namespace sfumato {
namespace {

struct Add {
  static constexpr const char* name = "add";
  template <class T>
  constexpr T fwd(T a, T b) const {
    return a + b;
  }
};

struct Sub {
  static constexpr const char* name = "sub";
  template <class T>
  constexpr T fwd(T a, T b) const {
    return a - b;
  }
};

struct Mul {
  static constexpr const char* name = "mul";
  template <class T>
  constexpr T fwd(T a, T b) const {
    return a * b;
  }
  template <class T>
  constexpr T da(T, T b, T dy) const {
    return b * dy;
  }
  template <class T>
  constexpr T db(T a, T, T dy) const {
    return a * dy;
  }
};

// d(a/b) = da / b - a db / b²
struct Div {
  static constexpr const char* name = "div";
  template <class T>
  constexpr T fwd(T a, T b) const {
    return a / b;
  }
  template <class T>
  constexpr T da(T, T b, T dy) const {
    return dy / b;
  }
  template <class T>
  constexpr T db(T a, T b, T dy) const {
    return -a / (b * b) * dy;
  }
};

struct Scale {
  static constexpr const char* name = "scale";
  double factor;
  template <class T>
  constexpr T fwd(T x) const {
    return static_cast<T>(factor) * x;
  }
  template <class T>
  constexpr T bwd(T, T, T dy) const {
    return static_cast<T>(factor) * dy;
  }
};

struct Shift {
  static constexpr const char* name = "shift";
  double summand;
  template <class T>
  constexpr T fwd(T x) const {
    return x + static_cast<T>(summand);
  }
  template <class T>
  constexpr T bwd(T, T, T dy) const {
    return dy;
  }
};

struct Square {
  static constexpr const char* name = "square";
  template <class T>
  constexpr T fwd(T x) const {
    return x * x;
  }
  template <class T>
  constexpr T bwd(T x, T, T dy) const {
    return 2 * x * dy;
  }
};

struct Exp {
  static constexpr const char* name = "exp";
  template <class T>
  constexpr T fwd(T x) const {
    return std::exp(x);
  }
  template <class T>
  constexpr T bwd(T, T y, T dy) const {
    return y * dy;
  }
};

struct Log {
  static constexpr const char* name = "log";
  template <class T>
  constexpr T fwd(T x) const {
    return std::log(x);
  }
  template <class T>
  constexpr T bwd(T x, T, T dy) const {
    return dy / x;
  }
};

// d√x = dx / (2√x)
struct Sqrt {
  static constexpr const char* name = "sqrt";
  template <class T>
  constexpr T fwd(T x) const {
    return std::sqrt(x);
  }
  template <class T>
  constexpr T bwd(T, T y, T dy) const {
    return dy / (2 * y);
  }
};

// a ± b: the gradients are ±dy, reduced where an input was stretched; nothing needs to be kept.
template <class Op>
Var linear_sum(const Var& a, const Var& b, Op op, double sign) {
  expect_kind(Op::name, "second input", b.value(), a.kind());
  const Shape sa = a.shape(), sb = b.shape();
  Tensor y = dispatch_float(Op::name, a.kind(), [&]<class T>() {
    return broadcast_map<T>(Op::name, Forward<Op>{op}, a.value(), b.value());
  });
  return record(Op::name, y, {a, b}, kNoProducts,
                [sa, sb, sign](const Tensor& dy, const Needs& needs) {
                  Gradients g(2);
                  if (needs[0]) g[0] = reduce_to(dy, sa);
                  if (needs[1])
                    g[1] = sign == 1 ? reduce_to(dy, sb) : scale(reduce_to(dy, sb), sign);
                  return g;
                });
}

}  // namespace

Var cast(const Var& x, DType dtype) {
  for (const DType type : {x.dtype(), dtype})
    if (type == DType::i64 || type == DType::u8)
      throw Error("cast", fmt::format("expected f32, f64 or bf16, got {}", name(type)));
  if (dtype == x.dtype()) return x;
  return record("cast", x.value().to(dtype), {x}, kNoProducts,
                [from = x.dtype()](const Tensor& dy) { return Gradients{dy.to(from)}; });
}

Var operator+(const Var& a, const Var& b) { return linear_sum(a, b, Add{}, 1); }
Var operator-(const Var& a, const Var& b) { return linear_sum(a, b, Sub{}, -1); }
Var operator*(const Var& a, const Var& b) { return pointwise(a, b, Mul{}); }
Var operator/(const Var& a, const Var& b) { return pointwise(a, b, Div{}); }
Var operator*(const Var& x, double factor) { return pointwise(x, Scale{factor}); }
Var operator+(const Var& x, double summand) { return pointwise(x, Shift{summand}); }
Var operator-(const Var& x) { return x * -1.0; }
Var square(const Var& x) { return pointwise(x, Square{}); }
Var exp(const Var& x) { return pointwise(x, Exp{}); }
Var log(const Var& x) { return pointwise(x, Log{}); }
Var sqrt(const Var& x) { return pointwise(x, Sqrt{}); }

}  // namespace sfumato
