#include "tensor/io/file.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <cerrno>
#include <system_error>
#include <utility>

#include "tensor/error.h"

namespace sfumato::io {
namespace {

constexpr std::string_view kTemporaryPrefix = ".sfumato-tmp-";

namespace fs = std::filesystem;

// One system call moves at most this much: macOS refuses counts of 2 GiB, Linux cuts them.
constexpr std::size_t kMaxTransfer = std::size_t{1} << 30;

std::string reason(int error) { return std::generic_category().message(error); }

int open_retrying(const fs::path& path, int flags, mode_t mode = 0) {
  for (;;) {
    const int fd = ::open(path.c_str(), flags | O_CLOEXEC, mode);
    if (fd >= 0 || errno != EINTR) return fd;
  }
}

// Bytes read, fewer than `count` only at the end of the file.
std::size_t read_some(const fs::path& path, int fd, std::uint64_t offset, void* to,
                      std::size_t count) {
  std::size_t done = 0;
  while (done < count) {
    const ssize_t n =
        ::pread(fd, static_cast<char*>(to) + done, std::min(count - done, kMaxTransfer),
                static_cast<off_t>(offset + done));
    if (n < 0 && errno == EINTR) continue;
    if (n < 0) throw Error(path.string(), fmt::format("cannot read: {}", reason(errno)));
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
  FileDescriptor fd(open_retrying(path, O_RDONLY | O_NONBLOCK));
  if (fd.get() < 0) {
    if (errno == ENOENT) throw Error(path.string(), "no such file");
    throw Error(path.string(), fmt::format("cannot open: {}", reason(errno)));
  }
  struct stat info {};
  if (::fstat(fd.get(), &info) != 0)
    throw Error(path.string(), fmt::format("cannot open: {}", reason(errno)));
  if (S_ISDIR(info.st_mode)) throw Error(path.string(), "expected a file, this is a directory");
  if (!S_ISREG(info.st_mode))
    throw Error(path.string(), "expected a regular file, this is a device or a pipe");
  return {std::move(fd), static_cast<std::uint64_t>(info.st_size)};
}

// Makes a rename in `directory` durable. Best effort where the system has no such notion or the
// directory may not be opened for reading: the file itself has reached the disk by then.
void sync_directory(const fs::path& directory) {
  FileDescriptor fd(open_retrying(directory, O_RDONLY));
  if (fd.get() >= 0) ::fsync(fd.get());
}

}  // namespace

FileDescriptor& FileDescriptor::operator=(FileDescriptor&& other) noexcept {
  std::swap(fd_, other.fd_);
  return *this;
}

FileDescriptor::~FileDescriptor() {
  if (fd_ >= 0) ::close(fd_);
}

int FileDescriptor::release() { return std::exchange(fd_, -1); }

std::string read_file(const fs::path& path, std::uint64_t max_bytes) {
  const Opened file = open_regular(path);
  std::string bytes;
  // Read to the end instead of trusting the size: files in /proc say 0, others may be growing.
  for (;;) {
    const std::uint64_t known = std::min(std::max(file.size, bytes.size() + 4096), max_bytes);
    if (file.size > max_bytes || bytes.size() > max_bytes)
      throw Error(path.string(), fmt::format("expected at most {} bytes, the file holds {}",
                                             max_bytes, std::max(file.size, bytes.size())));
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
  std::error_code error;
  fs::create_directories(path, error);
  const std::string cause = error ? error.message() : "a file is in the way";
  if (!fs::is_directory(path, error))
    throw Error(path.string(), fmt::format("cannot create the directory: {}", cause));
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
  std::error_code error;
  const fs::file_status status = fs::status(path, error);
  if (fs::is_directory(status) || !path.has_filename())
    throw Error(path.string(), "cannot write: expected a file name, this is a directory");
  if (fs::exists(status) && !fs::is_regular_file(status)) {
    // Renaming over a device would replace it: as root, that breaks /dev/null for everybody.
    device_ = true;
    fd_ = FileDescriptor(open_retrying(path, O_WRONLY));
    if (fd_.get() < 0) fail("cannot write", errno);
    return;
  }
  if (fs::is_symlink(fs::symlink_status(path, error))) {
    target_ = fs::weakly_canonical(path, error);
    if (error) fail("cannot write", error.value());
  }
  static std::atomic<unsigned> counter{0};
  fs::path directory = target_.parent_path();
  if (directory.empty()) directory = ".";
  // The name does not contain the target's, which may be as long as the file system allows.
  do {
    temporary_ = directory / fmt::format("{}{}-{}", kTemporaryPrefix, ::getpid(), counter++);
    fd_ = FileDescriptor(open_retrying(temporary_, O_WRONLY | O_CREAT | O_EXCL, 0666));
  } while (fd_.get() < 0 && errno == EEXIST);
  if (fd_.get() < 0) {
    const int cause = errno;
    temporary_.clear();
    if (cause == ENOENT)
      throw Error(path.string(),
                  fmt::format("cannot write: there is no directory {}", directory.string()));
    fail("cannot write", cause);
  }
  if (fs::exists(status)) ::fchmod(fd_.get(), static_cast<mode_t>(status.permissions()) & 07777);
}

AtomicFile::~AtomicFile() { discard(); }

void AtomicFile::discard() noexcept {
  if (!temporary_.empty()) ::unlink(temporary_.c_str());
  temporary_.clear();
}

void AtomicFile::fail(const char* what, int error) {
  discard();
  throw Error(path_.string(), fmt::format("{}: {}", what, reason(error)));
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
  if (!device_ && ::fsync(fd_.get()) != 0) fail("cannot write", errno);
  if (::close(fd_.release()) != 0) fail("cannot write", errno);
  if (device_) return;
  if (::rename(temporary_.c_str(), target_.c_str()) != 0) fail("cannot replace the file", errno);
  temporary_.clear();
  sync_directory(target_.has_parent_path() ? target_.parent_path() : fs::path("."));
}

void remove_stale_temporaries(const fs::path& directory) {
  std::error_code error;
  fs::directory_iterator entry(directory, error);
  while (!error && entry != fs::directory_iterator()) {
    const fs::path path = entry->path();
    entry.increment(error);
    std::error_code ignored;
    if (path.filename().string().starts_with(kTemporaryPrefix)) fs::remove(path, ignored);
  }
}

DirectoryLock::DirectoryLock(const fs::path& directory)
    : path_(directory / ".lock"), owner_(::getpid()) {
  for (;;) {
    fd_ = FileDescriptor(open_retrying(path_, O_RDWR | O_CREAT, 0666));
    if (fd_.get() < 0)
      throw Error("lock", fmt::format("cannot use {}: {}", directory.string(), reason(errno)));
    if (::flock(fd_.get(), LOCK_EX | LOCK_NB) != 0) {
      if (errno == EINTR) continue;
      if (errno != EWOULDBLOCK)
        throw Error("lock", fmt::format("cannot lock {}: {}", directory.string(), reason(errno)));
      std::string pid(24, '\0');
      pid.resize(read_some(path_, fd_.get(), 0, pid.data(), pid.size()));
      throw Error("lock", fmt::format("another sfumato process is using {} (pid {})",
                                      directory.string(), pid.empty() ? "unknown" : pid));
    }
    // The last holder may have removed the file between our open and our flock: then this lock is
    // on a file that nobody else will find.
    struct stat held {
    }, named{};
    if (::fstat(fd_.get(), &held) == 0 && ::stat(path_.c_str(), &named) == 0 &&
        held.st_ino == named.st_ino && held.st_dev == named.st_dev)
      break;
  }
  // For the message only: a full disk is no reason to refuse the lock.
  const std::string pid = std::to_string(owner_);
  if (::ftruncate(fd_.get(), 0) != 0 || ::pwrite(fd_.get(), pid.data(), pid.size(), 0) < 0) return;
}

DirectoryLock::~DirectoryLock() {
  if (::getpid() == owner_) ::unlink(path_.c_str());
}

}  // namespace sfumato::io
