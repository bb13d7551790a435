// A computation done again and again: a training step, or the network's evaluation while sampling.
#pragma once
#include <functional>
#include <initializer_list>
#include <memory>
#include <span>
#include <vector>

#include "tensor/tensor.h"

namespace sfumato {

// f(inputs) -> outputs. Every call has inputs of the same shapes and dtypes. On the CPU a call of a Recorded is a call
// of f. On a GPU the first call of f plans the memory and the second is recorded; from then on the record is replayed,
// f is not called any more, and the CPU does not wait. So f must be a function of its inputs' elements and of tensors
// that outlive the Recorded at their addresses (parameters, a data set): numbers of the CPU are recorded as they were.
// f may not read elements (Tensor::values, item) or wait on a GPU: Error. An Error thrown by f passes through, and the
// next call plans again.
//
// f's tensors come from memory of the Recorded's own, which becomes everybody's when it is destroyed. One thread at a
// time. Not while another Recorded is recorded.
class Recorded {
 public:
  using Function = std::function<std::vector<Tensor>(std::span<const Tensor> inputs)>;
  Recorded(Device device, Function f);
  ~Recorded();
  Recorded(const Recorded&) = delete;
  Recorded& operator=(const Recorded&) = delete;

  // `inputs` may be on the CPU; f gets them on the device. The outputs hold until the next call.
  const std::vector<Tensor>& operator()(std::span<const Tensor> inputs);
  const std::vector<Tensor>& operator()(std::initializer_list<Tensor> inputs) {
    return (*this)(std::span(inputs.begin(), inputs.size()));
  }

 private:
  class Gpu;
  Function f_;
  Device device_;
  std::unique_ptr<Gpu> gpu_;  // before the tensors, whose blocks are of its pool
  std::vector<Tensor> inputs_, outputs_;
};

}  // namespace sfumato
