// docs/extend.md: a pointwise operation.
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>

#include "sfumato.h"

namespace {

using namespace sfumato;

// softplus(x) = ln(1 + e^x),  d/dx = σ(x)
struct Softplus {
  static constexpr const char* name = "softplus";
  template <class T>
  T fwd(T x) const {
    return std::max(x, T(0)) + std::log1p(std::exp(-std::abs(x)));
  }
  template <class T>
  T bwd(T x, T, T dy) const {
    return dy / (1 + std::exp(-x));
  }
};

Var softplus(const Var& x) { return pointwise(x, Softplus{}); }

TEST(Extend, APointwiseOperation) {
  gradcheck("softplus", [](std::span<const Var> in) { return softplus(in[0]); },
            {Rng(1).normal({3, 4}, DType::f64)});
}

}  // namespace
