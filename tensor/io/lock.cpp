#include "tensor/io/lock.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <mutex>
#include <string_view>
#include <system_error>
#include <vector>

#include "tensor/error.h"
#include "tensor/io/file.h"

namespace sfumato::io {
namespace {

namespace fs = std::filesystem;

// "run/" -> "run", "." -> "": what paths below the directory begin with.
fs::path beginning(const fs::path& directory) {
  const fs::path normal = directory.lexically_normal();
  if (normal == "." || normal == "./") return {};
  return normal.has_filename() ? normal : normal.parent_path();
}

// All locks of this process. Never destroyed, for static objects may still write after main.
struct Locks {
  std::mutex mutex;
  std::vector<const DirectoryLock*> held;
};
Locks& locks() {
  static Locks* instance = new Locks;
  return *instance;
}

void expect_regular(const fs::path& path, const struct stat& info) {
  if (S_ISREG(info.st_mode)) return;
  throw Error(path.string(),
              fmt::format("expected a regular file to lock, this is a {} (remove it)",
                          S_ISLNK(info.st_mode)   ? "symbolic link"
                          : S_ISDIR(info.st_mode) ? "directory"
                                                  : "device or a pipe"));
}

// The number of the process that wrote the file; empty when it was killed before, or when a power
// cut left zeros.
struct Content {
  bool ours;
  std::string pid;
};
Content read_content(int fd) {
  char bytes[24];
  const ssize_t n = ::pread(fd, bytes, sizeof bytes, 0);
  if (n < 0 || n == static_cast<ssize_t>(sizeof bytes)) return {false, {}};
  std::string pid(bytes, static_cast<std::size_t>(n));
  std::erase_if(pid, [](char c) { return c == '\0' || c == '\n'; });
  const bool ours =
      std::all_of(pid.begin(), pid.end(), [](char c) { return c >= '0' && c <= '9'; });
  return {ours, ours ? pid : std::string()};
}

}  // namespace

DirectoryLock::DirectoryLock(const fs::path& directory)
    : directory_(directory), path_(directory / ".lock"), owner_(::getpid()) {
  for (int tries = 0; !acquire(); ++tries)
    if (tries == 1000)
      throw Error("lock", fmt::format("cannot lock {}: {} changes all the time",
                                      directory_.string(), path_.string()));
  // For the message only: a full disk is no reason to refuse the lock.
  const std::string pid = std::to_string(owner_);
  if (::ftruncate(fd_.get(), 0) == 0) (void)!::pwrite(fd_.get(), pid.data(), pid.size(), 0);
  const std::lock_guard guard(locks().mutex);
  locks().held.push_back(this);
}

bool DirectoryLock::acquire() {
  struct stat info {};
  if (::lstat(path_.c_str(), &info) == 0) expect_regular(path_, info);
  fd_ = FileDescriptor::open(path_, O_RDWR | O_CREAT | O_NOFOLLOW | O_NONBLOCK | O_NOCTTY, 0666);
  if (fd_.get() < 0 || ::fstat(fd_.get(), &info) != 0) {
    if (errno == ELOOP) return false;  // has become a link since we looked
    throw Error("lock", fmt::format("cannot use {}: {}", path_.string(), error_text(errno)));
  }
  expect_regular(path_, info);
  if (::flock(fd_.get(), LOCK_EX | LOCK_NB) != 0) {
    if (errno == EINTR) return false;
    if (errno == EWOULDBLOCK) {
      const std::string pid = read_content(fd_.get()).pid;
      throw Error("lock", fmt::format("another sfumato process is using {} (pid {})",
                                      directory_.string(), pid.empty() ? "unknown" : pid));
    }
    note_ = fmt::format(
        "the file system of {} has no locks ({}): nothing keeps a second sfumato process out",
        directory_.string(), error_text(errno));
  }
  // The last holder may have removed the file between our open and our flock: then this lock is
  // on a file that nobody else will find.
  if (!in_place()) return false;
  if (!read_content(fd_.get()).ours)
    throw Error(path_.string(),
                "is no lock of sfumato, it holds something else (remove it if nobody needs it)");
  if (info.st_nlink == 1) return true;
  // Its other names, in a copy of the folder made of hard links, are not ours to write to.
  if (::unlink(path_.c_str()) != 0)
    throw Error("lock", fmt::format("cannot use {}: {}", path_.string(), error_text(errno)));
  return false;
}

DirectoryLock::~DirectoryLock() {
  {
    const std::lock_guard guard(locks().mutex);
    std::erase(locks().held, this);
  }
  if (::getpid() == owner_ && in_place()) ::unlink(path_.c_str());
}

bool DirectoryLock::in_place() const noexcept {
  struct stat held {
  }, named{};
  return ::fstat(fd_.get(), &held) == 0 && ::lstat(path_.c_str(), &named) == 0 &&
         held.st_ino == named.st_ino && held.st_dev == named.st_dev;
}

void DirectoryLock::check() const {
  if (in_place()) return;
  throw Error(directory_.string(),
              "the folder was moved or replaced, or its .lock removed, while this process used it: "
              "nothing more is written there (begin again with its present name)");
}

void check_locked(const fs::path& path) {
  const fs::path normal = path.lexically_normal();
  const std::lock_guard guard(locks().mutex);
  for (const DirectoryLock* lock : locks().held) {
    const fs::path directory = beginning(lock->directory_);
    if (directory.empty() && normal.is_absolute()) continue;
    auto [rest_of_directory, rest] =
        std::mismatch(directory.begin(), directory.end(), normal.begin(), normal.end());
    if (rest_of_directory != directory.end() || rest == normal.end() || *rest == "..") continue;
    lock->check();
    fs::path part = lock->directory_;
    for (; rest != normal.end(); ++rest) {
      part /= *rest;
      std::error_code ignored;
      if (fs::is_symlink(fs::symlink_status(part, ignored)))
        throw Error(part.string(),
                    "is a symbolic link, and nothing in this folder is written through one (put "
                    "the file or folder itself in its place)");
    }
  }
}

}  // namespace sfumato::io
