// The one model of the caches by which every kernel sizes its blocks.
//
// It is a constant, not what the machine reports: blocks decide where sums are split, and results
// must not depend on the machine. The sizes are those of the smallest core in wide use; larger caches
// gain little from larger blocks.
#pragma once
#include "tensor/kernels/base.h"

namespace sfumato::kernels::SFUMATO_ISA_NAME {

struct CacheModel {
  index line = 64;     // bytes
  index alias = 4096;  // addresses this far apart share a set of L1 (cache-set conflicts)
  index l1 = 32 * 1024;
  index l2 = 512 * 1024;   // of one core (Zen 3; newer cores have 1 to 2 MiB)
  index llc = 32 << 20;    // shared by the cores
  index stream = 2 << 20;  // arrays from this size on are written by non-temporal stores (simd.h)

  // A task's share of L2, next to a panel of weights.
  constexpr index task() const { return l2 / 4 * 3; }
  // The share of L2 for the transformed input V of one Winograd block; its products M, a panel of U and
  // the window of the image need as much again.
  constexpr index winograd_v() const { return l2 / 8 * 5; }
  // The share of L1 for the operand of a register block that is read again and again.
  constexpr index l1_operand() const { return l1 / 2; }
  // The most that the partial sums of split-K take: of a matrix product, of a convolution's weights
  // (whose last pass over them also transposes).
  constexpr index gemm_partials() const { return llc / 4; }
  constexpr index weight_partials() const { return llc / 32 * 5; }
};
inline constexpr CacheModel kCache{};

// Whether rows `bytes` apart would all lie in the same few sets of L1.
constexpr bool has_set_conflicts(index bytes) { return bytes % kCache.alias == 0; }

}  // namespace sfumato::kernels::SFUMATO_ISA_NAME
