#include "autograd/flops.h"

namespace sfumato {

double flops(std::string_view op, std::initializer_list<Var> inputs, const Tensor& y) {
  const Var* in = inputs.begin();
  const auto outputs = static_cast<double>(y.size());
  if (op == "conv2d" || op == "linear")
    return 2 * outputs * static_cast<double>(in[1].value().size() / in[1].dim(0));
  if (op == "matmul") return 2 * outputs * static_cast<double>(in[1].dim(0));
  if (op == "attention") return 4 * outputs * static_cast<double>(in[1].dim(1));  // q kᵀ and P v
  if (op == "self_attention") return 4 * outputs * static_cast<double>(in[0].dim(1));
  return 0;
}

}  // namespace sfumato
