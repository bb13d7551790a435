#include "nn/precision.h"

#include <fmt/format.h>

namespace sfumato::nn {

const Precision Precision::f32{"f32", "float32", "32 bits", DType::f32, false};
const Precision Precision::tf32{"tf32", "tf32", "products of f32 round their factors to 11 bits",
                                DType::f32, true};
const Precision Precision::bf16{"bf16", "bfloat16",
                                "activations and the weights that multiply them have 8 bits",
                                DType::bf16, false};

void expect_precision(const Precision& precision, Device device) {
  if (!computes_in({precision.dtype, device}) || (precision.tf32_products && !has_tf32(device)))
    throw Error(
        "precision",
        fmt::format("--precision {} needs --device cuda; the CPU computes in --precision f32",
                    precision.name));
}

void use(Params& params, Device device, const Precision& precision) {
  expect_precision(precision, device);
  allow_tf32(device, precision.tf32_products);
  params.to(device, precision.dtype);
}

}  // namespace sfumato::nn
