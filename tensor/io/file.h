// Files: whole reads with a limit, positioned reads, and writes that replace a file only once they
// are complete. Everything throws sfumato::Error naming the path.
//
// A write beyond the file size limit (ulimit -f) raises SIGXFSZ, and a write to a pipe that nobody
// reads any more SIGPIPE. Their default is to end the process: a program that wants the Error
// instead ignores these signals.
#pragma once
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <string>
#include <string_view>

namespace sfumato::io {

// What the system says of a value of errno.
std::string error_text(int error);

// The bytes of a regular file. Throws when it is missing, a directory, a device or a pipe, cannot
// be read, or holds more than `max_bytes`.
std::string read_file(const std::filesystem::path& path, std::uint64_t max_bytes);

// Puts `bytes` into `path` through an AtomicFile.
void write_file_atomic(const std::filesystem::path& path, std::string_view bytes);

// Creates the directory and its parents, also for good after a power cut; nothing happens when it
// exists. Throws when it cannot, or when a file of that name is in the way.
void make_directories(const std::filesystem::path& path);

// Owns an open file descriptor; closes it.
class FileDescriptor {
 public:
  explicit FileDescriptor(int fd = -1) : fd_(fd) {}
  // open(2), begun again when a signal interrupts it. get() is negative and errno set when it
  // fails.
  static FileDescriptor open(const std::filesystem::path& path, int flags, unsigned mode = 0);
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
// temporary file is removed and the old file stays as it was. The old file's permissions are kept,
// but not the set-user-ID and similar bits. A device or a pipe (/dev/stdout) is written directly.
//
// A symbolic link is followed, for the user named it. In a directory that this process has locked
// nobody did: there check_locked (tensor/io/lock.h) refuses links, and all writing once the lock is
// lost.
class AtomicFile {
 public:
  // Throws when the directory is missing or not writable, when `path` is a directory, or a pipe
  // that nobody reads.
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
  void open_device(bool pipe);
  void open_temporary();

  std::filesystem::path path_;       // as the caller named it, for messages
  std::filesystem::path target_;     // with symbolic links resolved
  std::filesystem::path temporary_;  // empty once renamed or removed, and for a device
  bool device_ = false;
  FileDescriptor fd_;
};

// Removes what AtomicFile left in `directory` when its process was killed: temporary files of this
// user that were last written at least `age` ago, whose process is dead and which nobody has open
// for writing. (A process in another container may have any number, but its files are locked.)
void remove_stale_temporaries(const std::filesystem::path& directory,
                              std::chrono::seconds age = {});

}  // namespace sfumato::io
