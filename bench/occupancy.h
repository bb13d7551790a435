// How many blocks of a kernel a multiprocessor runs at once, by the registers that ptxas gave it, its shared memory and its
// threads. An H100's or H200's limits: NVIDIA's CUDA Programming Guide, table of compute capability 9.0.
#pragma once
#include <cxxabi.h>

#include <algorithm>
#include <cstdint>
#include <cstdlib>
#include <fstream>
#include <map>
#include <memory>
#include <optional>
#include <string>

#include "cuda/emulator/simt.h"
#include "tensor/error.h"

namespace sfumato::bench {

inline std::string demangled(const std::string& name) {
  const std::unique_ptr<char, decltype(&std::free)> text(
      abi::__cxa_demangle(name.c_str(), nullptr, nullptr, nullptr), &std::free);
  return text ? text.get() : name;
}

// Registers of each kernel, from what a build of the preset cuda-on has printed (scripts/test_cuda nvcc keeps it as
// build-cuda-check/build.log).
class PtxasLog {
 public:
  explicit PtxasLog(const std::string& path) {
    std::ifstream in(path);
    if (!in) throw Error(path, "cannot be read");
    std::string line, function;
    while (std::getline(in, line)) {
      const std::string entry = "Compiling entry function '", used = "Used ";
      if (const auto at = line.find(entry); at != std::string::npos) {
        const std::string rest = line.substr(at + entry.size());
        function = demangled(rest.substr(0, rest.find('\'')));
      } else if (const auto of = line.find(used);
                 of != std::string::npos && line.find("registers") != std::string::npos) {
        registers_[function] = std::atoi(line.c_str() + of + used.size());
      }
    }
    if (registers_.empty())
      throw Error(path, "names no kernel; expected what ptxas -v prints of all");
  }

  // Of the function that runs a kernel, by the kernel's type; none if it was not compiled.
  std::optional<int> registers(const char* kernel) const {
    const std::string type = demangled(kernel);
    const std::string run =
        "void sfumato::cuda::run<" + type + (type.back() == '>' ? " >(" : ">(") + type + ")";
    const auto found = registers_.find(run);
    return found == registers_.end() ? std::nullopt : std::optional(found->second);
  }

 private:
  std::map<std::string, int> registers_;
};

// A multiprocessor has four parts of 16,384 registers, which warps get in units of 256; 227 KiB of shared memory, of which a
// block has 1 KiB more than it asks for; 2,048 threads; 32 blocks.
inline int blocks_at_once(const cuda::emulator::BlockSize& size, int registers) {
  const int of_warp = (registers * 32 + 255) / 256 * 256, warps = 4 * (16384 / of_warp);
  const auto by_memory = static_cast<int>(std::size_t{227} * 1024 / (size.shared_bytes + 1024));
  return std::min({warps * 32 / size.threads, by_memory, 2048 / size.threads, 32});
}

}  // namespace sfumato::bench
