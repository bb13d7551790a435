// What kernels do that a device takes time for, as the emulator counts it.
//
// Plain loads and stores are counted in a build with SFUMATO_COUNT_ACCESSES (preset cuda-counts), whose compiler, clang, calls
// counts.cpp at each of them. Those that the lanes of a warp make at the same place of the program, for the same time since they
// last waited for one another, are one instruction. Others are counted by the functions of mma.h, in every build.
#pragma once
#include <cstddef>
#include <cstdint>
#include <vector>

namespace sfumato::cuda::emulator {

// Of all kernels so far.
struct Counts {
  std::uint64_t blocks = 0;    // of threads, of kernels that wait or exchange
  std::uint64_t products = 0;  // multiply_add
  // Of 128 bytes of shared memory; and those more than there would be, were the addresses of each in different banks.
  std::uint64_t shared_accesses = 0, conflicts = 0;
  // Of 128 bytes of device memory, each once for an instruction of a warp other than copy_chunk.
  std::uint64_t lines = 0;
  // Of 32 bytes of device memory, each once for a warp's copy_chunk.
  std::uint64_t sectors = 0;
  // Of 32 bytes, what goes between L1 and L2. Copied: those that L1 has not, 64 KiB for each block, every sector at one place of
  // it. Read: each once for a block. Written: each once for an instruction of a warp.
  std::uint64_t missed = 0;
  // Of 32 bytes, each once for a launch.
  std::uint64_t touched = 0;

  template <class F>
  static constexpr Counts of_each(const F& f) {  // f(member)
    return {f(&Counts::blocks),    f(&Counts::products), f(&Counts::shared_accesses),
            f(&Counts::conflicts), f(&Counts::lines),    f(&Counts::sectors),
            f(&Counts::missed),    f(&Counts::touched)};
  }
  friend Counts operator-(const Counts& a, const Counts& b) {
    return of_each([&](auto member) { return a.*member - b.*member; });
  }
};
Counts counts();

struct BlockSize {
  const char* kernel;  // its type, as std::type_info names it
  int threads;
  std::size_t shared_bytes;
  bool waits;  // false: threads never wait or exchange, and run one after another
};
struct Launched {
  BlockSize size = {};
  std::uint64_t blocks = 0;
  Counts counts = {};
};
// The launches of this program since the last call; the first call, which returns none, begins to keep them. What was asked for
// is not done before it is waited for.
std::vector<Launched> take_launches();

#if defined(SFUMATO_COUNT_ACCESSES)
inline constexpr bool kCountsAccesses = true;
// While one of these lives, loads and stores are not counted.
struct Uncounted {
  Uncounted();
  ~Uncounted();
  Uncounted(const Uncounted&) = delete;
  Uncounted& operator=(const Uncounted&) = delete;
};
// The running thread's, at the place of the program that calls this.
void count_access(const void* address, unsigned bytes, bool writes);
#else
inline constexpr bool kCountsAccesses = false;
struct Uncounted {
  Uncounted() {}
};
inline void count_access(const void*, unsigned, bool) {}
#endif

// ---- for the emulator

// A product; the accesses of copy_chunk to device memory, and of 32 lanes to shared memory, `bytes` each. A null is none.
void count_product();
void count_copies(const std::uintptr_t (&from)[32]);
void count_shared(const std::uintptr_t (&addresses)[32], unsigned bytes);
// Of the block whose threads run from now on, and of none.
struct SharedRange {
  const void* begin;
  std::size_t bytes;
};
void count_accesses_of(unsigned block, SharedRange shared);
void count_no_accesses();
void end_accesses_of(unsigned block);
void begin_launch();
void end_launch(const BlockSize& size, std::uint64_t blocks);

}  // namespace sfumato::cuda::emulator
