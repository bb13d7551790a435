#include "tensor/io/budget.h"

#include <fmt/format.h>
#include <sys/resource.h>
#include <unistd.h>

#include <algorithm>
#include <fstream>
#include <limits>

#include "tensor/error.h"

namespace sfumato::io {

std::uint64_t data_budget() {
  std::uint64_t memory = std::numeric_limits<std::uint64_t>::max();
  const long pages = ::sysconf(_SC_PHYS_PAGES), page = ::sysconf(_SC_PAGESIZE);
  if (pages > 0 && page > 0)
    memory = static_cast<std::uint64_t>(pages) * static_cast<std::uint64_t>(page);
  for (const char* file :
       {"/sys/fs/cgroup/memory.max", "/sys/fs/cgroup/memory/memory.limit_in_bytes"})
    if (std::uint64_t limit = 0; std::ifstream(file) >> limit) memory = std::min(memory, limit);
  rlimit space{};
  if (::getrlimit(RLIMIT_AS, &space) == 0 && space.rlim_cur != RLIM_INFINITY)
    memory = std::min<std::uint64_t>(memory, space.rlim_cur);
  return memory / 2;
}

void expect_within_budget(const std::string& where, std::uint64_t count, std::uint64_t each) {
  const std::uint64_t budget = data_budget();
  if (each == 0 || count <= budget / each) return;
  constexpr double kMega = 1 << 20;
  throw Error(where, fmt::format("decoded, this is {:.0f} MiB, more than the {:.0f} MiB that data "
                                 "may take (half of this machine's memory)",
                                 static_cast<double>(count) * static_cast<double>(each) / kMega,
                                 static_cast<double>(budget) / kMega));
}

}  // namespace sfumato::io
