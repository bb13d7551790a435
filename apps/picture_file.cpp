#include "apps/picture_file.h"

#include <fmt/format.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <charconv>
#include <filesystem>
#include <system_error>

#include "tensor/io/file.h"
#include "tensor/io/image.h"
#include "tensor/io/npy.h"

namespace sfumato::apps {

namespace fs = std::filesystem;

PictureFile kind_of(const std::string& out) {
  const std::string extension = fs::path(out).extension().string();
  if (extension == ".png")
    return out.find('%') == std::string::npos ? PictureFile::grid : PictureFile::series;
  if (extension == ".gif") return PictureFile::gif;
  if (extension == ".npy") return PictureFile::npy;
  if (extension.empty()) return PictureFile::folder;
  throw Error(
      "sample",
      fmt::format("--out {}: expected a name ending in .png, .gif or .npy, a numbered series "
                  "such as step_%03d.png, or a folder",
                  out));
}

std::string numbered(const std::string& pattern, std::int64_t i) {
  const std::size_t percent = pattern.find('%'), d = pattern.find('d', percent);
  std::size_t width = 0;
  if (d != std::string::npos && d > percent + 1) {
    const char *begin = pattern.data() + percent + 1, *end = pattern.data() + d;
    const auto parsed = std::from_chars(begin, end, width);
    if (parsed.ec != std::errc{} || parsed.ptr != end || width > 12) width = 13;
  }
  if (d == std::string::npos || width > 12 || pattern.find('%', percent + 1) != std::string::npos)
    throw Error("sample", fmt::format("--out {}: expected one number such as %03d", pattern));
  return fmt::format("{}{:0{}}{}", pattern.substr(0, percent), i, width, pattern.substr(d + 1));
}

namespace {

void expect_file(const fs::path& out) {
  std::error_code ignored;
  const fs::path parent = out.has_parent_path() ? out.parent_path() : fs::path(".");
  if (fs::is_directory(out, ignored))
    throw Error(out.string(), "cannot write: expected a file name, this is a directory");
  if (!fs::is_directory(parent, ignored))
    throw Error(out.string(),
                fmt::format("cannot write: there is no directory {}", parent.string()));
  if (::access(parent.c_str(), W_OK | X_OK) != 0 && !fs::is_other(out, ignored))
    throw Error(out.string(), fmt::format("cannot write into {}: {}", parent.string(),
                                          std::generic_category().message(errno)));
}

}  // namespace

void expect_writable(const std::string& out, PictureFile kind, const Shape& pictures,
                     const GridOptions& grid, std::int64_t frames) {
  if (kind == PictureFile::folder) {
    io::make_directories(out);
    expect_file(fs::path(out) / "00000.png");
    return;
  }
  expect_file(kind == PictureFile::series ? numbered(out, 0) : out);
  if (kind == PictureFile::npy) return;
  const Shape size = grid_shape(pictures, grid);
  if (size[0] > io::kMaxPixels / size[1])
    throw Error(out,
                fmt::format("a grid of {} pictures would be {} x {} pixels, expected at most {} "
                            "in all: give --count, or a folder for single files",
                            pictures[0], size[0], size[1], io::kMaxPixels));
  if (kind == PictureFile::gif && std::max(size[0], size[1]) > io::kMaxGifSide)
    throw Error(out, fmt::format("a GIF holds at most {0} x {0} pixels, {1} pictures would take "
                                 "{2} x {3}: give --count",
                                 io::kMaxGifSide, pictures[0], size[0], size[1]));
  constexpr std::int64_t kMaxFilm = std::int64_t{1} << 31;  // bytes of all frames
  if (kind != PictureFile::grid && size.size() > kMaxFilm / (frames + 1))
    throw Error(out, fmt::format("{} frames of {} x {} pixels are too many: give a smaller --count "
                                 "or --steps",
                                 frames + 1, size[0], size[1]));
}

void write_array(const std::string& out, const Tensor& pictures) {
  const std::int64_t n = pictures.dim(0), h = pictures.dim(1), w = pictures.dim(2);
  io::write_npy(out, pictures.dim(3) == 1 ? pictures.reshape({n, h, w}) : pictures);
}

void write_folder(const std::string& out, const Tensor& pictures,
                  const std::vector<std::int64_t>& labels) {
  const std::int64_t h = pictures.dim(1), w = pictures.dim(2), c = pictures.dim(3);
  for (std::int64_t i = 0; i < pictures.dim(0); ++i) {
    const std::string name =
        labels.empty()
            ? fmt::format("{:05}.png", i)
            : fmt::format("{:05}_{}.png", i, labels[static_cast<std::size_t>(i) % labels.size()]);
    io::write_png(fs::path(out) / name, pictures.slice(i, i + 1).reshape({h, w, c}));
  }
}

}  // namespace sfumato::apps
