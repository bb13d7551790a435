// Threads that cannot be made. (What threads do is in tensor_test.cpp.)
#include "tensor/parallel.h"

#include <gtest/gtest.h>
#include <sys/resource.h>
#include <unistd.h>

#include <atomic>

namespace sfumato {
namespace {

int works() {
  std::atomic<int> done{0};
  parallel_for(100, [&](std::int64_t) { ++done; });
  return done == 100 ? 10 + thread_count() : 0;
}

// From here on this process may start no threads.
void forbid_threads() {
  // The limit counts all processes of a user, and root has none.
  if (getuid() == 0 && setuid(65534) != 0) _exit(99);
  const rlimit one{1, 1};
  if (setrlimit(RLIMIT_NPROC, &one) != 0) _exit(98);
  alarm(60);
}

TEST(ThreadsDeathTest, ThoseThatCouldBeMadeDoTheWork) {
  // In a fresh process, not in a forked copy of this one without its threads.
  ::testing::FLAGS_gtest_death_test_style = "threadsafe";
  const auto one_thread = ::testing::ExitedWithCode(11);
  EXPECT_EXIT((forbid_threads(), _exit(works())), one_thread, "");
  EXPECT_EXIT((forbid_threads(), set_thread_count(8), _exit(works())), one_thread, "");
  EXPECT_EXIT((set_thread_count(3), forbid_threads(), set_thread_count(8), _exit(works())),
              one_thread, "");
}

TEST(Threads, MoreAreMadeWhenTheLimitIsGone) {
  const int before = thread_count();
  for (const int n : {5, 2, 7}) {
    set_thread_count(n);
    EXPECT_EQ(works(), 10 + n);
  }
  set_thread_count(before);
}

}  // namespace
}  // namespace sfumato
