// Fibers: functions with stacks of their own that hand the processor to one another. x86-64 only.
#pragma once
#include <cstddef>
#include <cstdint>
#include <memory>

#include "tensor/sanitizers.h"

namespace sfumato::cuda::emulator {

inline constexpr std::size_t kStack = (kAddressSanitizer || kThreadSanitizer ? 128 : 64) << 10;

// What a thread has begun to copy and not waited for yet (mma.h).
struct Copy {
  void* to;
  const void* from;
  std::uint64_t group;
};
struct Copies {
  static constexpr unsigned kMost = 128;
  std::uint64_t groups = 0;  // committed
  // Those begun, in a ring: not on the heap, whose blocks the thread sanitizer takes for data of the threads.
  Copy begun[kMost];
  unsigned first = 0, last = 0;
};

struct Fiber {
  void* stack_pointer = nullptr;
  std::unique_ptr<unsigned char[]> stack;
  int thread = 0;  // of the block
  bool done = true;
  const struct Barrier* waits = nullptr;  // until its generation is no longer `until`
  std::uint64_t until = 0;
  const unsigned* counter = nullptr;  // waits until it is at least `times`
  unsigned times = 0;
  Copies copies;
  void *tsan = nullptr, *asan = nullptr;  // what the sanitizers know it by
};

// Makes `fiber` call entry() when it is first switched to. entry() never returns.
void start_fiber(Fiber& fiber, void (*entry)());
// From the scheduler to a fiber and back. A fiber that is done never goes on.
void switch_to_fiber(Fiber& fiber);
void switch_to_scheduler(Fiber& fiber);
// To be called by the scheduler before its first switch, and first thing in entry().
void scheduler_begins();
void fiber_begins();

// What the thread sanitizer is told: all that happened before a release(x) happened before what follows acquire(x).
void release_order(void* x);
void acquire_order(void* x);
// Between these two the scheduler is another thread to the thread sanitizer, and what it acquires it does not know
// afterwards: so it can free what fibers used without a claim that the next fibers come after them.
void step_aside();
void step_back();

}  // namespace sfumato::cuda::emulator
