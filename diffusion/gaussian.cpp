#include "diffusion/gaussian.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <limits>

#include "diffusion/forward.h"

namespace sfumato::diffusion {
namespace {

constexpr const char* kOp = "expected_eps";

// x_t's distribution N(mean, L Lᵀ) when x_0 comes from one component, L lower triangular
// (Cholesky).
class Marginal {
 public:
  Marginal(const Gaussian& g, const NoiseLevel& level)
      : d_(g.mean.size()), diagonal_(g.covariance.size() == d_), mean_(g.mean) {
    for (double& m : mean_) m *= level.signal();
    if (g.covariance.size() != d_ && g.covariance.size() != d_ * d_)
      throw Error(kOp, fmt::format("expected {} or {} numbers of covariance, got {}", d_, d_ * d_,
                                   g.covariance.size()));
    if (!(g.weight >= 0)) throw Error(kOp, fmt::format("weight {} is negative", g.weight));
    l_ = g.covariance;
    for (double& c : l_) c *= level.signal_variance;
    for (std::size_t i = 0; i < d_; ++i) l_[index(i, i)] += level.noise_variance;
    factorise();
    log_scale_ = std::log(g.weight);
    for (std::size_t i = 0; i < d_; ++i) log_scale_ -= std::log(l_[index(i, i)]);
  }

  std::size_t dimensions() const { return d_; }

  // y becomes C⁻¹ (x − mean); returns log(w N(x; mean, C)) up to a constant that all components
  // share.
  double solve(const double* x, double* y) const {
    double squares = 0;
    for (std::size_t i = 0; i < d_; ++i) {  // L y = x − mean
      y[i] = x[i] - mean_[i];
      for (std::size_t j = diagonal_ ? i : 0; j < i; ++j) y[i] -= l_[index(i, j)] * y[j];
      y[i] /= l_[index(i, i)];
      squares += y[i] * y[i];
    }
    for (std::size_t i = d_; i-- > 0;) {  // Lᵀ y = y
      for (std::size_t j = i + 1; !diagonal_ && j < d_; ++j) y[i] -= l_[index(j, i)] * y[j];
      y[i] /= l_[index(i, i)];
    }
    return log_scale_ - squares / 2;
  }

 private:
  std::size_t index(std::size_t i, std::size_t j) const { return diagonal_ ? i : i * d_ + j; }

  void factorise() {
    for (std::size_t i = 0; i < d_; ++i)
      for (std::size_t j = diagonal_ ? i : 0; j <= i; ++j) {
        double sum = l_[index(i, j)];
        for (std::size_t k = 0; !diagonal_ && k < j; ++k) sum -= l_[index(i, k)] * l_[index(j, k)];
        if (i == j && !(sum > 0)) throw Error(kOp, "the covariance is not positive definite");
        l_[index(i, j)] = i == j ? std::sqrt(sum) : sum / l_[index(j, j)];
      }
  }

  std::size_t d_;
  bool diagonal_;
  std::vector<double> mean_;
  std::vector<double> l_;  // the diagonal, or rows of d_ with zeros not looked at
  double log_scale_ = 0;
};

// The mixture's mean, as a batch like xt.
Tensor mean_of(const std::vector<Gaussian>& mixture, const Tensor& xt) {
  double total = 0;
  for (const Gaussian& g : mixture) total += g.weight;
  Tensor mean = Tensor::zeros(xt.shape(), DType::f64);
  const auto d = static_cast<std::int64_t>(mixture.at(0).mean.size());
  for (const Gaussian& g : mixture)
    for (std::int64_t i = 0; i < mean.size(); ++i)
      mean.data<double>()[i] += g.weight / total * g.mean[static_cast<std::size_t>(i % d)];
  return mean.to(xt.dtype());
}

}  // namespace

Tensor expected_eps(const std::vector<Gaussian>& mixture, const NoiseLevel& level,
                    const Tensor& xt) {
  std::vector<Marginal> marginals;
  double total = 0;
  for (const Gaussian& g : mixture) {
    marginals.emplace_back(g, level);
    total += g.weight;
  }
  if (!(total > 0)) throw Error(kOp, "the weights of the mixture sum to 0");
  const std::int64_t rows = xt.shape().rank() > 0 ? xt.dim(0) : 1;
  const std::size_t d = marginals[0].dimensions();
  for (const Marginal& m : marginals)
    if (m.dimensions() != d || static_cast<std::int64_t>(d) * rows != xt.size())
      throw Error(kOp, fmt::format("xt {} does not have {} numbers a row", xt.shape().str(),
                                   m.dimensions()));
  const double noise = level.noise();
  const Tensor x = xt.to(DType::f64);
  Tensor eps = Tensor::zeros(xt.shape(), DType::f64);
  std::vector<double> answers(marginals.size() * d);
  std::vector<double> log_weight(marginals.size());
  for (std::int64_t n = 0; n < rows; ++n) {
    const double* row = x.data<double>() + n * static_cast<std::int64_t>(d);
    double* out = eps.data<double>() + n * static_cast<std::int64_t>(d);
    double largest = -std::numeric_limits<double>::infinity();
    for (std::size_t k = 0; k < marginals.size(); ++k) {
      log_weight[k] = marginals[k].solve(row, &answers[k * d]);
      largest = std::max(largest, log_weight[k]);
    }
    double sum = 0;
    for (double& w : log_weight) sum += w = std::exp(w - largest);
    for (std::size_t k = 0; k < marginals.size(); ++k)
      for (std::size_t i = 0; i < d; ++i)
        out[i] += noise * log_weight[k] / sum * answers[k * d + i];
  }
  return eps.to(xt.dtype());
}

Estimate expected(const std::vector<Gaussian>& mixture, const NoiseLevel& level, const Tensor& xt) {
  const Tensor eps = expected_eps(mixture, level, xt);
  // x̂_0 = (x_t − σ ε̂) / a.
  if (level.signal_variance > 0) return read(Prediction::eps, level, xt, eps);
  return {mean_of(mixture, xt), eps};
}

Denoiser exact_denoiser(const std::function<NoiseLevel(double t)>& level,
                        const std::vector<Gaussian>& mixture, const Prediction& prediction) {
  return [=](const Tensor& xt, double t) {
    const auto [signal, noise] = levels(level(t));
    const auto [x0, eps] = expected(mixture, level(t), xt);
    return prediction.target(signal, noise, x0, eps);
  };
}

Denoiser exact_denoiser(const Schedule& schedule, const std::vector<Gaussian>& mixture,
                        const Prediction& prediction) {
  return exact_denoiser([=](double t) { return schedule.level_told(t); }, mixture, prediction);
}

}  // namespace sfumato::diffusion
