// Files: whole reads with a limit, positioned reads, writes that replace a file only once they are
// complete, and a lock on a directory. Everything throws sfumato::Error naming the path.
//
// A write beyond the file size limit (ulimit -f) raises SIGXFSZ, whose default is to end the
// process: a program that wants the Error instead ignores that signal.
#pragma once
#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <string>
#include <string_view>

namespace sfumato::io {

// The bytes of a regular file. Throws when it is missing, a directory, a device or a pipe, cannot
// be read, or holds more than `max_bytes`.
std::string read_file(const std::filesystem::path& path, std::uint64_t max_bytes);

// Puts `bytes` into `path` through an AtomicFile.
void write_file_atomic(const std::filesystem::path& path, std::string_view bytes);

// Creates the directory and its parents; nothing happens when it exists. Throws when it cannot, or
// when a file of that name is in the way.
void make_directories(const std::filesystem::path& path);

// Owns an open file descriptor; closes it.
class FileDescriptor {
 public:
  explicit FileDescriptor(int fd = -1) : fd_(fd) {}
  FileDescriptor(FileDescriptor&& other) noexcept : fd_(other.release()) {}
  FileDescriptor& operator=(FileDescriptor&& other) noexcept;
  ~FileDescriptor();
  int get() const { return fd_; }
  int release();

 private:
  int fd_;
};

// A regular file open for reading at any position. read_at may be called from several threads.
class InputFile {
 public:
  // Throws as read_file does.
  explicit InputFile(const std::filesystem::path& path);
  const std::filesystem::path& path() const { return path_; }
  // Bytes at the time of opening.
  std::uint64_t size() const { return size_; }
  // Fills `to` with the bytes [offset, offset + count). Throws when the file ends before.
  void read_at(std::uint64_t offset, void* to, std::size_t count) const;

 private:
  std::filesystem::path path_;
  FileDescriptor fd_;
  std::uint64_t size_ = 0;
};

// A file written beside its place and moved there by commit(), so that a reader sees the old file
// or the whole new one, also after a power cut. Without commit(), or when anything throws, the
// temporary file is removed and the old file stays as it was. A symbolic link is followed; the old
// file's permissions are kept. A device or a pipe (/dev/stdout) is written directly.
class AtomicFile {
 public:
  // Throws when the directory is missing or not writable, or when `path` is a directory.
  explicit AtomicFile(const std::filesystem::path& path);
  AtomicFile(const AtomicFile&) = delete;
  AtomicFile& operator=(const AtomicFile&) = delete;
  ~AtomicFile();
  void write(const void* bytes, std::size_t count);
  void write(std::string_view bytes) { write(bytes.data(), bytes.size()); }
  // Reaches the disk, then takes the place of `path`. Call once, at the end.
  void commit();

 private:
  [[noreturn]] void fail(const char* what, int error);
  void discard() noexcept;

  std::filesystem::path path_;       // as the caller named it, for messages
  std::filesystem::path target_;     // with symbolic links resolved
  std::filesystem::path temporary_;  // empty once renamed or removed, and for a device
  bool device_ = false;
  FileDescriptor fd_;
};

// Removes what AtomicFile left in `directory` when its process was killed. Only for a directory
// that no other process writes to at the time: hold its lock.
void remove_stale_temporaries(const std::filesystem::path& directory);

// Keeps other sfumato processes out of a directory for this object's lifetime: flock on
// DIR/.lock, which the system releases when the process dies, however it dies; the file is removed
// at the end, and one left behind by a crash does not block. Throws "another sfumato process is
// using DIR (pid N)" while it is held, also by another DirectoryLock of the same process.
class DirectoryLock {
 public:
  explicit DirectoryLock(const std::filesystem::path& directory);
  DirectoryLock(const DirectoryLock&) = delete;
  DirectoryLock& operator=(const DirectoryLock&) = delete;
  ~DirectoryLock();

 private:
  std::filesystem::path path_;
  FileDescriptor fd_;
  long owner_;  // a forked child that inherits this object must not remove the file
};

}  // namespace sfumato::io
