#include "nn/conditioning.h"

#include <fmt/format.h>

#include <algorithm>

namespace sfumato::nn {

void Conditioning::check(std::int64_t label) const {
  if (label < 0 || label >= rows)
    throw Error("network", fmt::format("label {}: the model knows 0..{}", label,
                                       std::max<std::int64_t>(0, classes() - 1)));
}

void Conditioning::check(const Tensor& labels, std::int64_t n) const {
  if (kind == Kind::none) {
    if (labels.defined())
      throw Error("network", "class labels given, but the network is unconditional");
    return;
  }
  if (!labels.defined())
    throw Error("network", "the network is class-conditional: class labels expected");
  expect_shape("network", "class labels", labels,
               kind == Kind::identity ? Shape{n, width} : Shape{n});
}

Tensor Conditioning::zeros(std::int64_t n) const {
  switch (kind) {
    case Kind::none:
      return {};
    case Kind::table:
      return Tensor::zeros({n}, DType::i64);
    case Kind::timestep:
      return Tensor::zeros({n});
    case Kind::identity:
      return Tensor::zeros({n, width});
  }
  throw Error("network", "the kind of conditioning is no enumerator");
}

}  // namespace sfumato::nn
