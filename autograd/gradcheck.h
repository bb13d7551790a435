// gradcheck: compares the gradient that backward() gives with central differences, in f64.
//
//   gradcheck("silu", [](std::span<const Var> in) { return silu(in[0]); }, {x});
//
// Public: a layer or operation of your own is checked with the same call.
#pragma once
#include <functional>
#include <span>
#include <string>
#include <vector>

#include "autograd/var.h"

namespace sfumato {

struct GradcheckOptions {
  double step = 1e-5;       // h of (f(x+h) - f(x-h)) / 2h, times max(1, |x|)
  double tolerance = 2e-6;  // allowed difference, times max(1, the input's largest gradient)
  std::uint64_t seed = 1;   // of the random projection
  std::int64_t max_elements = 200;  // checked per input (spread evenly when it has more)
  Device device = Device::cpu;      // where f computes; its inputs are copied there
};

// f maps the inputs (f64 tensors) to one Var of any shape; what is differentiated is Σ w·f with
// fixed random w. Throws Error naming `op`, the input and the element when a gradient is wrong,
// missing or not finite. Returns the largest relative error seen.
double gradcheck(const std::string& op, const std::function<Var(std::span<const Var>)>& f,
                 std::vector<Tensor> inputs, const GradcheckOptions& options = {});

}  // namespace sfumato
