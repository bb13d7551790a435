// What a GPU does in a second, and how long that makes it take for what the emulator has counted.
#pragma once
#include <algorithm>
#include <optional>
#include <string>

#include "bench/occupancy.h"
#include "cuda/emulator/counts.h"
#include "tensor/dtype.h"
#include "tensor/error.h"

namespace sfumato::bench {

// An H100's or H200's. Multiplications and additions of tensor cores: by mma.sync, about two thirds of what the maker says
// (wgmma reaches the rest). Bytes of L1 and shared memory: 128 a clock on each multiprocessor. Of L2: what copies of what fits
// into it reach.
inline constexpr double kMultiprocessors = 132, kClock = 1.755e9;
inline constexpr double kBf16Macs = 495e12 * 2 / 3, kTf32Macs = 247e12 * 2 / 3;
inline constexpr double kL1Bytes = kMultiprocessors * 128 * kClock, kL2Bytes = 5.5e12;
inline constexpr double kLaunch = 2e-6;

struct Card {
  const char* name;
  double memory_bytes;
};
inline constexpr Card kCards[] = {{"h100", 3.35e12}, {"h200", 4.8e12}};

inline const Card& card_of(const std::string& name) {
  for (const Card& card : kCards)
    if (card.name == name) return card;
  throw Error("--card", "expected h100 or h200, got '" + name + "'");
}

// What was counted, or a multiple of it.
struct Load {
  double blocks = 0, products = 0, l1_bytes = 0, conflicts = 0, l2_bytes = 0, memory_bytes = 0;

  Load() = default;
  Load(const cuda::emulator::Launched& launch)
      : blocks(static_cast<double>(launch.blocks)),
        products(static_cast<double>(launch.counts.products)),
        l1_bytes(128 * static_cast<double>(launch.counts.shared_accesses + launch.counts.lines) +
                 32 * static_cast<double>(launch.counts.sectors)),
        conflicts(static_cast<double>(launch.counts.conflicts)),
        l2_bytes(32 * static_cast<double>(launch.counts.missed)),
        memory_bytes(32 * static_cast<double>(launch.counts.touched)) {}

  // f of each member of both.
  template <class F>
  static Load of_both(const Load& a, const Load& b, const F& f) {
    Load c;
    for (const auto member : {&Load::blocks, &Load::products, &Load::l1_bytes, &Load::conflicts,
                              &Load::l2_bytes, &Load::memory_bytes})
      c.*member = f(a.*member, b.*member);
    return c;
  }
};

// Multiplications and additions of one multiply_add, and those of a second.
inline double macs_of(DType dtype) { return dtype == DType::bf16 ? 2048 : 1024; }
inline double macs_a_second(DType dtype) { return dtype == DType::bf16 ? kBf16Macs : kTf32Macs; }

// Seconds, of each part of the card alone.
struct Times {
  double tensor_cores, l1, l2, memory;
  double longest() const { return std::max({tensor_cores, l1, l2, memory}); }
  const char* bound() const {
    if (longest() == 0) return "nothing counted";
    return longest() == tensor_cores ? "tensor cores"
           : longest() == l1         ? "shared memory"
           : longest() == l2         ? "L2"
                                     : "memory";
  }
};

// Products are of `dtype`, float for TF32. Where there are fewer blocks than multiprocessors, some have none.
inline Times times(const Load& load, DType dtype, const Card& card) {
  const double idle = std::max(1.0, kMultiprocessors / load.blocks);
  return {.tensor_cores = idle * load.products * macs_of(dtype) / macs_a_second(dtype),
          .l1 = idle * load.l1_bytes / kL1Bytes,
          .l2 = load.l2_bytes / kL2Bytes,
          .memory = load.memory_bytes / card.memory_bytes};
}

// Blocks of a kernel on a multiprocessor.
struct Residence {
  int registers = 0, blocks = 0;  // 0: not known
  Residence(const cuda::emulator::BlockSize& size, const std::optional<PtxasLog>& log) {
    if (!log || !size.kernel) return;
    if (const auto found = log->registers(size.kernel)) {
      registers = *found;
      blocks = blocks_at_once(size, registers);
    }
  }
};

}  // namespace sfumato::bench
