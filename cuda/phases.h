// Work of several phases in one launch: a block may wait for others of its launch, for less than another launch takes.
//
// Blocks take numbers in the order in which they start, so those with lower numbers are running or done, and whoever
// waits for them alone will go on (Merrill and Garland 2016, section 4.1). The order of numbers decides nothing but who
// does what when: results are the same bits every time. Launches follow one another, so all of them use one set of
// counters, which the last block of each sets back to 0.
#pragma once
#include "cuda/simt.h"

namespace sfumato::cuda {

class Phases {
 public:
  static constexpr unsigned kEvents = 1024;  // that a launch may count
  struct Shared {
    unsigned number;
    bool last;
  };
  // For a launch that counts `events` events, at most kEvents.
  explicit Phases(unsigned events);
  // Fetches the counters, which are kept for the life of the process. To be called before the first launch.
  static void prepare();

  // ---- called by all threads of a block, which may use `s` for nothing else

  // First: the block's number, less than gridDim.x.
  __device__ unsigned begin(Shared& s) const {
    if (threadIdx.x == 0) s.number = take_number(&counters_[kBegun]);
    __syncthreads();
    return s.number;
  }
  // What the block wrote is there for whoever waits for this.
  __device__ void count(unsigned event) const {
    __syncthreads();
    if (threadIdx.x == 0) add_after_writes(&counters_[kFirstEvent + event]);
  }
  // Until `event` was counted `times` times, all of them by blocks of lower numbers.
  __device__ void wait(unsigned event, unsigned times) const {
    if (threadIdx.x == 0) wait_for(&counters_[kFirstEvent + event], times);
    __syncthreads();
  }
  // Last. (No barrier first: of a block's threads only the first has touched counters, and nobody in this launch waits for
  // what others write now.)
  __device__ void end(Shared& s) const {
    if (threadIdx.x == 0) {
      s.last = add_after_writes(&counters_[kEnded]) == gridDim.x - 1;
      if (s.last) wait_for(&counters_[kEnded], gridDim.x);
    }
    __syncthreads();
    if (!s.last) return;
    for (unsigned i = threadIdx.x; i < kFirstEvent + events_; i += blockDim.x) counters_[i] = 0;
  }

 private:
  enum Counter : unsigned { kBegun, kEnded, kFirstEvent };

  // Each adds 1 and returns what was there.
  static __device__ unsigned take_number(unsigned* counter);
  static __device__ unsigned add_after_writes(unsigned* counter);
  static __device__ void wait_for(unsigned* counter, unsigned times);

  unsigned* counters_;
  unsigned events_;
};

#if defined(__CUDACC__)

inline __device__ unsigned Phases::take_number(unsigned* counter) { return atomicAdd(counter, 1u); }
inline __device__ unsigned Phases::add_after_writes(unsigned* counter) {
  __threadfence();
  return atomicAdd(counter, 1u);
}
inline __device__ void Phases::wait_for(unsigned* counter, unsigned times) {
  while (*static_cast<volatile unsigned*>(counter) < times) __nanosleep(100);
  __threadfence();
}

#else

inline unsigned Phases::take_number(unsigned* counter) { return emulator::take_number(counter); }
inline unsigned Phases::add_after_writes(unsigned* counter) {
  return emulator::add_after_writes(counter);
}
inline void Phases::wait_for(unsigned* counter, unsigned times) {
  emulator::wait_for(counter, times);
}

#endif

}  // namespace sfumato::cuda
