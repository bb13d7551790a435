#include "apps/streams.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <unistd.h>

#include <cerrno>
#include <csignal>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <exception>
#include <initializer_list>
#include <new>
#include <string_view>

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

void exit_when_out_of_memory() {
  static const std::terminate_handler otherwise = std::get_terminate();
  std::set_terminate([] {
    bool out_of_memory = false;
    try {
      if (const std::exception_ptr error = std::current_exception()) std::rethrow_exception(error);
      // One is under way, in the standard library's files, or could not even be made.
      out_of_memory =
          std::uncaught_exceptions() > 0 || ::operator new(1 << 10, std::nothrow) == nullptr;
    } catch (const std::bad_alloc&) {
      out_of_memory = true;
    } catch (...) {
    }
    if (!out_of_memory) otherwise();
    constexpr std::string_view text = "sfumato: out of memory\n";
    (void)!::write(STDERR_FILENO, text.data(), text.size());
    ::_exit(1);
  });
}

void complain(const std::string& text) noexcept {
  if (std::fputs(text.c_str(), stderr) < 0) std::clearerr(stderr);
}

void flush_output() {
  if (std::fflush(stdout) != 0)
    throw Error("stdout", fmt::format("cannot write: {}", std::strerror(errno)));
}

}  // namespace sfumato::apps
