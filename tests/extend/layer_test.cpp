// docs/extend.md: a layer.
#include <gtest/gtest.h>

#include "sfumato.h"

namespace {

using namespace sfumato;

// y = γ x, γ one number for each channel: [..., C] -> [..., C]              [Touvron 2021, eq. 2]
struct LayerScale {
  nn::Param gamma;
  LayerScale(const nn::Scope& s, std::int64_t channels)
      : gamma(s.param("gamma", {channels}, nn::ones())) {}
  Var operator()(const Var& x) const { return x * cast(gamma, x.dtype()); }
};

TEST(Extend, ALayer) {
  nn::check_layer({.name = "layer_scale",
                   .make = [](const nn::Scope& s) { return LayerScale(s, 8); },
                   .input = {2, 5, 5, 8},
                   .output = {2, 5, 5, 8}});
}

}  // namespace
