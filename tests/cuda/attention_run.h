// Attention and its gradients on the device.
#pragma once
#include "tests/cuda/kernel_test.h"
#include "tests/kernels/attention_cases.h"

namespace sfumato::kernels::testing {

template <class T>
AttentionResult<T, OnDevice> attend(const Attention& s, const AttentionCase<T>& in) {
  const AttentionCase<T, OnDevice> there(in);
  AttentionResult<T, OnDevice> r(s);
  gpu<T>().attention_forward(forward_of<T>(s, there, r));
  gpu<T>().attention_backward(backward_of<T>(s, there, r));
  return r;
}

}  // namespace sfumato::kernels::testing
