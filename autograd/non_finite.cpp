#include "autograd/non_finite.h"

#include <cmath>
#include <optional>

namespace sfumato {
namespace {

// The first element that is not finite.
std::optional<double> non_finite(const Tensor& t) {
  if (t.defined() && t.dtype() == DType::bf16) return non_finite(t.to(DType::f32));
  if (!t.defined() || (t.dtype() != DType::f32 && t.dtype() != DType::f64)) return {};
  const Tensor here = t.to(Device::cpu);
  return dispatch_float("non_finite", t.dtype(), [&]<class T>() -> std::optional<double> {
    for (const T v : here.values<T>())
      if (!std::isfinite(v)) return static_cast<double>(v);
    return {};
  });
}

}  // namespace

void FirstNonFinite::see(const char* op, std::initializer_list<Var> inputs, const Tensor& y,
                         double) {
  if (found()) return;
  const std::optional<double> value = non_finite(y);
  if (!value) {
    ++before_;
    return;
  }
  op_ = op, value_ = *value, shape_ = y.shape();
  for (const Var& v : inputs)
    if (v.defined() && non_finite(v.value())) inputs_finite_ = false;
  if (inputs.size() > 1 && inputs.begin()[1].defined())
    second_input_ = inputs.begin()[1].value().address();
}

}  // namespace sfumato
