// Starts kernels (simt.h says what a kernel is). The only place that does.
#pragma once
#include <cstddef>
#include <cstdint>
#include <type_traits>
#include <typeinfo>

#include "cuda/runtime.h"
#include "cuda/simt.h"

namespace sfumato::cuda {

// Number of blocks. CUDA allows 2^31 - 1 along x and 65535 along y and z.
struct Grid {
  std::int64_t x = 1, y = 1, z = 1;
};

// Of a block: at most what the cards of sm_86, 89 and 120 have.
template <class Kernel>
constexpr std::size_t shared_bytes() {
  if constexpr (requires { typename Kernel::Shared; }) {
    if constexpr (!std::is_empty_v<typename Kernel::Shared>) {
      static_assert(sizeof(typename Kernel::Shared) <= 99 * 1024);
      return sizeof(typename Kernel::Shared);
    }
  }
  return 0;
}

#if defined(__CUDACC__)

// How many blocks are to run at once on a multiprocessor: so many registers they may have.
template <class Kernel>
constexpr int blocks_at_once() {
  if constexpr (requires { Kernel::kBlocksAtOnce; }) return Kernel::kBlocksAtOnce;
  return 0;  // as the compiler likes
}

template <class Kernel>
__global__ void __launch_bounds__(Kernel::kThreads, blocks_at_once<Kernel>())
    run(const __grid_constant__ Kernel kernel) {
  kernel();
}

// Runs `kernel` on every thread of `grid` blocks, after all work asked for before. Does nothing for an empty grid.
template <class Kernel>
void launch(Grid grid, const Kernel& kernel) {
  if (grid.x * grid.y * grid.z == 0) return;
  constexpr std::size_t bytes = shared_bytes<Kernel>();
  if constexpr (bytes > 48 * 1024) {  // more than that has to be asked for
    static const cudaError_t raised [[maybe_unused]] =
        cudaFuncSetAttribute(run<Kernel>, cudaFuncAttributeMaxDynamicSharedMemorySize, bytes);
  }
  const dim3 blocks(static_cast<unsigned>(grid.x), static_cast<unsigned>(grid.y),
                    static_cast<unsigned>(grid.z));
  run<Kernel><<<blocks, Kernel::kThreads, bytes, stream()>>>(kernel);
  launched(__PRETTY_FUNCTION__);
}

#else

template <class Kernel>
void launch(Grid grid, const Kernel& kernel) {
  if (grid.x * grid.y * grid.z == 0) return;
  if constexpr (emulator::kChecksAddresses) {
    Kernel arguments = kernel;
    emulator::clear_padding(arguments);
    emulator::expect_device_addresses(__PRETTY_FUNCTION__, &arguments, sizeof arguments);
  }
  constexpr bool waits = requires { typename Kernel::Shared; };
  submit([grid, kernel] {
    emulator::run(
        {.x = static_cast<unsigned>(grid.x),
         .y = static_cast<unsigned>(grid.y),
         .z = static_cast<unsigned>(grid.z)},
        {.kernel = typeid(Kernel).name(),
         .threads = Kernel::kThreads,
         .shared_bytes = shared_bytes<Kernel>(),
         .waits = waits},
        [](const void* k) { (*static_cast<const Kernel*>(k))(); }, &kernel);
  });
  launched(__PRETTY_FUNCTION__);
}

#endif

}  // namespace sfumato::cuda
