#include "cuda/emulator/simt.h"

#include <algorithm>
#include <cstdlib>
#include <random>
#include <span>
#include <string>
#include <utility>
#include <vector>

#include "cuda/emulator/fiber.h"
#include "tensor/error.h"

namespace sfumato::cuda::emulator {

// Where the threads of a block or of a warp wait for one another.
struct Barrier {
  int alive = 0, arrived = 0;
  std::uint64_t generation = 0;  // counts how often it has opened
  const char* file = nullptr;
  int line = 0;
  char order[2];  // what the thread sanitizer knows it by, in even and odd generations
};

namespace {

struct Warp {
  Barrier barrier;
  alignas(16) unsigned char value[32][64];
};

struct Block {
  // Of even and of odd blocks: a fiber comes after what it did before, so that a block whose fibers an earlier one had would
  // need no wait for that one, as the thread sanitizer sees it.
  std::vector<Fiber> fibers[2];
  std::vector<Warp> warps;
  Barrier barrier;
  Fiber* current = nullptr;  // nullptr while threads run one after another
  void (*thread)(const void*) = nullptr;
  const void* kernel = nullptr;
  std::vector<unsigned char> shared;
  std::string error;
};
thread_local Block block;
std::uint64_t order_seed = 0;
// For the thread sanitizer: a block comes after what went before its kernel, and a kernel before what follows it.
char block_begin, kernel_end;

void open(Barrier& b) {
  b.arrived = 0;
  ++b.generation;
}

void leave(Barrier& b) {
  --b.alive;
  if (b.alive > 0 && b.arrived == b.alive) open(b);
}

// A fiber's first and last function.
void run_thread() {
  fiber_begins();
  acquire_order(&block_begin);
  block.thread(block.kernel);
  Fiber& fiber = *block.current;
  release_order(&kernel_end);
  fiber.done = true;
  leave(block.warps[static_cast<std::size_t>(fiber.thread / 32)].barrier);
  leave(block.barrier);
  switch_to_scheduler(fiber);
  std::abort();  // nobody switches to a fiber that is done
}

Fiber& current() {
  if (!block.current)
    throw Error("emulator", "a kernel without Shared waits or exchanges values: see cuda/simt.h");
  return *block.current;
}
Warp& warp() { return block.warps[static_cast<std::size_t>(current().thread / 32)]; }

// A barrier makes what the threads wrote visible to one another; an exchange of values does not.
enum class Memory { ordered, unordered };
void wait_at(Barrier& b, Memory memory) {
  Fiber& fiber = current();
  char* const order = &b.order[b.generation % 2];
  if (memory == Memory::ordered) release_order(order);
  if (++b.arrived == b.alive) {
    open(b);
  } else {
    fiber.waits = &b;
    fiber.until = b.generation;
    switch_to_scheduler(fiber);
  }
  if (memory == Memory::ordered) acquire_order(order);
}

[[noreturn]] void throw_stuck() {
  const Barrier& b = block.barrier;
  throw Error("emulator", "block " + std::to_string(blockIdx.x) + ": " + std::to_string(b.arrived) +
                              " of " + std::to_string(b.alive) +
                              " threads wait at the barrier of " + (b.file ? b.file : "a warp") +
                              ":" + std::to_string(b.line) + ", the others never come");
}

std::span<Fiber> start_block(BlockSize size) {
  const auto threads = static_cast<std::size_t>(size.threads);
  std::vector<Fiber>& fibers = block.fibers[(blockIdx.x + blockIdx.y + blockIdx.z) % 2];
  block.barrier = {};
  block.barrier.alive = size.threads;
  block.warps.assign((threads + 31) / 32, Warp{});
  if (fibers.size() < threads) fibers.resize(threads);
  block.shared =
      std::vector<unsigned char>(size.shared_bytes + 128, 0xff);  // NaNs; fresh for the sanitizers
  for (int i = 0; i < size.threads; ++i) {
    Fiber& fiber = fibers[static_cast<std::size_t>(i)];
    fiber.thread = i;
    fiber.done = false;
    fiber.waits = nullptr;
    start_fiber(fiber, run_thread);
    ++block.warps[static_cast<std::size_t>(i / 32)].barrier.alive;
  }
  release_order(&block_begin);
  return {fibers.data(), threads};
}

void run_block(BlockSize size) {
  std::vector<Fiber*> order;
  for (Fiber& fiber : start_block(size)) order.push_back(&fiber);
  std::mt19937_64 random(order_seed + blockIdx.x);
  for (int left = size.threads; left > 0;) {
    if (order_seed != 0) std::shuffle(order.begin(), order.end(), random);
    bool moved = false;
    for (Fiber* fiber : order) {
      if (fiber->done || (fiber->waits && fiber->waits->generation == fiber->until)) continue;
      fiber->waits = nullptr;
      moved = true;
      block.current = fiber;
      threadIdx = {static_cast<unsigned>(fiber->thread), 0, 0};
      switch_to_fiber(*fiber);
      if (!block.error.empty()) {
        acquire_order(&kernel_end);
        throw Error("emulator", std::exchange(block.error, {}));
      }
      if (fiber->done) --left;
    }
    if (!moved) throw_stuck();
  }
  block.current = nullptr;
  step_aside();
  acquire_order(&kernel_end);
  std::vector<unsigned char>().swap(block.shared);
  step_back();
}

}  // namespace

void run(Blocks grid, BlockSize size, void (*thread)(const void*), const void* kernel) {
  gridDim = {grid.x, grid.y, grid.z};
  blockDim = {static_cast<unsigned>(size.threads), 1, 1};
  block.thread = thread;
  block.kernel = kernel;
  block.current = nullptr;
  scheduler_begins();
  for (blockIdx.z = 0; blockIdx.z < grid.z; ++blockIdx.z)
    for (blockIdx.y = 0; blockIdx.y < grid.y; ++blockIdx.y)
      for (blockIdx.x = 0; blockIdx.x < grid.x; ++blockIdx.x) {
        if (size.waits) {
          run_block(size);
        } else {
          for (threadIdx = {}; threadIdx.x < blockDim.x; ++threadIdx.x) thread(kernel);
        }
      }
  acquire_order(&kernel_end);
}

void set_order(std::uint64_t seed) { order_seed = seed; }

void* shared() {
  const auto begin = reinterpret_cast<std::uintptr_t>(block.shared.data());
  return block.shared.data() + (128 - begin % 128) % 128;
}

namespace {
// Ends the kernel with an Error.
void fail(std::string why) {
  block.error = std::move(why);
  release_order(&kernel_end);
  switch_to_scheduler(current());
}
}  // namespace

void block_barrier(const char* file, int line) {
  current();
  Barrier& b = block.barrier;
  if (b.arrived == 0) {
    b.file = file;
    b.line = line;
  } else if (b.line != line || std::strcmp(b.file, file) != 0) {
    fail("threads of one block wait at two barriers, lines " + std::to_string(b.line) + " and " +
         std::to_string(line) + " of " + file);
  }
  wait_at(b, Memory::ordered);
}

void warp_barrier() { wait_at(warp().barrier, Memory::ordered); }
int lane() { return current().thread % 32; }

// Not memcpy, which the thread sanitizer sees: the warps of all blocks use the same bytes.
void copy_unseen(volatile unsigned char* to, const unsigned char* from, std::size_t bytes) {
  for (std::size_t i = 0; i < bytes; ++i) to[i] = from[i];
}

void exchange(void* value, std::size_t bytes, int from) {
  Warp& w = warp();
  auto* const own = static_cast<unsigned char*>(value);
  copy_unseen(w.value[lane()], own, bytes);
  wait_at(w.barrier, Memory::unordered);
  copy_unseen(own, w.value[from], bytes);
  wait_at(w.barrier, Memory::unordered);
}

unsigned add(unsigned* counter) { return __atomic_fetch_add(counter, 1u, __ATOMIC_RELAXED); }
unsigned add_after_writes(unsigned* counter) {
  release_order(counter);
  return add(counter);
}
void wait_for(const unsigned* counter, unsigned times) {
  const unsigned now = __atomic_load_n(counter, __ATOMIC_RELAXED);
  if (now < times) {
    fail("block " + std::to_string(blockIdx.x) + " waits until a counter that is " +
         std::to_string(now) + " is " + std::to_string(times) +
         ": no block before it counts so far");
  }
  acquire_order(const_cast<unsigned*>(counter));
}

}  // namespace sfumato::cuda::emulator
