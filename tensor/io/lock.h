// A lock on a directory, and what it means for writing there.
#pragma once
#include <filesystem>
#include <string>

#include "tensor/io/file.h"

namespace sfumato::io {

// Keeps other sfumato processes out of a directory for this object's lifetime: flock on
// DIR/.lock, which the system releases when the process dies, however it dies; the file is removed
// at the end, and a file that a crash left does not block. Throws "another sfumato process is
// using DIR (pid N)" while it is held, also by another DirectoryLock of the same process. A .lock
// that is a link, no regular file, or holds anything but the number of a process is no lock of
// ours: Error, and what it is or points to stays untouched.
class DirectoryLock {
 public:
  explicit DirectoryLock(const std::filesystem::path& directory);
  DirectoryLock(const DirectoryLock&) = delete;
  DirectoryLock& operator=(const DirectoryLock&) = delete;
  ~DirectoryLock();

  // Throws Error when DIR/.lock is not the locked file any more: the directory was moved, another
  // stands in its place, or somebody removed the file.
  void check() const;
  // Empty, or that the file system has no locks, so that nothing keeps another process out.
  const std::string& note() const { return note_; }

 private:
  friend void check_locked(const std::filesystem::path& path);

  bool acquire();  // false: begin again
  bool in_place() const noexcept;

  std::filesystem::path directory_, path_;
  FileDescriptor fd_;
  std::string note_;
  long owner_;  // a forked child that inherits this object must not remove the file
};

// To be called before `path` is written. Where it lies below a directory that a DirectoryLock of
// this process was given (by the same name): throws Error when that lock is lost, or when `path` or
// a directory on the way to it is a symbolic link, which whoever made the directory could aim at
// any file of the user. Elsewhere it does nothing.
void check_locked(const std::filesystem::path& path);

}  // namespace sfumato::io
