// Arrivals: numbers that a device computes at each step of a long computation, brought to the CPU without making the
// device wait at each step.
#pragma once
#include <cstdint>
#include <functional>
#include <initializer_list>
#include <span>

#include "tensor/tensor.h"

namespace sfumato {

// Rows of numbers arrive in the order in which they are sent. From a GPU up to kSlots rows are on their way at a time:
// they stay there and are fetched together when there is no room for another row, so that the CPU is never more than
// kSlots steps ahead. On the CPU a row arrives as it is sent. For one thread at a time.
class Arrivals {
 public:
  static constexpr std::int64_t kSlots = 10;
  using Receive = std::function<void(std::span<const double> row)>;

  // Of `columns` numbers a row. `receive` is called by send() and drain(); what it throws comes out there, and the rows
  // after that one are lost.
  Arrivals(Device device, std::int64_t columns, Receive receive);

  // Each number a tensor of one element, f32 or f64, on the device. Their elements are read before any work that is
  // asked for later, so that tensors of a replayed step (recorded.h) may be sent.
  void send(std::initializer_list<Tensor> row);
  // Receives all that is on its way.
  void drain();

 private:
  Tensor slots_;           // f64 [slots, columns], on the device
  std::int64_t sent_ = 0;  // rows in it
  Receive receive_;
};

}  // namespace sfumato
