#include "cuda/emulator/fiber.h"

#include <cstdint>

#if defined(__SANITIZE_THREAD__)
extern "C" {
void* __tsan_get_current_fiber();
void* __tsan_create_fiber(unsigned flags);
void __tsan_switch_to_fiber(void* fiber, unsigned flags);  // 1: this makes no order between the two
void __tsan_acquire(void* address);
void __tsan_release(void* address);
}
#elif defined(__SANITIZE_ADDRESS__)
#include <sanitizer/asan_interface.h>
extern "C" {
void __sanitizer_start_switch_fiber(void** fake_stack, const void* bottom, std::size_t size);
void __sanitizer_finish_switch_fiber(void* fake_stack, const void** bottom, std::size_t* size);
}
#endif

#if !defined(__x86_64__)
#error "the emulator switches stacks on x86-64 only"
#endif
extern "C" void sfumato_switch_stack(void** from, void* to);
asm(R"(
.text
.globl sfumato_switch_stack
sfumato_switch_stack:
  pushq %rbp
  pushq %rbx
  pushq %r12
  pushq %r13
  pushq %r14
  pushq %r15
  movq %rsp, (%rdi)
  movq %rsi, %rsp
  popq %r15
  popq %r14
  popq %r13
  popq %r12
  popq %rbx
  popq %rbp
  ret
)");

namespace sfumato::cuda::emulator {
namespace {

constexpr int kSavedRegisters = 6;

struct Scheduler {
  void* stack_pointer = nullptr;
  void *tsan = nullptr, *asan = nullptr;
  const void* bottom = nullptr;
  std::size_t size = 0;
};
thread_local Scheduler scheduler;

}  // namespace

void start_fiber(Fiber& fiber, void (*entry)()) {
#if defined(__SANITIZE_THREAD__)
  if (!fiber.tsan) fiber.tsan = __tsan_create_fiber(0);  // for good: one costs 0.2 ms
#endif
  if (!fiber.stack) fiber.stack.reset(new unsigned char[kStack]);
#if defined(__SANITIZE_ADDRESS__)
  ASAN_UNPOISON_MEMORY_REGION(fiber.stack.get(), kStack);
#endif
  unsigned char* const end = fiber.stack.get() + kStack;
  void** sp = reinterpret_cast<void**>(end - reinterpret_cast<std::uintptr_t>(end) % 64);
  *--sp = nullptr;  // where a return address would be
  *--sp = reinterpret_cast<void*>(entry);
  for (int i = 0; i < kSavedRegisters; ++i) *--sp = nullptr;
  fiber.stack_pointer = sp;
}

void switch_to_fiber(Fiber& fiber) {
#if defined(__SANITIZE_THREAD__)
  __tsan_switch_to_fiber(fiber.tsan, 1);
#elif defined(__SANITIZE_ADDRESS__)
  __sanitizer_start_switch_fiber(&scheduler.asan, fiber.stack.get(), kStack);
#endif
  sfumato_switch_stack(&scheduler.stack_pointer, fiber.stack_pointer);
#if defined(__SANITIZE_ADDRESS__)
  __sanitizer_finish_switch_fiber(scheduler.asan, nullptr, nullptr);
#endif
}

void switch_to_scheduler(Fiber& fiber) {
#if defined(__SANITIZE_THREAD__)
  __tsan_switch_to_fiber(scheduler.tsan, 1);
#elif defined(__SANITIZE_ADDRESS__)
  __sanitizer_start_switch_fiber(fiber.done ? nullptr : &fiber.asan, scheduler.bottom,
                                 scheduler.size);
#endif
  sfumato_switch_stack(&fiber.stack_pointer, scheduler.stack_pointer);
#if defined(__SANITIZE_ADDRESS__)
  __sanitizer_finish_switch_fiber(fiber.asan, nullptr, nullptr);
#endif
}

void scheduler_begins() {
#if defined(__SANITIZE_THREAD__)
  scheduler.tsan = __tsan_get_current_fiber();
#endif
}

void step_aside() {
#if defined(__SANITIZE_THREAD__)
  static thread_local void* const aside = __tsan_create_fiber(0);
  static thread_local char begun;  // the scheduler's work so far comes before
  __tsan_release(&begun);
  __tsan_switch_to_fiber(aside, 1);
  __tsan_acquire(&begun);
#endif
}

void step_back() {
#if defined(__SANITIZE_THREAD__)
  __tsan_switch_to_fiber(scheduler.tsan, 1);
#endif
}

void fiber_begins() {
#if defined(__SANITIZE_ADDRESS__)
  __sanitizer_finish_switch_fiber(nullptr, &scheduler.bottom, &scheduler.size);
#endif
}

void release_order([[maybe_unused]] void* x) {
#if defined(__SANITIZE_THREAD__)
  __tsan_release(x);
#endif
}

void acquire_order([[maybe_unused]] void* x) {
#if defined(__SANITIZE_THREAD__)
  __tsan_acquire(x);
#endif
}

}  // namespace sfumato::cuda::emulator
