// Random numbers addressed by (seed, stream, counter) instead of drawn from hidden state, by Philox
// (philox.h). Any number can be computed alone, so any number of threads gives the same bits, and resuming needs no saved state.
//
// Normals come from Box-Muller with polynomials made of add, multiply, square root and
// integer-to-float only: operations that IEEE 754 rounds the same way on every machine. (The file
// is compiled without contraction to fused multiply-add.)
#pragma once
#include <cstdint>

#include "tensor/philox.h"
#include "tensor/tensor.h"

namespace sfumato {

// What a random number is for. Each purpose has streams of its own, so that drawing more of one
// never shifts another.
enum class Purpose : std::uint16_t {
  general,
  init,
  shuffle,
  timestep,
  noise,
  label_dropout,
  dropout,
  sample_start,
  sample_step,
  test,
  flip
};
// A value. Drawing advances it, so one Rng is for one thread at a time; const members do not.
class Rng {
 public:
  // The stream for `purpose` at `index` (a training step, a sampling step, ...): 2^64 numbers each. Its numbers are drawn
  // on `device`, and are the same bits on each. Throws Error for an index of 2^48 or more.
  explicit Rng(std::uint64_t seed, Purpose purpose = Purpose::general, std::uint64_t index = 0,
               Device device = Device::cpu);
  // The stream at index 2^lane_bits + lane, drawn where `index` is, an i64 tensor []. A GPU reads the index when it
  // draws: a step that is recorded (recorded.h) draws anew at each replay. Throws Error for a lane of 2^lane_bits or
  // more, and on the CPU for an index out of range.
  Rng(std::uint64_t seed, Purpose purpose, const Tensor& index, std::uint64_t lane = 0,
      int lane_bits = 0);

  Device device() const { return device_; }

  // ε ~ N(0, 1), independent. f32 or f64 (an f64 tensor holds the f32 numbers).
  Tensor normal(const Shape& shape, DType dtype = DType::f32);
  // u ~ U[0, 1), multiples of 2^-24.
  Tensor uniform(const Shape& shape, DType dtype = DType::f32);
  // i64 in [0, bound), every value equally likely up to 2^-32 * bound. Throws unless
  // 1 <= bound <= 2^31.
  Tensor randint(const Shape& shape, std::int64_t bound);
  std::uint64_t counter() const { return blocks_.first; }
  // The blocks that are not drawn yet.
  const RandomBlocks& blocks() const { return blocks_; }

 private:
  // Past the blocks that `numbers` numbers are drawn from.
  void advance(std::int64_t numbers) {
    blocks_.first += static_cast<std::uint64_t>((numbers + 3) / 4);
  }

  RandomBlocks blocks_;
  Device device_;
  Tensor index_;  // what blocks_.index is an address of
};

// ε ~ N(0, 1) of `shape`, row n from the start of the stream of `purpose` at index `first` + n `step`: a picture's noise that
// does not depend on which pictures are drawn together. f32 or f64, on the device of `kind`.
Tensor normal_rows(std::uint64_t seed, Purpose purpose, std::uint64_t first, std::uint64_t step,
                   const Shape& shape, Kind kind);

}  // namespace sfumato
