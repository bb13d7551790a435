#include "apps/streams.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <unistd.h>

#include <cerrno>
#include <csignal>
#include <cstdio>
#include <cstring>

#include "tensor/error.h"

namespace sfumato::apps {

void prepare_streams() {
  for (const int fd : {STDIN_FILENO, STDOUT_FILENO, STDERR_FILENO}) {
    if (::fcntl(fd, F_GETFD) != -1 || errno != EBADF) continue;
    // open takes the lowest free number, which is `fd`; each in the mode that nobody can use. The
    // root directory is there where no devices are.
    if (::open("/dev/null", fd == STDIN_FILENO ? O_WRONLY : O_RDONLY) < 0)
      (void)!::open("/", O_RDONLY);
  }
  std::signal(SIGPIPE, SIG_IGN);
#if defined(SIGXFSZ)
  std::signal(SIGXFSZ, SIG_IGN);
#endif
}

void complain(const std::string& text) noexcept {
  if (std::fputs(text.c_str(), stderr) < 0) std::clearerr(stderr);
}

void flush_output() {
  if (std::fflush(stdout) != 0)
    throw Error("stdout", fmt::format("cannot write: {}", std::strerror(errno)));
}

}  // namespace sfumato::apps
