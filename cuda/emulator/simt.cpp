#include "cuda/emulator/simt.h"

#include <algorithm>
#include <cstdlib>
#include <deque>
#include <functional>
#include <map>
#include <memory>
#include <numeric>
#include <random>
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
  alignas(16) unsigned char value[2][32][64];  // in even and odd generations of the barrier
};

// One that has begun.
struct Block {
  uint3 index;
  unsigned number = 0;  // in the order of indices
  std::vector<Fiber> fibers;
  std::vector<Fiber*> order;  // of their turns
  int left = 0;               // threads that are not done
  std::vector<Warp> warps;
  Barrier barrier;
  std::vector<unsigned char> shared;
  const Fiber* waits = nullptr;  // one of those that wait for a counter, if no thread can go on
};
using BlockPtr = std::unique_ptr<Block>;

struct Counted {
  unsigned last, highest;  // of the numbers of the blocks that counted
};

// What runs now.
struct Launch {
  BlockSize size{};
  void (*thread)(const void*) = nullptr;
  const void* kernel = nullptr;
  Block* block = nullptr;
  Fiber* fiber = nullptr;  // nullptr while threads run one after another
  unsigned took_number = 0;
  std::map<const unsigned*, Counted> counted;
  std::string error;
  std::vector<BlockPtr> waiting;  // blocks that wait for others
  // Blocks to be used again, the longest unused one first, and two of them at least: a fiber comes after what it did before,
  // so that a block whose fibers an earlier one had would need no wait for that one, as the thread sanitizer sees it.
  std::deque<BlockPtr> unused;
};
thread_local Launch launch;

// Of blocks that wait at a time: their threads' stacks are memory, and each is a thread that the thread sanitizer knows,
// whose time grows with their number. With 0 blocks begin in the order of their numbers.
constexpr std::size_t kMostWaiting = kThreadSanitizer ? 0 : kAddressSanitizer ? 8 : 32;
std::uint64_t order_seed = 0;
std::mt19937_64 random_order;
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
  launch.thread(launch.kernel);
  Fiber& fiber = *launch.fiber;
  Block& block = *launch.block;
  release_order(&kernel_end);
  fiber.done = true;
  --block.left;
  leave(block.warps[static_cast<std::size_t>(fiber.thread / 32)].barrier);
  leave(block.barrier);
  switch_to_scheduler(fiber);
  std::abort();  // nobody switches to a fiber that is done
}

Fiber& current() {
  if (!launch.fiber)
    throw Error("emulator", "a kernel without Shared waits or exchanges values: see cuda/simt.h");
  return *launch.fiber;
}
Warp& warp() { return launch.block->warps[static_cast<std::size_t>(current().thread / 32)]; }

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

unsigned value(const unsigned* counter) { return __atomic_load_n(counter, __ATOMIC_RELAXED); }

[[noreturn]] void throw_stuck(const Block& block) {
  const Barrier& b = block.barrier;
  throw Error("emulator", "block " + std::to_string(block.number) + ": " +
                              std::to_string(b.arrived) + " of " + std::to_string(b.alive) +
                              " threads wait at the barrier of " + (b.file ? b.file : "a warp") +
                              ":" + std::to_string(b.line) + ", the others never come");
}

[[noreturn]] void throw_waiting() {
  acquire_order(&kernel_end);
  const Block& block = *launch.waiting.front();
  throw Error("emulator",
              "block " + std::to_string(block.number) + " waits until a counter that is " +
                  std::to_string(value(block.waits->counter)) + " is " +
                  std::to_string(block.waits->times) + ": no block is left that counts");
}

std::uint64_t begun = 0;

BlockPtr begin_block(unsigned number) {
  ++begun;
  const auto threads = static_cast<std::size_t>(launch.size.threads);
  BlockPtr block;
  if (launch.unused.size() < 2) {
    block = std::make_unique<Block>();
  } else {
    block = std::move(launch.unused.front());
    launch.unused.pop_front();
  }
  block->number = number;
  block->index = {number % gridDim.x, number / gridDim.x % gridDim.y,
                  number / gridDim.x / gridDim.y};
  block->barrier = {};
  block->barrier.alive = block->left = launch.size.threads;
  block->warps.assign((threads + 31) / 32, Warp{});
  if (block->fibers.size() < threads) block->fibers.resize(threads);
  block->order.clear();
  block->shared = std::vector<unsigned char>(launch.size.shared_bytes + 128,
                                             0xff);  // NaNs; fresh for the sanitizers
  for (int i = 0; i < launch.size.threads; ++i) {
    Fiber& fiber = block->fibers[static_cast<std::size_t>(i)];
    fiber.thread = i;
    fiber.done = false;
    fiber.waits = nullptr;
    fiber.counter = nullptr;
    fiber.copies.groups = fiber.copies.first = fiber.copies.last = 0;
    start_fiber(fiber, run_thread);
    block->order.push_back(&fiber);
    ++block->warps[static_cast<std::size_t>(i / 32)].barrier.alive;
  }
  release_order(&block_begin);
  return block;
}

bool can_go_on(const Fiber& fiber) {
  if (fiber.counter) return value(fiber.counter) >= fiber.times;
  return !fiber.done && !(fiber.waits && fiber.waits->generation == fiber.until);
}

// Threads take turns until none can go on. Whether all are done; if not, they wait for other blocks.
bool go_on(Block& block) {
  launch.block = &block;
  blockIdx = block.index;
  count_accesses_of(block.number, {block.shared.data(), block.shared.size()});
  for (bool moved = true; moved;) {
    if (order_seed != 0) std::shuffle(block.order.begin(), block.order.end(), random_order);
    moved = false;
    for (Fiber* fiber : block.order) {
      if (!can_go_on(*fiber)) continue;
      fiber->waits = nullptr;
      fiber->counter = nullptr;
      moved = true;
      launch.fiber = fiber;
      threadIdx = {static_cast<unsigned>(fiber->thread), 0, 0};
      switch_to_fiber(*fiber);
      if (!launch.error.empty()) {
        acquire_order(&kernel_end);
        throw Error("emulator", std::exchange(launch.error, {}));
      }
    }
  }
  launch.fiber = nullptr;
  count_no_accesses();
  if (block.left == 0) return true;
  const auto waiting = std::find_if(block.order.begin(), block.order.end(),
                                    [](const Fiber* fiber) { return fiber->counter; });
  if (waiting == block.order.end()) throw_stuck(block);
  block.waits = *waiting;
  return false;
}

void end_block(BlockPtr block) {
  end_accesses_of(block->number);
  step_aside();
  acquire_order(&kernel_end);
  std::vector<unsigned char>().swap(block->shared);
  step_back();
  launch.unused.push_back(std::move(block));
}

// Lets the blocks that waited go on, as far as they can. Whether there were any.
bool go_on_waiting() {
  bool moved = false;
  for (BlockPtr& block : launch.waiting) {
    if (!can_go_on(*block->waits)) continue;
    moved = true;
    if (go_on(*block)) end_block(std::move(block));
  }
  std::erase(launch.waiting, nullptr);
  return moved;
}

// Those that wait for others come before them, as far as there is room: the last block first, or any.
void run_blocks(unsigned count) {
  std::vector<unsigned> later(count);  // the next one last
  std::iota(later.begin(), later.end(), 0u);
  if (order_seed != 0 || count > kMostWaiting)
    std::shuffle(later.begin(), later.end(), random_order);
  while (go_on_waiting() || !later.empty()) {
    if (later.empty()) continue;
    if (launch.waiting.size() >= kMostWaiting)
      std::sort(later.begin(), later.end(), std::greater<>());  // the first waits for none of these
    BlockPtr block = begin_block(later.back());
    later.pop_back();
    if (go_on(*block)) {
      end_block(std::move(block));
    } else {
      launch.waiting.push_back(std::move(block));
    }
  }
  if (!launch.waiting.empty()) throw_waiting();
}

}  // namespace

void run(Blocks grid, BlockSize size, void (*thread)(const void*), const void* kernel) {
  gridDim = {grid.x, grid.y, grid.z};
  blockDim = {static_cast<unsigned>(size.threads), 1, 1};
  const std::uint64_t blocks = std::uint64_t{grid.x} * grid.y * grid.z;
  begin_launch();
  launch.size = size;
  launch.thread = thread;
  launch.kernel = kernel;
  launch.fiber = nullptr;
  launch.took_number = 0;
  launch.counted.clear();
  launch.waiting.clear();  // what an Error left
  scheduler_begins();
  if (size.waits) {
    run_blocks(grid.x * grid.y * grid.z);
  } else {
    for (blockIdx.z = 0; blockIdx.z < grid.z; ++blockIdx.z)
      for (blockIdx.y = 0; blockIdx.y < grid.y; ++blockIdx.y)
        for (blockIdx.x = 0; blockIdx.x < grid.x; ++blockIdx.x) {
          count_accesses_of(0, {nullptr, 0});
          for (threadIdx = {}; threadIdx.x < blockDim.x; ++threadIdx.x) thread(kernel);
          count_no_accesses();
          end_accesses_of(0);
        }
  }
  acquire_order(&kernel_end);
  end_launch(size, blocks);
}

void set_order(std::uint64_t seed) {
  order_seed = seed;
  random_order.seed(seed);
}

void* shared() {
  unsigned char* const bytes = launch.block->shared.data();
  const auto begin = reinterpret_cast<std::uintptr_t>(bytes);
  return bytes + (128 - begin % 128) % 128;
}

void fail(std::string why) {
  launch.error = std::move(why);  // the fiber never comes back to destroy it
  release_order(&kernel_end);
  switch_to_scheduler(current());
  std::abort();  // nobody switches back
}

void block_barrier(const char* file, int line) {
  current();
  Barrier& b = launch.block->barrier;
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
std::uint64_t blocks_begun() { return begun; }
std::uint64_t barriers_passed() {
  return launch.fiber ? launch.block->barrier.generation + warp().barrier.generation : 0;
}
Copies& copies() { return current().copies; }

// Not memcpy, which the thread sanitizer sees: the warps of all blocks use the same bytes.
void copy_unseen(volatile unsigned char* to, const unsigned char* from, std::size_t bytes) {
  for (std::size_t i = 0; i < bytes; ++i) to[i] = from[i];
}

void expect_multiple(const void* address, std::size_t bytes) {
  if (reinterpret_cast<std::uintptr_t>(address) % bytes != 0)
    fail(std::to_string(bytes) +
         " bytes are moved at once from or to an address that is no multiple of " +
         std::to_string(bytes));
}

// Who gives again writes to the other half, and cannot give a third time before all have read the first.
OfLanes give(const void* value, std::size_t bytes) {
  Warp& w = warp();
  auto* const room = w.value[w.barrier.generation % 2];
  copy_unseen(room[lane()], static_cast<const unsigned char*>(value), bytes);
  wait_at(w.barrier, Memory::unordered);
  return room;
}

void exchange(void* value, std::size_t bytes, int from) {
  copy_unseen(static_cast<unsigned char*>(value), give(value, bytes)[from], bytes);
}

unsigned take_number(unsigned* counter) {
  current();
  const unsigned before = __atomic_fetch_add(counter, 1u, __ATOMIC_RELAXED);
  return before - launch.took_number++ + launch.block->number;
}
unsigned add_after_writes(unsigned* counter) {
  const unsigned number = launch.block->number;
  const auto [place, is_new] = launch.counted.try_emplace(counter, Counted{number, number});
  place->second = {number, std::max(number, place->second.highest)};
  release_order(counter);
  return __atomic_fetch_add(counter, 1u, __ATOMIC_RELAXED);
}
void wait_for(const unsigned* counter, unsigned times) {
  Fiber& fiber = current();
  if (value(counter) < times) {
    fiber.counter = counter;
    fiber.times = times;
    release_order(&kernel_end);  // should this wait never end
    switch_to_scheduler(fiber);
  }
  acquire_order(const_cast<unsigned*>(counter));
  const unsigned number = launch.block->number;
  const auto counted = launch.counted.find(counter);
  // (Who has just counted last of all waits for nobody.)
  if (counted != launch.counted.end() && counted->second.last != number &&
      counted->second.highest > number)
    fail("block " + std::to_string(number) + " waits for the later block " +
         std::to_string(counted->second.highest));
}

}  // namespace sfumato::cuda::emulator
