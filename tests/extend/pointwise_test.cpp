// docs/extend.md: a pointwise operation.
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <set>
#include <string>

#include "sfumato.h"

namespace {

using namespace sfumato;

// softplus(x) = ln(1 + e^x),  d/dx = σ(x)
struct Softplus {
  static constexpr const char* name = "softplus";
  template <class T>
  constexpr T fwd(T x) const {
    return std::max(x, T(0)) + std::log1p(std::exp(-std::abs(x)));
  }
  template <class T>
  constexpr T bwd(T x, T, T dy) const {
    return dy / (1 + std::exp(-x));
  }
};

Var softplus(const Var& x) { return pointwise(x, Softplus{}); }

TEST(Extend, APointwiseOperation) {
  gradcheck("softplus", [f = softplus](std::span<const Var> in) { return f(in[0]); },
            {Rng(1).normal({3, 4}, DType::f64)});
}

// In the library an operation stands in two files, for the CPU and the GPU, and (called) in the table of gradient tests.
TEST(Extend, APointwiseOperationIsInTwoFiles) {
  namespace fs = std::filesystem;
  const fs::path root = SFUMATO_SOURCE_DIR;
  std::set<std::string> files;
  for (const char* folder : {"tensor", "cuda", "autograd", "nn", "diffusion", "tests/tensor",
                             "tests/cuda", "tests/autograd", "tests/nn"})
    for (const auto& entry : fs::recursive_directory_iterator(root / folder)) {
      if (!entry.is_regular_file()) continue;
      std::ifstream in(entry.path());
      const std::string text(std::istreambuf_iterator<char>(in), {});
      if (text.find("sigmoid(const Var") != std::string::npos)
        files.insert(entry.path().lexically_relative(root).string());
    }
  EXPECT_EQ(files, (std::set<std::string>{"autograd/activation.cpp", "autograd/ops.h"}));
}

}  // namespace
