#include "tests/apps/support.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <poll.h>
#include <signal.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <fstream>
#include <iterator>
#include <nlohmann/json.hpp>
#include <system_error>

#include "tensor/io/idx.h"
#include "tensor/io/safetensors.h"

extern char** environ;

namespace sfumato::apps {
namespace {

constexpr int kPatience = 300'000;  // milliseconds without a word

std::vector<std::string> words(const std::string& line) {
  std::vector<std::string> words;
  for (std::size_t at = 0; at < line.size();) {
    const std::size_t end = std::min(line.find(' ', at), line.size());
    const std::string word = line.substr(at, end - at);
    if (!word.empty()) words.push_back(word == "''" ? "" : word);
    at = end + 1;
  }
  return words;
}

// The environment with some variables set. The caller's SFUMATO_* do not leak in, and one thread is
// the rule: tests run side by side.
std::vector<std::string> environment(std::map<std::string, std::string> changes) {
  changes.emplace("SFUMATO_THREADS", "1");
  std::vector<std::string> all;
  for (char** entry = environ; *entry; ++entry) {
    const std::string_view text = *entry;
    if (!text.starts_with("SFUMATO_")) all.emplace_back(text);
  }
  for (const auto& [name, value] : changes) all.push_back(name + "=" + value);
  return all;
}

std::vector<char*> pointers(std::vector<std::string>& strings) {
  std::vector<char*> all;
  for (std::string& s : strings) all.push_back(s.data());
  all.push_back(nullptr);
  return all;
}

struct Pipe {
  int read, write;
  Pipe() {
    int ends[2];
    if (::pipe(ends) != 0) throw std::system_error(errno, std::generic_category(), "pipe");
    read = ends[0];
    write = ends[1];
    ::fcntl(read, F_SETFD, FD_CLOEXEC);
    ::fcntl(write, F_SETFD, FD_CLOEXEC);
  }
};

std::string be32(std::int64_t v) {
  return {static_cast<char>(v >> 24), static_cast<char>(v >> 16), static_cast<char>(v >> 8),
          static_cast<char>(v)};
}

}  // namespace

std::string read_bytes(const fs::path& path) {
  std::ifstream in(path, std::ios::binary);
  return {std::istreambuf_iterator<char>(in), {}};
}

Process::Process(const std::string& line, const fs::path& directory, const Setting& setting)
    : line_(line) {
  std::vector<std::string> args = words(line), env = environment(setting.environment);
  args.insert(args.begin(), SFUMATO_PROGRAM);
  // All memory is allocated before the fork: this process may have threads.
  const std::vector<char*> argv = pointers(args), envp = pointers(env);
  const Pipe out, err;
  pid_ = ::fork();
  if (pid_ < 0) throw std::system_error(errno, std::generic_category(), "fork");
  if (pid_ == 0) {
    ::dup2(out.write, STDOUT_FILENO);
    ::dup2(err.write, STDERR_FILENO);
    if (setting.max_file_bytes > 0) {
      const auto bytes = static_cast<rlim_t>(setting.max_file_bytes);
      const rlimit limit{bytes, bytes};
      ::setrlimit(RLIMIT_FSIZE, &limit);
    }
    if (::chdir(directory.c_str()) != 0) ::_exit(126);
    if (setting.prepare) setting.prepare();
    ::execve(argv[0], argv.data(), envp.data());
    ::_exit(127);
  }
  ::close(out.write);
  ::close(err.write);
  out_fd_ = out.read;
  err_fd_ = err.read;
}

Process::~Process() {
  if (pid_ > 0) {
    ::kill(pid_, SIGKILL);
    wait();
  }
}

bool Process::listen() {
  pollfd streams[2] = {{out_fd_, POLLIN, 0}, {err_fd_, POLLIN, 0}};  // poll ignores negative ones
  if (out_fd_ < 0 && err_fd_ < 0) return false;
  const int ready = ::poll(streams, 2, kPatience);
  if (ready < 0 && errno == EINTR) return true;
  if (ready <= 0) {
    ADD_FAILURE() << "no word for " << kPatience / 1000 << " s from: " << line_;
    ::kill(pid_, SIGKILL);
    return false;
  }
  for (int i = 0; i < 2; ++i) {
    if (!streams[i].revents) continue;
    char buffer[4096];
    const ssize_t n = ::read(streams[i].fd, buffer, sizeof buffer);
    if (n > 0) {
      (i == 0 ? out_ : err_).append(buffer, static_cast<std::size_t>(n));
    } else if (n == 0 || errno != EINTR) {
      ::close(streams[i].fd);
      (i == 0 ? out_fd_ : err_fd_) = -1;
    }
  }
  return true;
}

bool Process::says(std::string_view text) {
  while (out_.find(text) == std::string::npos)
    if (!listen()) return false;
  return true;
}

void Process::send(int signal) { ::kill(pid_, signal); }

Outcome Process::wait() {
  while (listen()) {
  }
  for (int fd : {out_fd_, err_fd_})
    if (fd >= 0) ::close(fd);
  out_fd_ = err_fd_ = -1;
  int status = 0;
  while (::waitpid(pid_, &status, 0) < 0 && errno == EINTR) {
  }
  pid_ = -1;
  Outcome o{line_, -1, 0, out_, err_};
  if (WIFEXITED(status)) o.code = WEXITSTATUS(status);
  if (WIFSIGNALED(status)) o.signal = WTERMSIG(status);
  return o;
}

std::string AppTest::get(std::string_view name) const {
  EXPECT_TRUE(fs::is_regular_file(at(name))) << name;
  return read_bytes(at(name));
}

void AppTest::put(std::string_view name, std::string_view bytes) const {
  fs::create_directories(at(name).parent_path());
  fs::remove(at(name));
  std::ofstream(at(name), std::ios::binary).write(bytes.data(), std::ssize(bytes));
}

void AppTest::copy(std::string_view from, std::string_view to) const {
  fs::remove_all(at(to));
  fs::copy(at(from), at(to), fs::copy_options::recursive);
}

Outcome AppTest::run(const std::string& line, const Setting& setting) const {
  return Process(line, directory_, setting).wait();
}

Outcome AppTest::done(const std::string& line, const Setting& setting) const {
  Outcome o = run(line, setting);
  EXPECT_EQ(o.code, 0) << line << "\nsignal " << o.signal << '\n' << o.err;
  EXPECT_EQ(o.err, "") << line;
  return o;
}

Outcome AppTest::refused(const std::string& line, std::initializer_list<std::string_view> fragments,
                         int code, const Setting& setting) const {
  Outcome o = run(line, setting);
  EXPECT_EQ(o.code, code) << line << "\nsignal " << o.signal << '\n' << o.err;
  for (std::string_view fragment : fragments)
    EXPECT_NE(o.err.find(fragment), std::string::npos)
        << line << "\nexpected: " << fragment << "\nsaid: " << o.err;
  if (code == 1) {
    EXPECT_TRUE(o.err.starts_with("sfumato: ")) << line << '\n' << o.err;
    EXPECT_EQ(o.err.find('\n'), o.err.size() - 1) << "expected one line: " << line << '\n' << o.err;
  }
  return o;
}

void AppTest::put_digits(std::string_view directory, const Digits& digits) const {
  const fs::path mnist = fs::path(SFUMATO_SOURCE_DIR) / "data" / "mnist";
  const Tensor images = io::read_idx(mnist / "t10k-images-idx3-ubyte.gz");
  const Tensor labels = io::read_idx(mnist / "t10k-labels-idx1-ubyte.gz");
  std::string pixels, classes;
  for (std::int64_t i = 0; std::ssize(classes) < digits.count; ++i) {
    const std::uint8_t label = labels.data<std::uint8_t>()[i];
    if (label >= digits.classes) continue;
    classes += static_cast<char>(label);
    const std::uint8_t* p = images.data<std::uint8_t>() + i * 28 * 28;
    if (digits.size == 28) {
      pixels.append(p, p + 28 * 28);
      continue;
    }
    for (int y = 2; y < 26; y += 2)
      for (int x = 2; x < 26; x += 2) {
        const std::uint8_t* q = p + y * 28 + x;
        pixels += static_cast<char>((q[0] + q[1] + q[28] + q[29]) / 4);
      }
  }
  const std::string folder(directory);
  put(folder + "/train-images-idx3-ubyte",
      be32(0x803) + be32(digits.count) + be32(digits.size) + be32(digits.size) + pixels);
  put(folder + "/train-labels-idx1-ubyte", be32(0x801) + be32(digits.count) + classes);
}

void AppTest::put_run() const {
  put_digits("data");
  done("train --out run --data data --model tiny --batch 8 --steps 1000 --stop-after 2");
}

std::vector<io::JsonObject> AppTest::metrics(const std::string& run) const {
  std::vector<io::JsonObject> entries;
  const std::string text = get(run + "/metrics.jsonl");
  EXPECT_TRUE(text.ends_with('\n'));
  for (std::size_t at = 0; at < text.size();) {
    const std::size_t end = std::min(text.find('\n', at), text.size());
    entries.emplace_back(io::parse_json(text.substr(at, end - at), "metrics"), "metrics");
    at = end + 1;
  }
  for (std::size_t i = 1; i < entries.size(); ++i)
    EXPECT_GT(entries[i].get_int("step"), entries[i - 1].get_int("step"));
  return entries;
}

std::vector<std::string> AppTest::temporaries() const {
  std::vector<std::string> names;
  for (const auto& entry : fs::recursive_directory_iterator(directory_))
    if (entry.path().filename().string().starts_with(".sfumato-tmp"))
      names.push_back(entry.path().string());
  return names;
}

Learned learned(const fs::path& run) {
  const char* part = fs::exists(run / "transformer") ? "transformer" : "unet";
  Learned l{read_bytes(run / part / "diffusion_pytorch_model.safetensors"), {}};
  const io::SafeTensors state(run / "sfumato" / "state.safetensors");
  for (const std::string& name : state.names()) {
    if (name == "seconds") continue;
    const Tensor t = state.tensor(name);
    l.state[name].assign(static_cast<const char*>(t.raw()), t.bytes());
  }
  return l;
}

}  // namespace sfumato::apps
