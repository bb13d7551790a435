#include "tensor/io/file.h"

#include <fcntl.h>
#include <signal.h>
#include <sys/file.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <chrono>
#include <vector>

#include "tests/io/io_test.h"

namespace sfumato::io {
namespace {

namespace fs = std::filesystem;
using FileTest = IoTest;

// Files may grow to `bytes` only; a longer write fails with EFBIG instead of a signal.
class SizeLimit {
 public:
  explicit SizeLimit(rlim_t bytes) : handler_(signal(SIGXFSZ, SIG_IGN)) {
    getrlimit(RLIMIT_FSIZE, &before_);
    const rlimit limit{bytes, before_.rlim_max};
    setrlimit(RLIMIT_FSIZE, &limit);
  }
  ~SizeLimit() {
    setrlimit(RLIMIT_FSIZE, &before_);
    signal(SIGXFSZ, handler_);
  }

 private:
  void (*handler_)(int);
  rlimit before_{};
};

TEST_F(FileTest, ReadsWhatWasWritten) {
  for (std::size_t size : {0, 1, 4095, 4096, 4097, 100000}) {
    const std::string bytes(size, 'x');
    write_file_atomic(at("f"), bytes);
    EXPECT_EQ(read_file(at("f"), size), bytes);
    EXPECT_EQ(read_file(at("f"), size + 5), bytes);
  }
  EXPECT_EQ(entries(), 1);
}

TEST_F(FileTest, ReadErrorsSayWhatIsWrong) {
  put("big", "12345");
  expect_error("nothing", "no such file", [&] { read_file(at("nothing"), 9); });
  expect_error(directory_.string(), "is a directory", [&] { read_file(directory_, 9); });
  expect_error("big", "at most 4 bytes, the file holds 5", [&] { read_file(at("big"), 4); });
  expect_error("big/x", "cannot open: Not a directory", [&] { read_file(at("big/x"), 4); });
  ASSERT_EQ(mkfifo(at("pipe").c_str(), 0600), 0);
  expect_error("pipe", "a device or a pipe", [&] { read_file(at("pipe"), 9); });
  expect_error("/dev/zero", "a device or a pipe", [&] { read_file("/dev/zero", 9); });
}

#ifdef __linux__
TEST_F(FileTest, ReadsFilesThatReportNoSize) {
  EXPECT_NE(read_file("/proc/self/status", 1 << 20).find("Pid:"), std::string::npos);
  expect_error("status", "at most 3 bytes", [] { read_file("/proc/self/status", 3); });
}

TEST_F(FileTest, FullDiskIsReported) {
  expect_error("/dev/full", "No space left", [] { write_file_atomic("/dev/full", "x"); });
  write_file_atomic("/dev/null", "x");  // written to, not replaced by a regular file
  EXPECT_TRUE(fs::is_character_file("/dev/null"));
}
#endif

TEST_F(FileTest, ReadsAtAnyPosition) {
  const InputFile file(put("f", "0123456789"));
  EXPECT_EQ(file.size(), 10u);
  char bytes[4] = {};
  file.read_at(6, bytes, 4);
  EXPECT_EQ(std::string_view(bytes, 4), "6789");
  expect_error("f]", "cut short", [&] { file.read_at(7, bytes, 4); });
}

TEST_F(FileTest, FailedWriteLeavesTheOldFile) {
  put("f", "old");
  {
    const SizeLimit limit(1000);
    AtomicFile file(at("f"));
    expect_error("f]", "File too large", [&] { file.write(std::string(5000, 'n')); });
    expect_error("f]", "cannot", [&] { file.commit(); });  // a failed write cannot be committed
    expect_error("f]", "File too large",
                 [&] { write_file_atomic(at("f"), std::string(5000, 'n')); });
  }
  EXPECT_EQ(get(at("f")), "old");
  EXPECT_EQ(entries(), 1);  // no temporary file
}

TEST_F(FileTest, AbandonedWriteLeavesTheOldFile) {
  put("f", "old");
  {
    AtomicFile file(at("f"));
    file.write("new");
    EXPECT_EQ(get(at("f")), "old");
  }
  EXPECT_EQ(get(at("f")), "old");
  EXPECT_EQ(entries(), 1);
}

TEST_F(FileTest, WriteErrorsSayWhatIsWrong) {
  expect_error(directory_.string(), "is a directory", [&] { write_file_atomic(directory_, ""); });
  expect_error("a/f", "there is no directory", [&] { write_file_atomic(at("a/f"), ""); });
  expect_error("new/", "expected a file name", [&] { write_file_atomic(at("new/"), ""); });
  expect_error("[]", "expected a file name", [] { write_file_atomic("", ""); });
  EXPECT_EQ(entries(), 0);
}

TEST_F(FileTest, LongestNameLinksAndPermissionsAreKept) {
  const std::string name(255, 'n');
  write_file_atomic(at(name), "x");
  EXPECT_EQ(get(at(name)), "x");

  put("real", "old");
  fs::permissions(at("real"), fs::perms(0640));
  fs::create_symlink("real", at("link"));
  write_file_atomic(at("link"), "new");
  EXPECT_TRUE(fs::is_symlink(at("link")));
  EXPECT_EQ(get(at("real")), "new");
  EXPECT_EQ(fs::status(at("real")).permissions(), fs::perms(0640));
}

TEST_F(FileTest, MakesDirectories) {
  make_directories(at("a/b/c"));
  make_directories(at("a/b/c"));
  make_directories(at("d/e/"));
  EXPECT_TRUE(fs::is_directory(at("a/b/c")) && fs::is_directory(at("d/e")));
  put("f", "");
  expect_error("f]", "cannot create", [&] { make_directories(at("f")); });
  expect_error("f/g", "cannot create", [&] { make_directories(at("f/g")); });
}

// The number of a process that has ended.
pid_t dead_process() {
  const pid_t child = fork();
  if (child == 0) _exit(0);
  waitpid(child, nullptr, 0);
  return child;
}

std::string temporary_of(pid_t process) { return ".sfumato-tmp-" + std::to_string(process) + "-0"; }

void make_older(const fs::path& path, std::chrono::seconds by) {
  fs::last_write_time(path, fs::last_write_time(path) - by);
}

TEST_F(FileTest, StaleTemporariesAreRemovedAndNothingElse) {
  const pid_t dead = dead_process();
  put(temporary_of(dead), "left by a killed process");
  put(temporary_of(getpid()), "left by one that had our number");
  const std::vector<std::string> kept = {temporary_of(getppid()), ".sfumato-tmp-",
                                         ".sfumato-tmp-x-0",      ".sfumato-tmp-1",
                                         ".sfumato-tmp-0-0",      "other"};
  for (const std::string& name : kept) put(name, "x");
  fs::create_directory(at(temporary_of(dead) + "1"));
  fs::create_symlink("other", at(temporary_of(dead) + "2"));
  AtomicFile living(at("new"));
  remove_stale_temporaries(directory_);
  EXPECT_EQ(entries(), static_cast<int>(kept.size()) + 3);
  for (const std::string& name : kept) EXPECT_TRUE(fs::exists(at(name))) << name;
  living.commit();
  EXPECT_TRUE(fs::exists(at("new")));
  remove_stale_temporaries(at("no such folder"));
}

// In another container the same number may be a dead process here, or another one.
TEST_F(FileTest, TemporariesThatSomebodyWritesAreKept) {
  const fs::path path = put(temporary_of(dead_process()), "x");
  {
    const FileDescriptor writer = FileDescriptor::open(path, O_RDWR);
    ASSERT_EQ(flock(writer.get(), LOCK_EX), 0);
    remove_stale_temporaries(directory_);
    EXPECT_TRUE(fs::exists(path));
  }
  remove_stale_temporaries(directory_);
  EXPECT_FALSE(fs::exists(path));
}

TEST_F(FileTest, TheNextWriterClearsAwayWhatWasKilledLongAgo) {
  const fs::path fresh = put(temporary_of(dead_process()), "x"),
                 old = put(temporary_of(dead_process()), "x");
  make_older(old, std::chrono::minutes(2));
  write_file_atomic(at("f"), "x");
  EXPECT_TRUE(fs::exists(fresh));
  EXPECT_FALSE(fs::exists(old));
  EXPECT_EQ(entries(), 2);
}

TEST_F(FileTest, SetUserIdIsNotKept) {
  put("f", "old");
  ASSERT_EQ(chmod(at("f").c_str(), 06755), 0);
  write_file_atomic(at("f"), "new");
  EXPECT_EQ(fs::status(at("f")).permissions(), fs::perms(0755));
}

TEST_F(FileTest, APipeIsWrittenOrRefused) {
  ASSERT_EQ(mkfifo(at("pipe").c_str(), 0600), 0);
  expect_error("pipe", "nobody reads this pipe", [&] { write_file_atomic(at("pipe"), "x"); });
  const FileDescriptor reader = FileDescriptor::open(at("pipe"), O_RDONLY | O_NONBLOCK);
  write_file_atomic(at("pipe"), "bytes");
  char bytes[8];
  EXPECT_EQ(read(reader.get(), bytes, sizeof bytes), 5);
  EXPECT_TRUE(fs::is_fifo(at("pipe")));
}

}  // namespace
}  // namespace sfumato::io
