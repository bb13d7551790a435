// What a file that cannot be loaded is, so that a message can say what to do with it.
#pragma once
#include <filesystem>
#include <optional>
#include <string>
#include <string_view>

namespace sfumato::io {

struct FileKind {
  std::string_view name;    // "a WebP picture"
  std::string_view advice;  // what to do with it, as an instruction
};

// Told by the first bytes (300 are enough), else by the extension of `path`. Nothing when neither
// is known, and for gzip data, which may be of anything.
std::optional<FileKind> recognise(std::string_view bytes, const std::filesystem::path& path);

// The extension in lower case, with its dot.
std::string lower_extension(const std::filesystem::path& path);
std::string lower_case(std::string_view text);  // ASCII letters

// Whether files with this extension (lower case, with its dot) are read as pictures; their content
// then says which they are.
bool is_picture_extension(std::string_view extension);
// Whether it is that of a picture format which is not read.
bool is_foreign_picture_extension(std::string_view extension);

}  // namespace sfumato::io
