#include "tensor/io/file.h"

#include <dirent.h>
#include <fcntl.h>
#include <fmt/format.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <cerrno>
#include <charconv>
#include <csignal>
#include <ctime>
#include <memory>
#include <mutex>
#include <system_error>
#include <utility>
#include <vector>

#include "tensor/error.h"
#include "tensor/io/lock.h"

namespace sfumato::io {
namespace {

constexpr std::string_view kTemporaryPrefix = ".sfumato-tmp-";

namespace fs = std::filesystem;

// One system call moves at most this much: macOS refuses counts of 2 GiB, Linux cuts them.
constexpr std::size_t kMaxTransfer = std::size_t{1} << 30;

// Bytes read, fewer than `count` only at the end of the file.
std::size_t read_some(const fs::path& path, int fd, std::uint64_t offset, void* to,
                      std::size_t count) {
  std::size_t done = 0;
  while (done < count) {
    const ssize_t n =
        ::pread(fd, static_cast<char*>(to) + done, std::min(count - done, kMaxTransfer),
                static_cast<off_t>(offset + done));
    if (n < 0 && errno == EINTR) continue;
    if (n < 0) throw Error(path.string(), fmt::format("cannot read: {}", error_text(errno)));
    if (n == 0) break;
    done += static_cast<std::size_t>(n);
  }
  return done;
}

struct Opened {
  FileDescriptor fd;
  std::uint64_t size;
};

Opened open_regular(const fs::path& path) {
  // O_NONBLOCK: opening a pipe that nobody writes would wait for ever; regular files ignore it.
  FileDescriptor fd = FileDescriptor::open(path, O_RDONLY | O_NONBLOCK);
  if (fd.get() < 0) {
    if (errno == ENOENT) throw Error(path.string(), "no such file");
    throw Error(path.string(), fmt::format("cannot open: {}", error_text(errno)));
  }
  struct stat info {};
  if (::fstat(fd.get(), &info) != 0)
    throw Error(path.string(), fmt::format("cannot open: {}", error_text(errno)));
  if (S_ISDIR(info.st_mode)) throw Error(path.string(), "expected a file, this is a directory");
  if (!S_ISREG(info.st_mode))
    throw Error(path.string(), "expected a regular file, this is a device or a pipe");
  return {std::move(fd), static_cast<std::uint64_t>(info.st_size)};
}

// Brings a file to the disk; false and errno when that failed. A file system that has no such
// operation (some network and FUSE ones) has done what it can.
bool sync_file(int fd) {
#if defined(__APPLE__)
  // There fsync reaches the drive, but not what it stores for good.
  if (::fcntl(fd, F_FULLFSYNC) == 0) return true;
#endif
  int result;
  do {
    result = ::fsync(fd);
  } while (result != 0 && errno == EINTR);
  return result == 0 || errno == EINVAL || errno == ENOTSUP || errno == ENOSYS;
}

// False and errno when closing said that the bytes were not written. When a signal interrupts it,
// the descriptor is closed all the same (on Linux, and after a sync there is nothing to lose).
bool close_file(int fd) { return ::close(fd) == 0 || errno == EINTR; }

// Makes a rename in `directory` durable. Best effort where the directory may not be opened for
// reading: the file itself has reached the disk by then.
void sync_directory(const fs::path& directory) {
  const FileDescriptor fd =
      FileDescriptor::open(directory.empty() ? fs::path(".") : directory, O_RDONLY);
  if (fd.get() >= 0) sync_file(fd.get());
}

// The process in the name of a temporary file, -1 in other names.
pid_t writer_of(std::string_view name) {
  if (!name.starts_with(kTemporaryPrefix)) return -1;
  pid_t pid = -1;
  const char *begin = name.data() + kTemporaryPrefix.size(), *end = name.data() + name.size();
  const auto [rest, error] = std::from_chars(begin, end, pid);
  return error == std::errc{} && rest != end && *rest == '-' && pid > 0 ? pid : -1;
}

bool is_stale(const fs::path& path, std::chrono::seconds age) {
  const pid_t writer = writer_of(path.filename().string());
  // A process of another user may not be sent signals, but it lives. Our own number may have been
  // another's before, and what we write now is locked.
  if (writer < 0 || (writer != ::getpid() && (::kill(writer, 0) == 0 || errno != ESRCH)))
    return false;
  const FileDescriptor fd = FileDescriptor::open(path, O_RDWR | O_NOFOLLOW | O_NONBLOCK);
  struct stat info {};
  if (fd.get() < 0 || ::fstat(fd.get(), &info) != 0 || !S_ISREG(info.st_mode) ||
      info.st_uid != ::geteuid() || std::time(nullptr) - info.st_mtime < age.count())
    return false;
  if (::flock(fd.get(), LOCK_EX | LOCK_NB) == 0) return true;
  return errno != EWOULDBLOCK && writer != ::getpid();  // a file system without locks
}

// What was killed outside of a run's folder is cleared away by the next process that writes there.
// Once for each directory: a folder of single pictures has thousands of files.
void clear_once(const fs::path& directory) {
  static std::mutex mutex;
  static fs::path last;
  const std::lock_guard lock(mutex);
  if (directory == last) return;
  last = directory;
  remove_stale_temporaries(directory, std::chrono::minutes(1));
}

}  // namespace

std::string error_text(int error) { return std::generic_category().message(error); }

FileDescriptor& FileDescriptor::operator=(FileDescriptor&& other) noexcept {
  std::swap(fd_, other.fd_);
  return *this;
}

FileDescriptor::~FileDescriptor() {
  if (fd_ >= 0) ::close(fd_);
}

FileDescriptor FileDescriptor::open(const fs::path& path, int flags, unsigned mode) {
  for (;;) {
    const int fd = ::open(path.c_str(), flags | O_CLOEXEC, static_cast<mode_t>(mode));
    if (fd >= 0 || errno != EINTR) return FileDescriptor(fd);
  }
}

int FileDescriptor::release() { return std::exchange(fd_, -1); }

std::string read_file(const fs::path& path, std::uint64_t max_bytes) {
  const Opened file = open_regular(path);
  std::string bytes;
  // Read to the end instead of trusting the size: files in /proc say 0, others may be growing.
  for (;;) {
    const std::uint64_t got = bytes.size(),
                        known = std::min(std::max(file.size, got + 4096), max_bytes);
    if (file.size > max_bytes || bytes.size() > max_bytes)
      throw Error(path.string(), fmt::format("expected at most {} bytes, the file holds {}",
                                             max_bytes, std::max(file.size, got)));
    const std::size_t before = bytes.size();
    bytes.resize(static_cast<std::size_t>(known) + 1);  // one more, to see the end
    bytes.resize(before + read_some(path, file.fd.get(), before, bytes.data() + before,
                                    bytes.size() - before));
    if (bytes.size() <= known) return bytes;
  }
}

void write_file_atomic(const fs::path& path, std::string_view bytes) {
  AtomicFile file(path);
  file.write(bytes);
  file.commit();
}

void make_directories(const fs::path& path) {
  check_locked(path);
  std::error_code error;
  std::vector<fs::path> parents;  // of what is missing
  for (fs::path p = path; !p.empty() && !fs::exists(p, error); p = p.parent_path())
    parents.push_back(p.parent_path());
  error.clear();
  fs::create_directories(path, error);
  const std::string cause = error ? error.message() : "a file is in the way";
  if (!fs::is_directory(path, error))
    throw Error(path.string(), fmt::format("cannot create the directory: {}", cause));
  for (const fs::path& parent : parents) sync_directory(parent);
}

InputFile::InputFile(const fs::path& path) : path_(path) {
  Opened opened = open_regular(path);
  fd_ = std::move(opened.fd);
  size_ = opened.size;
}

void InputFile::read_at(std::uint64_t offset, void* to, std::size_t count) const {
  const std::size_t got = read_some(path_, fd_.get(), offset, to, count);
  if (got != count)
    throw Error(path_.string(), fmt::format("cut short: expected {} bytes at offset {}, got {}",
                                            count, offset, got));
}

AtomicFile::AtomicFile(const fs::path& path) : path_(path), target_(path) {
  check_locked(path);
  std::error_code error;
  const fs::file_status status = fs::status(path, error);
  if (fs::is_directory(status) || !path.has_filename())
    throw Error(path.string(), "cannot write: expected a file name, this is a directory");
  if (fs::exists(status) && !fs::is_regular_file(status)) {
    open_device(fs::is_fifo(status));
    return;
  }
  if (fs::is_symlink(fs::symlink_status(path, error))) {
    target_ = fs::weakly_canonical(path, error);
    if (error) fail("cannot write", error.value());
  }
  open_temporary();
  if (fs::exists(status)) ::fchmod(fd_.get(), static_cast<mode_t>(status.permissions()) & 0777);
}

// Renaming over a device would replace it: as root, that breaks /dev/null for everybody.
void AtomicFile::open_device(bool pipe) {
  device_ = true;
  // O_NONBLOCK: without it, opening a pipe waits until somebody reads it, which may be for ever.
  fd_ = FileDescriptor::open(path_, O_WRONLY | O_NOCTTY | (pipe ? O_NONBLOCK : 0));
  if (fd_.get() < 0 && errno == ENXIO && pipe)
    throw Error(path_.string(), "cannot write: nobody reads this pipe (begin to read it first)");
  if (fd_.get() < 0 || (pipe && ::fcntl(fd_.get(), F_SETFL, 0) != 0)) fail("cannot write", errno);
}

void AtomicFile::open_temporary() {
  static std::atomic<unsigned> counter{0};
  fs::path directory = target_.parent_path();
  if (directory.empty()) directory = ".";
  // The name does not contain the target's, which may be as long as the file system allows.
  do {
    temporary_ = directory / fmt::format("{}{}-{}", kTemporaryPrefix, ::getpid(), counter++);
    fd_ = FileDescriptor::open(temporary_, O_RDWR | O_CREAT | O_EXCL, 0666);
  } while (fd_.get() < 0 && errno == EEXIST);
  if (fd_.get() < 0) {
    const int cause = errno;
    temporary_.clear();
    if (cause == ENOENT)
      throw Error(path_.string(),
                  fmt::format("cannot write: there is no directory {}", directory.string()));
    fail("cannot write", cause);
  }
  // Says to is_stale that the writer lives. Where there are no locks, its number has to do.
  ::flock(fd_.get(), LOCK_EX | LOCK_NB);
  clear_once(directory);
}

AtomicFile::~AtomicFile() { discard(); }

void AtomicFile::discard() noexcept {
  if (!temporary_.empty()) ::unlink(temporary_.c_str());
  temporary_.clear();
}

void AtomicFile::fail(const char* what, int error) {
  discard();
  throw Error(path_.string(), fmt::format("{}: {}", what, error_text(error)));
}

void AtomicFile::write(const void* bytes, std::size_t count) {
  const char* from = static_cast<const char*>(bytes);
  while (count > 0) {
    const ssize_t n = ::write(fd_.get(), from, std::min(count, kMaxTransfer));
    if (n < 0 && errno == EINTR) continue;
    if (n < 0) fail("cannot write", errno);
    from += n;
    count -= static_cast<std::size_t>(n);
  }
}

void AtomicFile::commit() {
  if (device_) {
    if (!close_file(fd_.release())) fail("cannot write", errno);
    return;
  }
  if (!sync_file(fd_.get())) fail("cannot write", errno);
  // Keeps the file locked until it has its name.
  const FileDescriptor locked(::fcntl(fd_.get(), F_DUPFD_CLOEXEC, 0));
  if (!close_file(fd_.release())) fail("cannot write", errno);
  check_locked(path_);
  if (::rename(temporary_.c_str(), target_.c_str()) != 0) fail("cannot replace the file", errno);
  temporary_.clear();
  sync_directory(target_.parent_path());
}

void remove_stale_temporaries(const fs::path& directory, std::chrono::seconds age) {
  // Not std::filesystem's iterator: where memory runs out it ends the process.
  const std::unique_ptr<DIR, int (*)(DIR*)> open(::opendir(directory.c_str()), ::closedir);
  while (const dirent* entry = open ? ::readdir(open.get()) : nullptr) {
    if (writer_of(entry->d_name) < 0) continue;
    const fs::path path = directory / entry->d_name;
    if (is_stale(path, age)) ::unlink(path.c_str());
  }
}

}  // namespace sfumato::io
