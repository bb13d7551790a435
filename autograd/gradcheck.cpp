#include "autograd/gradcheck.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>

#include "autograd/ops.h"
#include "tensor/rng.h"

namespace sfumato {

double gradcheck(const std::string& op, const std::function<Var(std::span<const Var>)>& f,
                 std::vector<Tensor> inputs, const GradcheckOptions& options) {
  for (Tensor& x : inputs) {
    expect_dtype("gradcheck", "input", x, DType::f64);
    x = x.clone();  // the caller's numbers are not disturbed
  }
  auto run = [&](bool with_grad) {
    std::vector<Var> vars;
    vars.reserve(inputs.size());
    for (const Tensor& x : inputs) vars.emplace_back(x.to(options.device), with_grad);
    return std::pair{f(vars), vars};
  };
  auto [y, vars] = run(true);
  if (y.dtype() != DType::f64)
    throw Error(op, fmt::format("gradcheck: output is {}", name(y.dtype())));
  const Tensor w = Rng(options.seed, Purpose::test).normal(y.shape(), DType::f64);
  y.backward(w.to(options.device));

  auto value = [&] {  // Σ w·f at the inputs as they are now
    NoGrad guard;
    const Tensor out = run(false).first.value().to(Device::cpu);
    double s = 0;
    for (std::int64_t i = 0; i < w.size(); ++i) s += w.data<double>()[i] * out.data<double>()[i];
    return s;
  };

  double worst = 0;
  for (std::size_t k = 0; k < inputs.size(); ++k) {
    Tensor& x = inputs[k];
    if (!vars[k].grad().defined())
      throw Error(op, fmt::format("gradcheck: input {} got no gradient", k));
    const Tensor grad = vars[k].grad().to(Device::cpu);
    const std::int64_t stride =
        std::max<std::int64_t>(1, (x.size() + options.max_elements - 1) / options.max_elements);
    double scale = 1;
    for (double g : grad.values<double>()) scale = std::max(scale, std::abs(g));
    for (std::int64_t i = 0; i < x.size(); i += stride) {
      double& element = x.data<double>()[i];
      const double at = element, h = options.step * std::max(1.0, std::abs(at));
      element = at + h;
      const double plus = value();
      element = at - h;
      const double minus = value();
      element = at;
      const double numeric = (plus - minus) / (2 * h), analytic = grad.data<double>()[i];
      const double error = std::abs(analytic - numeric) / scale;
      if (!(error <= options.tolerance))
        throw Error(
            op,
            fmt::format("gradcheck: input {} {}, element {} (x = {:.6g}): backward gives {:.9g}, "
                        "central differences {:.9g}",
                        k, x.shape().str(), i, at, analytic, numeric));
      worst = std::max(worst, error);
    }
  }
  return worst;
}

}  // namespace sfumato
