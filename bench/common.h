// What the benchmarks share: clocks, medians, and a probe of the machine's peak.
//
// Shares of peak are of what independent multiply-adds in registers reach at that moment, with the
// instruction set and the threads in use: a probe beside every measurement keeps the shares honest
// on a machine that does other things too.
#pragma once
#include <sys/resource.h>

#include <algorithm>
#include <chrono>
#include <cstdint>
#include <ctime>
#include <vector>

#include "tensor/kernels/isa.h"
#include "tensor/memory.h"
#include "tensor/parallel.h"

namespace sfumato::bench {

inline double wall_seconds() {
  return std::chrono::duration<double>(std::chrono::steady_clock::now().time_since_epoch()).count();
}

// Aligned as a Tensor's numbers are; by default a std::vector starts 16 bytes off, which costs a
// fifth.
using Floats = std::vector<float, memory::Allocator<float>>;

// Some numbers in [-0.5, 0.5), the same on every run.
inline Floats numbers(std::int64_t count) {
  Floats v(static_cast<std::size_t>(count));
  for (std::size_t i = 0; i < v.size(); ++i)
    v[i] = static_cast<float>((i * 2654435761u >> 8) & 0xffff) / 65536 - 0.5f;
  return v;
}

inline double median(std::vector<double> v) {
  std::sort(v.begin(), v.end());
  return v[v.size() / 2];
}

// The largest resident size this process has had.
inline double peak_rss_mb() {
  rusage usage{};
  getrusage(RUSAGE_SELF, &usage);
#if defined(__APPLE__)
  return static_cast<double>(usage.ru_maxrss) * 1e-6;  // bytes
#else
  return static_cast<double>(usage.ru_maxrss) * 1024e-6;  // KiB
#endif
}

template <class V>
[[gnu::always_inline]] inline void probe_loop(int rounds) {
  V sum[12];
  for (int i = 0; i < 12; ++i) sum[i] = V{} + 0.1f * static_cast<float>(i);
  V x = V{} + 0.999f, y = V{} + 1e-3f;
  for (int round = 0; round < rounds; ++round) {
#pragma GCC unroll 12
    for (int i = 0; i < 12; ++i) sum[i] = sum[i] * x + y;
    asm volatile("" : "+r"(round));
  }
  V all{};
  for (int i = 0; i < 12; ++i) all += sum[i];
  volatile float sink = all[0];
  static_cast<void>(sink);
}

typedef float F4 __attribute__((vector_size(16)));
inline void probe_generic(int rounds) { probe_loop<F4>(rounds); }
#if defined(__x86_64__)
typedef float F8 __attribute__((vector_size(32)));
typedef float F16 __attribute__((vector_size(64)));
[[gnu::target("avx2,fma")]] inline void probe_avx2(int rounds) { probe_loop<F8>(rounds); }
[[gnu::target("avx512f,fma")]] inline void probe_avx512(int rounds) { probe_loop<F16>(rounds); }
#endif

// FLOP/s of all threads right now, by the given clock; takes about 3 ms.
inline double probe(double (*now)() = wall_seconds) {
  constexpr int kRounds = 500000;
  void (*loop)(int) = probe_generic;
  double lanes = 4;
#if defined(__x86_64__)
  if (isa() == Isa::avx2) loop = probe_avx2, lanes = 8;
  if (isa() == Isa::avx512) loop = probe_avx512, lanes = 16;
#endif
  const int threads = thread_count();
  const double begin = now();
  parallel_for(threads, [&](std::int64_t) { loop(kRounds); });
  return 12.0 * 2 * lanes * kRounds * threads / (now() - begin);
}

}  // namespace sfumato::bench
