// The PNG encoder where memory runs out: an error and never a crash.
#include "tensor/io/encode_png.h"

#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cstdlib>
#include <fstream>
#include <new>
#include <vector>

#include "tensor/sanitizers.h"
#include "tests/io/io_test.h"

namespace sfumato::io {
namespace {

std::uint64_t address_space() {
  std::uint64_t pages = 0;
  std::ifstream("/proc/self/statm") >> pages;
  return pages * static_cast<std::uint64_t>(::sysconf(_SC_PAGESIZE));
}

void* volatile taken = nullptr;  // so that the allocations are made

// Exit status of a child that encodes with `room` bytes of address space left: 0 done, 3 refused.
int encode_within(std::uint64_t room, const std::vector<std::uint8_t>& pixels) {
  const pid_t child = ::fork();
  if (child == 0) {
    // What earlier tests left free in the heap shall not serve: it is taken up first.
    rlimit limit{address_space(), RLIM_INFINITY};
    if (::setrlimit(RLIMIT_AS, &limit) != 0) ::_exit(4);
    for (std::size_t size = std::size_t{1} << 28; size >= 1024; size /= 2)
      while (void* block = std::malloc(size)) taken = block;
    limit.rlim_cur += room;
    if (::setrlimit(RLIMIT_AS, &limit) != 0) ::_exit(4);
    try {
      encode_png(512, 512, 3, pixels.data());
    } catch (const std::bad_alloc&) {
      ::_exit(3);
    }
    ::_exit(0);
  }
  int status = 0;
  ::waitpid(child, &status, 0);
  return WIFEXITED(status) ? WEXITSTATUS(status) : 100 + WTERMSIG(status);
}

TEST(EncodePng, OutOfMemoryIsAnException) {
#if !defined(__linux__)
  GTEST_SKIP() << "how much address space is in use is read from Linux' /proc";
#endif
  if (kAddressSanitizer || kThreadSanitizer)
    GTEST_SKIP() << "sanitizers need terabytes of address space";
  std::vector<std::uint8_t> pixels(std::size_t{512} * 512 * 3);
  std::uint32_t state = 1;  // noise, so that the result is large too
  for (std::uint8_t& p : pixels)
    p = static_cast<std::uint8_t>((state = state * 1664525 + 1013904223) >> 24);
  int refused = 0;
  for (std::uint64_t room = 0; room <= std::uint64_t{32} << 20; room += std::uint64_t{1} << 20) {
    const int status = encode_within(room, pixels);
    EXPECT_TRUE(status == 0 || status == 3) << room << " bytes: " << status;
    refused += status == 3;
  }
  EXPECT_GT(refused, 5);  // at several of its allocations
}

}  // namespace
}  // namespace sfumato::io
