#include "tensor/parallel.h"

#include <fmt/format.h>

#include <algorithm>
#include <atomic>
#include <condition_variable>
#include <cstdlib>
#include <exception>
#include <memory>
#include <mutex>
#include <new>
#include <system_error>
#include <thread>
#include <utility>
#include <vector>

#if defined(__linux__)
#include <sched.h>
#endif

#include "tensor/error.h"

namespace sfumato {
namespace {

int available_cores() {
#if defined(__linux__)
  cpu_set_t set;
  if (sched_getaffinity(0, sizeof set, &set) == 0) return std::max(1, CPU_COUNT(&set));
#endif
  return std::max(1, static_cast<int>(std::thread::hardware_concurrency()));
}

void relax() {
#if defined(__x86_64__)
  __builtin_ia32_pause();
#endif
}

thread_local bool in_task = false;

// One parallel_for at a time: the caller publishes a job, wakes the workers, takes tasks itself,
// and waits until every worker that joined has left.
//
// Each thread starts with a share of neighbouring tasks, the same share in every job of that many tasks, and then
// helps the others. So the data that one job wrote are near the same core in the next.
class Pool {
 public:
  explicit Pool(int threads)
      : spin_(threads <= available_cores() ? 4000 : 0), shares_(static_cast<std::size_t>(threads)) {
    workers_.reserve(shares_.size());
  }

  // Once, before the first job. A limit on processes or memory may end this early: then there are
  // as many threads as have started.
  void start() {
    try {
      for (int i = 1; i < static_cast<int>(shares_.size()); ++i)
        workers_.emplace_back([this, i] { work(i); });
    } catch (const std::system_error&) {
    } catch (const std::bad_alloc&) {
    }
    threads_ = static_cast<int>(workers_.size()) + 1;
  }

  ~Pool() {
    {
      std::lock_guard lock(mutex_);
      stop_ = true;
      generation_.fetch_add(1, std::memory_order_release);
    }
    wake_.notify_all();
    for (auto& w : workers_) w.join();
  }

  void run(std::int64_t tasks, detail::TaskFn fn, const void* context) {
    std::lock_guard one_job(job_mutex_);
    {
      std::lock_guard lock(mutex_);
      fn_ = fn;
      context_ = context;
      error_ = nullptr;
      for (int i = 0; i < threads(); ++i) {
        shares_[i].next.store(tasks * i / threads(), std::memory_order_relaxed);
        shares_[i].end = tasks * (i + 1) / threads();
      }
      busy_.store(threads() - 1, std::memory_order_relaxed);
      generation_.fetch_add(1, std::memory_order_release);
    }
    if (sleeping_.load() > 0) wake_.notify_all();
    take_tasks(0);
    for (int i = 0; busy_.load(std::memory_order_acquire) > 0; ++i) {
      if (i < spin_) {
        relax();
      } else {
        std::unique_lock lock(mutex_);
        done_.wait(lock, [&] { return busy_.load(std::memory_order_acquire) == 0; });
      }
    }
    if (error_) std::rethrow_exception(error_);
  }

  int threads() const { return threads_; }

 private:
  // Tasks that one thread begins with.
  struct alignas(64) Share {
    std::atomic<std::int64_t> next{0};
    std::int64_t end = 0;
  };

  void take_tasks(int thread) {
    in_task = true;
    for (int i = 0; i < threads(); ++i) {
      Share& share = shares_[(thread + i) % threads()];
      // Load before fetch_add: an exhausted share is not written, so its cache line stays shared.
      while (share.next.load(std::memory_order_relaxed) < share.end) {
        const std::int64_t task = share.next.fetch_add(1, std::memory_order_relaxed);
        if (task >= share.end) break;
        try {
          fn_(context_, task);
        } catch (...) {
          std::lock_guard lock(mutex_);
          if (!error_) error_ = std::current_exception();
          for (Share& s : shares_) s.next.store(s.end, std::memory_order_relaxed);
        }
      }
    }
    in_task = false;
  }

  void work(int thread) {
    std::uint64_t seen = 0;
    for (;;) {
      for (int i = 0; generation_.load(std::memory_order_acquire) == seen && i < spin_; ++i)
        relax();
      {
        std::unique_lock lock(mutex_);
        sleeping_.fetch_add(1);
        wake_.wait(lock, [&] { return generation_.load(std::memory_order_acquire) != seen; });
        sleeping_.fetch_sub(1);
        if (stop_) return;
        seen = generation_.load(std::memory_order_acquire);
      }
      take_tasks(thread);
      if (busy_.fetch_sub(1, std::memory_order_acq_rel) == 1) {
        std::lock_guard lock(mutex_);
        done_.notify_one();
      }
    }
  }

  const int spin_;
  int threads_ = 1;  // the caller and the workers
  std::vector<Share> shares_;
  std::vector<std::thread> workers_;
  std::mutex job_mutex_, mutex_;
  std::condition_variable wake_, done_;
  std::atomic<std::uint64_t> generation_{0};
  std::atomic<int> busy_{0}, sleeping_{0};
  detail::TaskFn fn_ = nullptr;
  const void* context_ = nullptr;
  std::exception_ptr error_;
  bool stop_ = false;
};

int default_threads() {
  if (const char* text = std::getenv("SFUMATO_THREADS")) {
    char* end = nullptr;
    const long n = std::strtol(text, &end, 10);
    if (end == text || *end || n < 1 || n > 1024)
      throw Error("threads", fmt::format("SFUMATO_THREADS: expected 1..1024, got '{}'", text));
    return static_cast<int>(n);
  }
  return available_cores();
}

// What set_thread_count asked for before there was a pool; 0: nothing.
std::atomic<int> first_count{0};

std::unique_ptr<Pool>& pool() {
  static auto instance = [] {
    auto first = std::make_unique<Pool>(first_count > 0 ? first_count.load() : default_threads());
    first->start();
    return first;
  }();
  return instance;
}

}  // namespace

bool inside_task() { return in_task; }

int thread_count() { return pool()->threads(); }

void set_thread_count(int n) {
  if (n < 1 || n > 1024) throw Error("threads", fmt::format("expected 1..1024 threads, got {}", n));
  first_count = n;
  if (thread_count() == n) return;
  auto next = std::make_unique<Pool>(n);
  // The old threads end before new ones start: there may be a limit on both together.
  pool() = std::move(next);
  pool()->start();
}

void detail::run_tasks(std::int64_t tasks, TaskFn fn, const void* context) {
  if (tasks <= 1 || in_task) {
    for (std::int64_t i = 0; i < tasks; ++i) fn(context, i);
    return;
  }
  pool()->run(tasks, fn, context);
}

}  // namespace sfumato
