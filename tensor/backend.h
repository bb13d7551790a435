// What a device other than the CPU provides to tensor/. A build with CUDA has one backend (cuda/backend.cu).
#pragma once
#include <cstddef>
#include <cstdint>
#include <string>

#include "tensor/device.h"
#include "tensor/kernels/kernels.h"

namespace sfumato {

// An index out of range (index_check.h): `what` of operation `op` was `value`, expected [0, end).
struct IndexFault {
  const char *op = nullptr, *what = nullptr;
  std::int64_t value = 0, end = 0;
  std::string message() const;  // "index 12 is not in 0..9"
};

// All work is done in the order in which it is asked for (CUDA: one stream). One thread at a time may ask, except for
// `allocate` and `release`, which any thread may call. Functions throw Error when the device fails.
struct Backend {
  // Takes GPU `index`. Returns why it cannot be used, or an empty string.
  std::string (*use)(int index);
  std::string (*name)();

  // At least `bytes` (0 counts as 1) aligned to 256 bytes, contents unspecified. Throws Error when no memory is left.
  void* (*allocate)(std::size_t bytes);
  // A block from `allocate`. Work asked for later may be given the block at once.
  void (*release)(void* block) noexcept;
  // Either side may be the CPU. The CPU may change its side when `copy` returns: it waits for the device when it copies
  // to the CPU or more than 256 bytes from it.
  void (*copy)(Device to, void* destination, Device from, const void* source, std::size_t bytes);
  void (*synchronize)();
  // Notes the first of x[0..n) that is not in [0, check.end). The next synchronize, or copy to the CPU, throws it.
  void (*check_indices)(std::int64_t n, const std::int64_t* x, IndexFault check);

  // ---- recorded.h: work asked for between these two is not done but kept; each `replay` does it.
  struct Recording;
  void (*start_recording)();
  Recording* (*stop_recording)();
  void (*replay)(const Recording*);
  void (*forget)(Recording*) noexcept;
  // Blocks for `allocate`. A recording has a pool of its own, because its replays write to the blocks that it was
  // recorded with. use_pool(nullptr) is everybody's pool; it returns the pool in use before. A pool that is deleted
  // gives its blocks to everybody's.
  struct Pool;
  Pool* (*new_pool)();
  Pool* (*use_pool)(Pool*);
  void (*delete_pool)(Pool*) noexcept;

  const kernels::Kernels<float>* f32;
  const kernels::Kernels<double>* f64;
  const kernels::Kernels<sfumato::bf16>* bf16;
  void (*allow_tf32)(bool allow);  // device.h
  // Kernels started so far by this process, those of replays not counted.
  std::uint64_t (*launches)();
};

// Throws Error when this build has nothing for the device, or when nobody has called use_device() for it.
const Backend& backend(Device device);

}  // namespace sfumato
