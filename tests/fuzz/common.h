// What the fuzz targets share. A target is one file: LLVMFuzzerTestOneInput is given the bytes of
// one input. An Error is the right answer to bad ones; whatever else ends the process is a finding:
// a sanitizer, another exception, a `require` that does not hold, too much memory or time.
#pragma once
#include <unistd.h>

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <string>
#include <string_view>

#include "tensor/error.h"
#include "tensor/io/text.h"
#include "tensor/tensor.h"

// libFuzzer's own mutation, for targets that mutate a part of their input. Returns the new size.
extern "C" std::size_t LLVMFuzzerMutate(std::uint8_t* data, std::size_t size, std::size_t max_size);

namespace sfumato::fuzz {

// The line named is the caller's. (clang 14 does not know std::source_location.)
inline void require(bool holds, const char* file = __builtin_FILE(), int line = __builtin_LINE()) {
  if (holds) return;
  std::fprintf(stderr, "%s:%d: what this line requires does not hold\n", file, line);
  std::abort();
}

inline std::string_view as_text(const std::uint8_t* data, std::size_t size) {
  return {reinterpret_cast<const char*>(data), size};
}

// A folder of this process alone, under TMPDIR (which scripts/fuzz puts in memory).
inline const std::filesystem::path& scratch() {
  static const std::filesystem::path folder = [] {
    auto path =
        std::filesystem::temp_directory_path() / ("sfumato-fuzz-" + std::to_string(getpid()));
    std::filesystem::create_directories(path);
    return path;
  }();
  return folder;
}

// A file of the scratch folder with these bytes; its path.
inline std::string put(const std::string& name, std::string_view bytes) {
  const std::filesystem::path path = scratch() / name;
  std::ofstream file(path, std::ios::binary | std::ios::trunc);
  file.write(bytes.data(), static_cast<std::streamsize>(bytes.size()));
  file.close();
  require(file.good());
  return path.string();
}

// Cuts the next part off an input made of several: two bytes of length, little-endian, then as
// many.
inline std::string_view next_part(std::string_view& rest) {
  if (rest.size() < 2) return {};
  const std::size_t length =
      static_cast<std::uint8_t>(rest[0]) | std::size_t{static_cast<std::uint8_t>(rest[1])} << 8;
  rest.remove_prefix(2);
  const std::string_view part = rest.substr(0, std::min(length, rest.size()));
  rest.remove_prefix(part.size());
  return part;
}

// No flood, and one line once io::printable() has made it fit for a terminal, as the program does.
inline void require_printable(std::string_view message) {
  require(message.size() < 4000);
  for (const char c : io::printable(message))
    require(static_cast<unsigned char>(c) >= 0x20 && c != 0x7f);
}

// libFuzzer's mutation of a part of an input, which may grow by `more` bytes.
inline void mutate(std::string& part, std::size_t more) {
  const std::size_t size = part.size();
  part.resize(size + more);
  part.resize(LLVMFuzzerMutate(reinterpret_cast<std::uint8_t*>(part.data()), size, part.size()));
}

// Runs `body`. False when it refused the input, with an Error.
template <class Body>
bool accepted(const Body& body) {
  try {
    body();
    return true;
  } catch (const Error& e) {
    require_printable(e.what());
    return false;
  }
}

// Reads every byte, so that the address sanitizer sees a tensor shorter than its shape.
inline void read_all(const Tensor& tensor) {
  unsigned sum = 0;
  const auto* bytes = static_cast<const unsigned char*>(tensor.raw());
  for (std::size_t i = 0; i < tensor.bytes(); ++i) sum += bytes[i];
  asm volatile("" : : "r"(sum));  // the loop is not optimised away
}

inline void require_same(const Tensor& a, const Tensor& b, const char* file = __builtin_FILE(),
                         int line = __builtin_LINE()) {
  require(a.shape() == b.shape() && a.dtype() == b.dtype(), file, line);
  require(a.bytes() == 0 || std::memcmp(a.raw(), b.raw(), a.bytes()) == 0, file, line);
}

}  // namespace sfumato::fuzz
