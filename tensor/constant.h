// Tables on a device: what an operation computes on the CPU once and reads on a device at every call.
#pragma once
#include "tensor/tensor.h"

namespace sfumato {

// The elements of `table`, which is on the CPU and small, on `device`: copied there the first time, and then kept until
// the process ends, so that a recorded step (recorded.h) finds them where they were. Equal tables are one; a process
// has a few for each schedule that it uses, of 8 KB each, so nothing is ever given back. On the CPU `table` itself. One
// thread at a time.
Tensor constant(const Tensor& table, Device device);

}  // namespace sfumato
