// ZIP archives, as far as NumPy writes them (.npz): stored and deflated entries, ZIP64.
#pragma once
#include <cstdint>
#include <filesystem>
#include <string>
#include <vector>

#include "tensor/io/file.h"

namespace sfumato::io {

class ZipFile {
 public:
  struct Entry {
    std::string name;
    int method = 0;  // 0 stored, 8 deflated
    bool encrypted = false;
    std::uint32_t crc = 0;
    std::uint64_t compressed = 0, size = 0, offset = 0;
  };

  // Reads the directory. Throws Error naming the file where it is missing or broken.
  explicit ZipFile(const std::filesystem::path& path);
  const std::vector<Entry>& entries() const { return entries_; }
  // The entry's bytes. Throws Error for another method, for encryption, for damage, and where they
  // are more than data_budget().
  std::string read(const Entry& entry) const;

 private:
  [[noreturn]] void fail(const std::string& what) const;
  std::string bytes(std::uint64_t offset, std::uint64_t count) const;

  InputFile file_;
  std::vector<Entry> entries_;
};

}  // namespace sfumato::io
