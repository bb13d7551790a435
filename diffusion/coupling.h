// Which noise a training step adds to which picture. DDPM draws the two independently. Any other pairing trains the same
// sampler as long as each picture's noise is still N(0, I) over all batches.
#pragma once
#include <cstdint>
#include <string_view>
#include <vector>

#include "tensor/tensor.h"

namespace sfumato::diffusion {

// A row of coupling.cpp. A new one is defined there and named in the two lists below.
struct Coupling {
  std::string_view name, help;
  // order[i] is the row of eps that goes with row i of x0, both [n, d] on the CPU. Null: row i.
  std::vector<std::int64_t> (*order)(const Tensor& x0, const Tensor& eps) = nullptr;

  static const Coupling independent, optimal_transport;
  static constexpr const Coupling* all[] = {&independent, &optimal_transport};

  bool operator==(const Coupling& other) const { return name == other.name; }
};

// Throws Error for a coupling with an `order` on a GPU.
void expect_coupling(const Coupling& coupling, Device device);

// The rows of eps [n, ...] in the order that x0's want. Where there are labels, i64 [n], pictures of one label
// exchange theirs with each other alone, so that noise stays N(0, I) for each label (with one exchange for all, the
// network would learn that a label has noise of its own). Throws Error as expect_coupling does.
Tensor coupled(const Coupling& coupling, const Tensor& x0, const Tensor& eps, const Tensor& labels);

// The order that makes Σ_i cost[i n + order[i]] smallest, of n x n numbers: the shortest augmenting paths of Jonker
// and Volgenant (1987), O(n³). Throws Error unless cost has n² finite values.
std::vector<std::int64_t> assignment(const std::vector<double>& cost, std::int64_t n);

}  // namespace sfumato::diffusion
