#include "tensor/io/lock.h"

#include <dlfcn.h>
#include <fcntl.h>
#include <signal.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <atomic>

#include "tests/io/io_test.h"

#if defined(__linux__)
// Stand in front of the C library's, so that a test can let them fail.
namespace {
std::atomic<int> flock_error{0}, fsync_error{0}, fsync_failures{0};
template <class F>
F real(F, const char* name) {
  return reinterpret_cast<F>(dlsym(RTLD_NEXT, name));
}
}  // namespace
extern "C" int flock(int fd, int operation) noexcept {
  if (flock_error) {
    errno = flock_error;
    return -1;
  }
  return real(&flock, "flock")(fd, operation);
}
extern "C" int fsync(int fd) {
  if (fsync_failures > 0) {
    --fsync_failures;
    errno = fsync_error;
    return -1;
  }
  return real(&fsync, "fsync")(fd);
}
#endif

namespace sfumato::io {
namespace {

namespace fs = std::filesystem;
using LockTest = IoTest;

TEST_F(LockTest, LockIsExclusiveAndLeavesNothing) {
  {
    const DirectoryLock lock(directory_);
    expect_error(directory_.string(), "another sfumato process is using",
                 [&] { DirectoryLock second(directory_); });
  }
  EXPECT_EQ(entries(), 0);
  const DirectoryLock again(directory_);
  expect_error("nowhere", "No such file", [&] { DirectoryLock missing(at("nowhere")); });
}

TEST_F(LockTest, LockOfAnotherProcessNamesItAndDiesWithIt) {
  int ready[2];
  ASSERT_EQ(pipe(ready), 0);
  const pid_t child = fork();
  ASSERT_GE(child, 0);
  if (child == 0) {
    const DirectoryLock lock(directory_);
    if (write(ready[1], "x", 1) != 1) _exit(1);
    for (;;) pause();
  }
  char byte = 0;
  ASSERT_EQ(read(ready[0], &byte, 1), 1);
  expect_error("lock", "(pid " + std::to_string(child) + ")",
               [&] { DirectoryLock second(directory_); });
  kill(child, SIGKILL);
  waitpid(child, nullptr, 0);
  EXPECT_TRUE(fs::exists(at(".lock")));  // left behind by the killed process; no obstacle
  { const DirectoryLock lock(directory_); }
  EXPECT_EQ(entries(), 0);
  close(ready[0]);
  close(ready[1]);
}

// What a stranger's folder may hold as its .lock.
TEST_F(LockTest, FilesThatAreNoLocksStayUntouched) {
  const fs::path victim = put("victim", "precious contents"), run = at("run");
  fs::create_directory(run);
  const fs::path lock = run / ".lock";
  const auto refused = [&](const char* why) {
    expect_error("run/.lock", why, [&] { DirectoryLock l(run); });
    EXPECT_EQ(get(victim), "precious contents") << why;
    fs::remove(lock);
  };
  fs::create_symlink("../victim", lock);
  refused("symbolic link");
  fs::create_symlink("../nowhere", lock);
  refused("symbolic link");
  EXPECT_FALSE(fs::exists(at("nowhere")));
  fs::create_hard_link(victim, lock);
  refused("no lock of sfumato");
  ASSERT_EQ(mkfifo(lock.c_str(), 0600), 0);
  refused("a device or a pipe");
  fs::create_directory(lock);
  refused("a directory");
  put("run/.lock", "12 monkeys");
  refused("no lock of sfumato");
  put("run/.lock", std::string(40, '1'));
  refused("no lock of sfumato");
  { const DirectoryLock works(run); }
  EXPECT_TRUE(fs::is_empty(run));
}

TEST_F(LockTest, LeftoversOfAKillOrAPowerCutAreNoObstacle) {
  for (const std::string& left : {std::string(), std::string("123"), std::string("123\n"),
                                  std::string(5, '\0'), std::string(22, '7')}) {
    put(".lock", left);
    const DirectoryLock lock(directory_);
    EXPECT_EQ(get(at(".lock")), std::to_string(getpid()));
  }
}

// `cp -al` and backups make copies whose files are the same.
TEST_F(LockTest, OtherNamesOfTheLockKeepTheirBytes) {
  put("copy", "4711");
  fs::create_hard_link(at("copy"), at(".lock"));
  {
    const DirectoryLock lock(directory_);
    lock.check();
    EXPECT_EQ(get(at(".lock")), std::to_string(getpid()));
  }
  EXPECT_EQ(get(at("copy")), "4711");
  EXPECT_EQ(entries(), 1);
}

TEST_F(LockTest, TheDirectoryMayBeNamedThroughALink) {
  fs::create_directory(at("real"));
  fs::create_directory_symlink("real", at("name"));
  const DirectoryLock lock(at("name"));
  EXPECT_TRUE(fs::exists(at("real/.lock")));
  write_file_atomic(at("name/f"), "x");
  EXPECT_EQ(get(at("real/f")), "x");
}

TEST_F(LockTest, GuardsTheFolderAndNotItsName) {
  const auto lost = [&](const char* how, const auto& happen) {
    fs::create_directories(at("run/sub"));
    put("run/f", "first");
    {
      const DirectoryLock lock(at("run"));
      lock.check();
      AtomicFile begun(at("run/g"));
      happen();
      expect_error("run", "moved or replaced", [&] { lock.check(); });
      expect_error("run", "moved or replaced", [&] { write_file_atomic(at("run/f"), "second"); });
      expect_error("run", "moved or replaced", [&] { write_file_atomic(at("run/sub/f"), "x"); });
      expect_error("run", "moved or replaced", [&] { make_directories(at("run/new")); });
      expect_error("run", "moved or replaced", [&] { begun.commit(); });
      write_file_atomic(at("run2"), "elsewhere");
    }
    EXPECT_NE(get(at("run/f")), "second") << how;
    EXPECT_FALSE(fs::exists(at("run/g"))) << how;
  };
  lost("moved", [&] { fs::rename(at("run"), at("moved")); });
  EXPECT_EQ(get(at("moved/f")), "first");
  lost("removed", [&] { fs::remove_all(at("run")); });
  lost("recreated", [&] {
    fs::remove_all(at("run"));
    fs::create_directories(at("run/sub"));
  });
  EXPECT_EQ(get(at("run/f")), "");
  lost("without its lock", [&] { fs::remove(at("run/.lock")); });
}

TEST_F(LockTest, ALostLockLeavesThatOfItsSuccessor) {
  fs::create_directory(at("run"));
  auto first = std::make_unique<DirectoryLock>(at("run"));
  fs::rename(at("run"), at("moved"));
  fs::create_directory(at("run"));
  const DirectoryLock second(at("run"));
  first.reset();
  second.check();
  expect_error("run", "another sfumato process", [&] { DirectoryLock third(at("run")); });
}

TEST_F(LockTest, NothingInALockedDirectoryIsWrittenThroughALink) {
  const fs::path victim = put("victim", "precious contents");
  fs::create_directory(at("other"));
  fs::create_directories(at("run/sub"));
  fs::create_symlink(victim, at("run/f"));
  fs::create_symlink("../../victim", at("run/sub/f"));
  fs::create_symlink("../nowhere", at("run/dangling"));
  fs::create_directory_symlink("../other", at("run/link"));
  {
    const DirectoryLock lock(at("run"));
    for (const char* name : {"run/f", "run/sub/f", "run/dangling", "run/link/f", "run/./link/f"})
      expect_error("run/", "is a symbolic link", [&] { write_file_atomic(at(name), "x"); });
    expect_error("run/link]", "is a symbolic link", [&] { make_directories(at("run/link/new")); });
  }
  EXPECT_EQ(get(victim), "precious contents");
  EXPECT_TRUE(fs::is_empty(at("other")));
  EXPECT_FALSE(fs::exists(at("nowhere")));
  write_file_atomic(at("run/f"), "not locked: the user named the link");
  EXPECT_NE(get(victim), "precious contents");
}

TEST_F(LockTest, TheCurrentDirectoryIsOneToo) {
  const fs::path before = fs::current_path();
  fs::current_path(directory_);
  put("victim", "precious contents");
  fs::create_symlink("victim", at("f"));
  for (const char* name : {".", "./"}) {
    const DirectoryLock lock(name);
    expect_error("f]", "is a symbolic link", [&] { write_file_atomic(fs::path(name) / "f", "x"); });
    write_file_atomic(fs::path(name) / "g", "x");
  }
  fs::current_path(before);
  EXPECT_EQ(get(at("victim")), "precious contents");
}

#if defined(__linux__)
TEST_F(LockTest, AFileSystemWithoutLocksIsUsedWithANote) {
  for (const int error : {ENOLCK, ENOSYS, EOPNOTSUPP}) {
    flock_error = error;
    {
      const DirectoryLock lock(directory_);
      EXPECT_NE(lock.note().find("has no locks"), std::string::npos);
      lock.check();
    }
    write_file_atomic(at("f"), "x");
    flock_error = 0;
    EXPECT_EQ(entries(), 1);
  }
  const DirectoryLock lock(directory_);
  EXPECT_EQ(lock.note(), "");
}

TEST_F(LockTest, AnInterruptedOrMissingSyncLosesNothing) {
  for (const int error : {EINTR, EINVAL, ENOTSUP}) {
    fsync_error = error;
    fsync_failures = 1;
    write_file_atomic(at("f"), std::to_string(error));
    EXPECT_EQ(get(at("f")), std::to_string(error));
    EXPECT_EQ(fsync_failures, 0);
  }
  fsync_error = EIO;
  fsync_failures = 1;
  expect_error("f]", "Input/output error", [&] { write_file_atomic(at("f"), "x"); });
  EXPECT_EQ(get(at("f")), std::to_string(ENOTSUP));
  EXPECT_EQ(entries(), 1);
}
#endif

}  // namespace
}  // namespace sfumato::io
