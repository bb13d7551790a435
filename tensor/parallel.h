// Threads: one pool for the process. Work is cut into tasks whose number and extent depend on the
// problem alone, and each task writes its own output; so results are the same bits on any number of
// threads. (Work may be cut by that number only where no sum is cut.)
//
// Why not OpenMP: the thread sanitizer understands this pool (libgomp it does not), Apple's clang
// ships without OpenMP, and with more threads than cores these workers sleep instead of spinning.
#pragma once
#include <cstdint>

namespace sfumato {

// Number of threads parallel_for may use, the caller included. Default: the cores this process may
// run on, or SFUMATO_THREADS; fewer where the system lets no more threads start (a limit on
// processes, no memory for their stacks).
int thread_count();
// Throws Error unless 1 <= n <= 1024. thread_count() may be less afterwards, as above. Not to be
// called from inside a task, nor while another thread may call parallel_for.
void set_thread_count(int n);

// Whether the caller runs as a task of a parallel_for.
bool inside_task();

namespace detail {
using TaskFn = void (*)(const void* context, std::int64_t task);
void run_tasks(std::int64_t tasks, TaskFn fn, const void* context);
}  // namespace detail

// Calls body(i) once for every i in [0, tasks), on any thread in any order; returns when all are
// done. The first exception thrown by a task is rethrown here. A nested call runs serially.
template <class Body>
void parallel_for(std::int64_t tasks, const Body& body) {
  detail::run_tasks(
      tasks, [](const void* context, std::int64_t i) { (*static_cast<const Body*>(context))(i); },
      &body);
}

// Calls body(begin, end) on consecutive ranges of at most `grain` items that cover [0, n).
template <class Body>
void parallel_ranges(std::int64_t n, std::int64_t grain, const Body& body) {
  parallel_for((n + grain - 1) / grain, [&](std::int64_t i) {
    const std::int64_t begin = i * grain;
    body(begin, begin + grain < n ? begin + grain : n);
  });
}

}  // namespace sfumato
