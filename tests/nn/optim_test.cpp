#include "nn/optim.h"

#include <gtest/gtest.h>

#include <cmath>

#include "autograd/ops.h"
#include "nn/layers.h"
#include "nn/muon.h"
#include "tensor/rng.h"

namespace sfumato::nn {
namespace {

// The update of Loshchilov and Hutter, written out for one number in double.
TEST(AdamW, FollowsItsFormula) {
  Params params(0, DType::f64);
  const Param w = Scope(params).param("w", {1}, ones());
  AdamW adam(params, {.beta1 = 0.9, .beta2 = 0.99, .eps = 1e-8, .weight_decay = 0.1});
  double x = 1, m = 0, v = 0;
  for (int k = 1; k <= 5; ++k) {
    params.zero_grad();
    sum(square(w)).backward();
    adam.step(0.01, {gradient_norm(params), 0.5});
    const double g = 2 * x * clip_scale(2 * std::abs(x), 0.5);
    m = 0.9 * m + 0.1 * g;
    v = 0.99 * v + 0.01 * g * g;
    x = x - 0.01 * (m / (1 - std::pow(0.9, k)) / (std::sqrt(v / (1 - std::pow(0.99, k))) + 1e-8) +
                    0.1 * x);
    EXPECT_NEAR(w.var().value().item(), x, 1e-12) << k;
  }
}

TEST(AdamW, AGradientThatIsNotFiniteChangesNothing) {
  Params params(0);
  const Param w = Scope(params).param("w", {3}, ones());
  AdamW adam(params, {.weight_decay = 0.1});
  Ema ema(params, 0.9);
  params.zero_grad();
  sum(w.var() * INFINITY).backward();
  adam.step(0.01, {gradient_norm(params), 1}, &ema);
  for (const Tensor& t : {w.var().value(), ema.average})
    for (const float value : t.values<float>()) EXPECT_EQ(value, 1);
  for (const Tensor& t : {adam.m, adam.v})
    for (const float value : t.values<float>()) EXPECT_EQ(value, 0);
}

// |xᵀ O| of a unit vector x lies between O's smallest and largest singular value.
void expect_singular_values(const Tensor& O, double low, double high) {
  const std::int64_t rows = O.dim(0), cols = O.dim(1);
  const Tensor directions = Rng(7).normal({50, rows}, DType::f64);
  for (std::int64_t d = 0; d < 50; ++d) {
    const double* x = directions.data<double>() + d * rows;
    double length = 0, image = 0;
    for (std::int64_t i = 0; i < rows; ++i) length += x[i] * x[i];
    for (std::int64_t j = 0; j < cols; ++j) {
      double sum = 0;
      for (std::int64_t i = 0; i < rows; ++i) sum += x[i] * O.data<double>()[i * cols + j];
      image += sum * sum;
    }
    EXPECT_GT(std::sqrt(image / length), low);
    EXPECT_LT(std::sqrt(image / length), high);
  }
}

// A = X Xᵀ, X = a X + (b A + c A²) X five times, of X = u / ‖u‖.
Tensor five_steps(const Tensor& u) {
  constexpr double a = 3.4445, b = -4.7750, c = 2.0315;
  const std::int64_t m = u.dim(0), n = u.dim(1);
  Tensor x = u.clone();
  double squares = 0;
  for (const double value : u.values<double>()) squares += value * value;
  for (double& value : x.values<double>()) value /= std::sqrt(squares) + 1e-7;
  const auto product = [](const Tensor& p, const Tensor& q) {
    Tensor r = Tensor::zeros({p.dim(0), q.dim(1)}, DType::f64);
    for (std::int64_t i = 0; i < p.dim(0); ++i)
      for (std::int64_t k = 0; k < p.dim(1); ++k)
        for (std::int64_t j = 0; j < q.dim(1); ++j)
          r.data<double>()[i * q.dim(1) + j] +=
              p.data<double>()[i * p.dim(1) + k] * q.data<double>()[k * q.dim(1) + j];
    return r;
  };
  for (int step = 0; step < 5; ++step) {
    Tensor P = Tensor::zeros({m, m}, DType::f64);
    const Tensor A = product(x, permute(Var(x), {1, 0}).value()), AA = product(A, A);
    for (std::int64_t i = 0; i < m * m; ++i)
      P.data<double>()[i] =
          (i % (m + 1) == 0 ? a : 0) + b * A.data<double>()[i] + c * AA.data<double>()[i];
    x = product(P, x);
  }
  EXPECT_EQ(x.shape().str(), Shape({m, n}).str());
  return x;
}

// Wide and tall ones, whose steps are taken together, and nearly square ones; in f32 too, and with a rank below their size.
TEST(Muon, FiveStepsOfNewtonSchulz) {
  for (const Shape& shape :
       {Shape({4, 9}), Shape({4, 8}), Shape({5, 6}), Shape({6, 6}), Shape({1, 7}), Shape({9, 4})}) {
    Tensor u = Rng(11).normal(shape, DType::f64);
    const std::int64_t n = shape[1];
    for (std::int64_t j = 0; j < n && shape[0] > 2; ++j)
      u.data<double>()[2 * n + j] = 2 * u.data<double>()[j] - u.data<double>()[n + j];
    const Tensor want = five_steps(u), got = orthogonalised(u),
                 f32 = orthogonalised(u.to(DType::f32));
    for (std::int64_t i = 0; i < u.size(); ++i) {
      EXPECT_NEAR(got.data<double>()[i], want.data<double>()[i], 1e-11) << shape.str();
      EXPECT_NEAR(f32.data<float>()[i], want.data<double>()[i], 1e-4) << shape.str();
    }
  }
}

TEST(Muon, MakesSingularValuesAlike) {
  const Tensor u = Rng(3).normal({4, 9}, DType::f64);
  const Tensor O = orthogonalised(u);
  expect_singular_values(O, 0.65, 1.25);
  // The transpose goes by the other product.
  const auto transposed = [](const Tensor& a) { return permute(Var(a), {1, 0}).value(); };
  const Tensor tall = orthogonalised(transposed(u)), want = transposed(O);
  for (std::int64_t i = 0; i < u.size(); ++i)
    EXPECT_NEAR(tall.data<double>()[i], want.data<double>()[i], 1e-12);
  // U Vᵀ of U S Vᵀ, whatever the size of u: U and V are the identity's columns here.
  Tensor diagonal = Tensor::zeros({2, 3}, DType::f64);
  diagonal.data<double>()[0] = 300, diagonal.data<double>()[4] = -200;
  const Tensor signs = orthogonalised(diagonal);
  EXPECT_NEAR(signs.data<double>()[0], 1, 0.35);
  EXPECT_NEAR(signs.data<double>()[4], -1, 0.35);
  for (const int zero : {1, 2, 3, 5}) EXPECT_EQ(signs.data<double>()[zero], 0);
  const Tensor nothing = orthogonalised(Tensor::zeros({3, 2}, DType::f64));
  for (const double x : nothing.values<double>()) EXPECT_EQ(x, 0);
}

// A filter goes by Muon, a vector by AdamW.
TEST(Muon, FollowsItsFormula) {
  const AdamWOptions options = {.weight_decay = 0.1, .muon = true, .momentum = 0.9};
  const Tensor target = Rng(5).normal({2, 3, 1, 1}, DType::f64);
  Params params(0, DType::f64), alone(0, DType::f64);
  const Param w = Scope(params).param("w", {2, 3, 1, 1}, ones());
  const Param b = Scope(params).param("b", {3}, ones());
  const Param other = Scope(alone).param("b", {3}, ones());
  AdamW muon(params, options), adam(alone, {.weight_decay = 0.1});
  Ema ema(params, 0.5);
  Tensor x = Tensor::full({2, 3}, 1, DType::f64), m = Tensor::zeros({2, 3}, DType::f64);
  for (int k = 0; k < 4; ++k) {
    params.zero_grad(), alone.zero_grad();
    (sum(square(w.var() - target)) + sum(square(b.var()))).backward();
    sum(square(other.var())).backward();
    muon.step(0.01, {}, &ema);
    adam.step(0.01);
    Tensor u({2, 3}, DType::f64);
    for (int i = 0; i < 6; ++i) {
      double &mi = m.data<double>()[i], g = 2 * (x.data<double>()[i] - target.data<double>()[i]);
      mi = 0.9 * mi + 0.1 * g;
      u.data<double>()[i] = 0.9 * mi + 0.1 * g;
    }
    const Tensor O = orthogonalised(u);
    for (int i = 0; i < 6; ++i) {
      double& xi = x.data<double>()[i];
      xi -= 0.01 * (0.2 * std::sqrt(3) * O.data<double>()[i] + 0.1 * xi);
      EXPECT_NEAR(w.var().value().data<double>()[i], xi, 1e-12) << k;
    }
    for (int i = 0; i < 3; ++i)
      EXPECT_EQ(b.var().value().data<double>()[i], other.var().value().data<double>()[i]);
  }
  EXPECT_NE(ema.average.data<double>()[0], 1);
}

TEST(Muon, AGradientThatIsNotFiniteChangesNothing) {
  Params params(0);
  const Param w = Scope(params).param("w", {3, 2}, ones());
  AdamW muon(params, {.muon = true});
  params.zero_grad();
  sum(w.var() * INFINITY).backward();
  muon.step(0.01, {gradient_norm(params), 1});
  for (const float value : w.var().value().values<float>()) EXPECT_EQ(value, 1);
  for (const float value : muon.m.values<float>()) EXPECT_EQ(value, 0);
}

TEST(Clip, ScalesToTheNorm) {
  Params params(0);
  const Param w = Scope(params).param("w", {4}, ones());
  params.zero_grad();
  sum(w.var() * 3.0).backward();
  EXPECT_DOUBLE_EQ(gradient_norm(params).item(), 6);
  EXPECT_NEAR(clip_scale(6, 1) * 6, 1, 1e-6);
  EXPECT_EQ(clip_scale(0.5, 1), 1);
}

TEST(Ema, WarmsUp) {
  Params params(0, DType::f64);
  const Param w = Scope(params).param("w", {1}, zeros());
  Ema ema(params, 0.999);
  Tensor flat = params.flat_values();
  double average = 0;
  for (int k = 0; k < 20; ++k) {
    flat.data<double>()[0] = k;
    ema.update();
    const double decay = std::min(0.999, (1.0 + k) / (10.0 + k));
    average = decay * average + (1 - decay) * k;
    EXPECT_NEAR(ema.average.item(), average, 1e-12);
  }
  {
    SwapValues swapped(params, ema.average);
    EXPECT_NEAR(w.var().value().item(), average, 1e-12);
  }
  EXPECT_EQ(w.var().value().item(), 19);
}

TEST(LearningRate, WarmsUpAndDecays) {
  EXPECT_NEAR(warmup_cosine(0, 10, 0, 0.1), 0.1, 1e-12);
  EXPECT_NEAR(warmup_cosine(9, 10, 0, 0.1), 1, 1e-12);
  EXPECT_NEAR(warmup_cosine(100, 10, 0.5, 0.1), 0.55, 1e-12);
  EXPECT_NEAR(warmup_cosine(100, 10, 1, 0.1), 0.1, 1e-12);
  EXPECT_NEAR(warmup_cosine(100, 0, 2, 0.1), 0.1, 1e-12);
}

}  // namespace
}  // namespace sfumato::nn
