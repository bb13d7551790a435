// CUDA's words for a C++ compiler. The threads of a block are fibers of one thread of the CPU, which take turns where
// they wait for one another. Blocks that wait for others begin before them, so that without their wait they read what is
// not written yet. What the emulator finds wrong, it throws as Error:
//   - a barrier that not all live threads of a block reach, or that they reach at different places;
//   - a kernel that is given an address of the CPU's memory;
//   - a block that waits for a later one, or for what nobody counts.
// Other faults show in what a kernel computes, or stop the program:
//   - shared memory starts as NaNs, and so does every block of the device's memory (memory.h);
//   - so does what a copy to shared memory will bring, until it is waited for (mma.h);
//   - the device's memory can be touched by kernels and copies alone: elsewhere it is a fault at that line;
//   - the address sanitizer finds what is read or written past the end of shared memory or of a block;
//   - a block that does not wait for what it reads finds the NaNs of a new block of memory;
//   - the thread sanitizer finds threads of a block that touch the same number without a barrier between them. It is told
//     that fibers are threads, and of no other order among them than what barriers and waits make: an exchange of values
//     in a warp makes none. (It tells 256 threads apart, a block's, and so finds few races between blocks.)
#pragma once
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <iterator>
#include <string>

#include "cuda/emulator/counts.h"

#define __device__
#define __host__
#define __forceinline__ inline

struct uint3 {
  unsigned x = 0, y = 0, z = 0;
};
// Of the running thread of a kernel.
inline thread_local uint3 threadIdx, blockIdx, blockDim, gridDim;

namespace sfumato::cuda::emulator {

struct Blocks {
  unsigned x, y, z;
};
// Runs thread(kernel) on every thread of every block.
void run(Blocks grid, BlockSize size, void (*thread)(const void* kernel), const void* kernel);

// In which order the threads of later blocks take turns, 0 in theirs, otherwise in one drawn from `seed`; and in which
// order blocks begin, 0 the last one first where they are few, otherwise in one drawn from `seed`.
void set_order(std::uint64_t seed);

// Throws Error naming `kernel` if an aligned word of its arguments is an address of the CPU's memory.
void expect_device_addresses(const char* kernel, const void* arguments, std::size_t bytes);

// Whether launch() checks so. What is left in the padding between arguments could look like an address, and clang before
// 20 cannot clear it. GCC 12 clears other bytes in the place of padding that comes after an array of structs: in a kernel,
// such an array stands last.
#if __has_builtin(__builtin_clear_padding)
inline constexpr bool kChecksAddresses = true;
template <class Kernel>
void clear_padding(Kernel& kernel) {
  __builtin_clear_padding(&kernel);
}
#else
inline constexpr bool kChecksAddresses = false;
template <class Kernel>
void clear_padding(Kernel&) {}
#endif

// ---- what a thread of a kernel may ask for
void* shared();
void block_barrier(const char* file, int line);
void warp_barrier();
int lane();
// Every live thread of the warp gives `bytes` bytes, at most 64. All see what each gave, [lane], until the warp's next call.
using OfLanes = const unsigned char (*)[64];
OfLanes give(const void* value, std::size_t bytes);
// The same, and `value` becomes that of lane `from`.
void exchange(void* value, std::size_t bytes, int from);
// What the running thread has begun to copy (mma.h).
struct Copies& copies();
// How many blocks have begun so far, of kernels whose threads wait.
std::uint64_t blocks_begun();
// How often the running thread has waited for others, of its block or of its warp.
std::uint64_t barriers_passed();
// Ends the kernel with an Error if the address of `bytes` bytes that are moved at once is no multiple of that.
void expect_multiple(const void* address, std::size_t bytes);
// (Word by word: GCC's thread sanitizer does not see a memcpy of 16 bytes, which is compiled to one load or store.)
template <class W>
W read_words(const void* from) {
  expect_multiple(from, sizeof(W));
  count_access(from, sizeof(W), false);
  const Uncounted uncounted;
  W read;
  for (std::size_t i = 0; i < std::size(read.words); ++i)
    std::memcpy(&read.words[i], static_cast<const unsigned char*>(from) + 4 * i, 4);
  return read;
}
template <class W>
void write_words(void* to, const W& written) {
  expect_multiple(to, sizeof(W));
  count_access(to, sizeof(W), true);
  const Uncounted uncounted;
  for (std::size_t i = 0; i < std::size(written.words); ++i)
    std::memcpy(static_cast<unsigned char*>(to) + 4 * i, &written.words[i], 4);
}
// Ends the kernel with an Error.
[[noreturn]] void fail(std::string why);
// Counters that blocks share (phases.h). Each of the first two adds 1; the second returns what was there, the first what
// would have been there if all blocks had begun, in the order of their indices.
unsigned take_number(unsigned* counter);
unsigned add_after_writes(unsigned* counter);
void wait_for(const unsigned* counter, unsigned times);

}  // namespace sfumato::cuda::emulator

inline void __syncthreads(const char* file = __builtin_FILE(), int line = __builtin_LINE()) {
  sfumato::cuda::emulator::block_barrier(file, line);
}
inline void __syncwarp(unsigned = 0xffffffffu) { sfumato::cuda::emulator::warp_barrier(); }

template <class T>
T __shfl_sync(unsigned, T v, int from) {
  sfumato::cuda::emulator::exchange(&v, sizeof v, from & 31);
  return v;
}
template <class T>
T __shfl_xor_sync(unsigned mask, T v, int bits) {
  return __shfl_sync(mask, v, sfumato::cuda::emulator::lane() ^ bits);
}
template <class T>
T __shfl_down_sync(unsigned mask, T v, unsigned distance) {
  const int lane = sfumato::cuda::emulator::lane(), from = lane + static_cast<int>(distance);
  return __shfl_sync(mask, v, from < 32 ? from : lane);
}
