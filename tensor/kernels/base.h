// Small helpers of the per-instruction-set code.
//
// Everything in these headers lives in a namespace named after the instruction set, and uses no
// template or inline function of the standard library: the linker keeps one copy of a shared inline
// function, and that copy could be the one compiled for AVX-512, which a baseline machine would then
// run.
#pragma once
#include <cstddef>
#include <cstdint>

#include "tensor/kernels/kernels.h"
#include "tensor/memory.h"
#include "tensor/parallel.h"

#ifndef SFUMATO_ISA_NAME
#error "compile the files of sets/ with SFUMATO_ISA_NAME set to generic, avx2 or avx512"
#endif

namespace sfumato::kernels::SFUMATO_ISA_NAME {

constexpr index smaller(index a, index b) { return a < b ? a : b; }
constexpr index larger(index a, index b) { return a > b ? a : b; }
constexpr index clamp_to(index x, index low, index high) { return larger(low, smaller(x, high)); }
constexpr index div_up(index a, index b) { return (a + b - 1) / b; }
constexpr index round_up(index a, index b) { return div_up(a, b) * b; }

// Rounds towards minus infinity where / rounds towards zero; b > 0.
constexpr index div_floor(index a, index b) { return a >= 0 ? a / b : -div_up(-a, b); }

struct Range {
  index begin, end;
  index size() const { return end - begin; }
};
// Range `i` of [0, n) cut into `parts` nearly equal ranges.
constexpr Range part_of(index n, index parts, index i) {
  return {n * i / parts, n * (i + 1) / parts};
}

// Working memory for the lifetime of a scope, 64-byte aligned, uninitialised.
template <class T>
class Scratch {
 public:
  explicit Scratch(index count)
      : bytes_(static_cast<std::size_t>(count) * sizeof(T)),
        in_task_(inside_task()),
        data_(static_cast<T*>(in_task_ ? memory::allocate_in_task(bytes_)
                                       : memory::allocate(bytes_))) {}
  ~Scratch() {
    if (in_task_) {
      memory::release_in_task(data_, bytes_);
    } else {
      memory::release(data_, bytes_);
    }
  }
  Scratch(const Scratch&) = delete;
  Scratch& operator=(const Scratch&) = delete;

  T* get() const { return data_; }
  T& operator[](index i) const { return data_[i]; }

 private:
  std::size_t bytes_;
  bool in_task_;
  T* data_;
};

// Enough tasks that the last one to finish leaves few threads idle, on two cores or on sixteen. A
// constant: the cut decides how sums are rounded, and results must not depend on the machine.
inline constexpr index kTasks = 32;

}  // namespace sfumato::kernels::SFUMATO_ISA_NAME
