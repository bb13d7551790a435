// safetensors: named tensors in one file (https://github.com/huggingface/safetensors, "Format").
//   8 bytes   length n of the header, little-endian
//   n bytes   JSON: {"name": {"dtype": "F32", "shape": [2,3], "data_offsets": [begin,end]}, ...},
//             optionally "__metadata__": {string: string}; padded with spaces
//   the rest  the numbers, little-endian and row-major; the offsets count from here
#pragma once
#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <map>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "tensor/io/file.h"
#include "tensor/tensor.h"

namespace sfumato::io {

struct TensorEntry {
  std::string name;
  std::string dtype;  // as in the file: F64 F32 F16 BF16 I64 I32 I16 I8 U8 BOOL
  Shape shape;
  std::uint64_t begin, end;  // bytes from the end of the header
};

// Opens a file and checks all of its header: every entry's dtype, shape and offsets, and that the
// entries cover the data exactly, with neither overlap nor gap. Numbers are read by tensor() only.
// A header of more than 16 MiB, a million JSON values or 65536 entries of metadata is refused.
class SafeTensors {
 public:
  // Throws Error naming the file and, where it is at fault, the tensor.
  explicit SafeTensors(const std::filesystem::path& path);

  const std::filesystem::path& path() const { return file_.path(); }
  const std::vector<TensorEntry>& entries() const { return entries_; }  // sorted by name
  std::vector<std::string> names() const;                               // sorted
  const std::map<std::string, std::string>& metadata() const { return metadata_; }
  bool contains(std::string_view name) const { return find(name) != nullptr; }
  // Throw Error for a name that the file does not hold.
  const TensorEntry& entry(std::string_view name) const;
  const Shape& shape(std::string_view name) const { return entry(name).shape; }
  // The numbers. F16 and BF16 come as f32, I32, I16 and I8 as i64, BOOL as u8 (0 or 1), every one
  // exactly. Thread-safe.
  Tensor tensor(std::string_view name) const;

 private:
  const TensorEntry* find(std::string_view name) const;

  InputFile file_;
  std::uint64_t data_begin_ = 0;
  std::vector<TensorEntry> entries_;
  std::map<std::string, std::string> metadata_;
};

// Writes atomically, byte for byte as the reference implementation: entries by descending dtype
// alignment, then by name. PyTorch's tools want {"format": "pt"} among the metadata. Throws for an
// undefined tensor, a duplicate name, the name "__metadata__" and text that is not UTF-8.
void write_safetensors(const std::filesystem::path& path,
                       const std::vector<std::pair<std::string, Tensor>>& tensors,
                       const std::map<std::string, std::string>& metadata = {});

}  // namespace sfumato::io
