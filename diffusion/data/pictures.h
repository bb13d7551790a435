// All picture files of a folder in one tensor.
#pragma once
#include <filesystem>
#include <optional>
#include <string>
#include <vector>

#include "tensor/io/image.h"
#include "tensor/tensor.h"

namespace sfumato::data {

// Larger pictures than `sfumato sample` draws are not trained on: they are refused, or resized.
inline constexpr std::int64_t kMaxTrainingPixels = std::int64_t{1} << 22;

struct Pictures {
  Tensor images;                   // u8 [N,H,W,C]
  std::vector<std::string> notes;  // transparency, orientation, sizes; one line each
};

// Reads `files`, which lie in `directory`, in their order on all threads; besides the result, one
// picture a thread is in memory. Grey becomes RGB when any picture is in colour. With `size` each
// is brought to it by fit_to; without, all must have one size. Sizes and the memory they need
// are checked by the headers, before anything is decoded. Throws Error that names all the files that
// cannot be read (beyond a handful, their number).
Pictures read_pictures(const std::filesystem::path& directory,
                       const std::vector<std::filesystem::path>& files,
                       const io::Background& background, const std::optional<io::Extent>& size);

}  // namespace sfumato::data
