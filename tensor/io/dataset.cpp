#include "tensor/io/dataset.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <cctype>
#include <cstring>
#include <map>
#include <optional>
#include <set>
#include <string_view>
#include <utility>

#include "tensor/error.h"
#include "tensor/io/file.h"
#include "tensor/io/idx.h"
#include "tensor/io/image.h"
#include "tensor/io/json.h"
#include "tensor/io/npy.h"
#include "tensor/parallel.h"

namespace sfumato::io {
namespace {

namespace fs = std::filesystem;

constexpr std::int64_t kMaxClasses = 65536;

const char* name(Split split) { return split == Split::train ? "train" : "test"; }

// The entries of a directory that are not hidden, sorted: the system's order is arbitrary.
std::vector<fs::path> list(const fs::path& directory) {
  std::vector<fs::path> entries;
  try {
    for (const fs::directory_entry& entry : fs::directory_iterator(directory))
      if (!entry.path().filename().string().starts_with('.')) entries.push_back(entry.path());
  } catch (const fs::filesystem_error& e) {
    throw Error(directory.string(), fmt::format("cannot list: {}", e.code().message()));
  }
  std::sort(entries.begin(), entries.end());
  return entries;
}

bool directory_exists(const fs::path& path) {
  std::error_code error;
  return fs::is_directory(path, error);
}

bool file_exists(const fs::path& path) {
  std::error_code error;
  return fs::exists(path, error) && !fs::is_directory(path, error);
}

// [N,H,W] -> [N,H,W,1]; throws unless u8 with 1 or 3 channels.
Tensor as_images(const fs::path& path, const Tensor& t) {
  const Shape& s = t.shape();
  const bool fits = t.dtype() == DType::u8 && s.size() > 0 &&
                    (s.rank() == 3 || (s.rank() == 4 && (s[3] == 1 || s[3] == 3)));
  if (!fits)
    throw Error(path.string(),
                fmt::format("expected images u8 [N,H,W], [N,H,W,1] or [N,H,W,3], got {} {}",
                            sfumato::name(t.dtype()), s.str()));
  return s.rank() == 4 ? t : t.reshape({s[0], s[1], s[2], 1});
}

// Labels for `dataset` from `path`; classes are numbered, so their names are the numbers.
void set_labels(ImageDataset& dataset, const fs::path& path, const Tensor& labels) {
  if (labels.shape().rank() != 1 || (labels.dtype() != DType::u8 && labels.dtype() != DType::i64))
    throw Error(path.string(), fmt::format("expected labels u8 or i64 [N], got {} {}",
                                           sfumato::name(labels.dtype()), labels.shape().str()));
  if (labels.dim(0) != dataset.images.dim(0))
    throw Error(path.string(),
                fmt::format("holds {} labels for {} images", labels.dim(0), dataset.images.dim(0)));
  dataset.labels = labels.to(DType::i64);
  for (std::int64_t label : std::as_const(dataset.labels).values<std::int64_t>()) {
    if (label < 0 || label >= kMaxClasses)
      throw Error(path.string(),
                  fmt::format("expected labels in 0..{}, got {}", kMaxClasses - 1, label));
    dataset.classes = std::max(dataset.classes, label + 1);
  }
  for (std::int64_t i = 0; i < dataset.classes; ++i)
    dataset.class_names.push_back(std::to_string(i));
}

// --- IDX ---------------------------------------------------------------------------------------

// The name of an IDX images file taken apart: "emnist-digits" "train" for
// emnist-digits-train-images-idx3-ubyte.gz. Nothing when the name is not one.
struct IdxName {
  std::string set, split;
};

std::optional<IdxName> parse_idx_name(std::string_view file) {
  if (file.ends_with(".gz")) file.remove_suffix(3);
  for (std::string_view split : {"train", "t10k", "test"}) {
    for (std::string_view tail : {"-images-idx3-ubyte", "-images.idx3-ubyte"}) {
      const std::string end = std::string(split) + std::string(tail);
      if (!file.ends_with(end)) continue;
      std::string_view set = file.substr(0, file.size() - end.size());
      if (!set.empty() && !set.ends_with('-')) continue;
      if (!set.empty()) set.remove_suffix(1);
      return IdxName{std::string(set), split == "train" ? "train" : "test"};
    }
  }
  return std::nullopt;
}

fs::path labels_of(const fs::path& images) {
  std::string file = images.filename().string();
  const auto replace = [&](std::string_view from, std::string_view to) {
    const std::size_t at = file.rfind(from);
    if (at == std::string::npos) return false;
    file.replace(at, from.size(), to);
    return true;
  };
  if (!replace("images-idx3", "labels-idx1") && !replace("images.idx3", "labels.idx1"))
    throw Error(images.string(),
                "expected \"images-idx3\" in the name of an IDX images file, to "
                "find its labels");
  // The pair may be half compressed.
  const fs::path same = images.parent_path() / file;
  if (file_exists(same)) return same;
  const fs::path other =
      file.ends_with(".gz") ? images.parent_path() / same.stem() : fs::path(same.string() + ".gz");
  if (file_exists(other)) return other;
  throw Error(images.string(), fmt::format("its labels file {} is missing", same.string()));
}

ImageDataset load_idx(const fs::path& path) {
  const fs::path labels = labels_of(path);
  ImageDataset dataset;
  dataset.images = as_images(path, read_idx(path));
  set_labels(dataset, labels, read_idx(labels));
  return dataset;
}

// The images file of `split` among `directory`'s IDX files, of the set called `set` if not empty.
// Nothing when the directory holds no IDX images (of that set) at all.
std::optional<fs::path> find_idx(const fs::path& directory, std::string_view set, Split split) {
  std::map<std::string, fs::path> found;  // by set
  bool any = false;
  for (const fs::path& entry : list(directory)) {
    const auto parsed = parse_idx_name(entry.filename().string());
    if (!parsed || directory_exists(entry) || (!set.empty() && parsed->set != set)) continue;
    any = true;
    // Sorted order: the raw file comes before its .gz and is kept.
    if (parsed->split == name(split)) found.emplace(parsed->set, entry);
  }
  if (!any) return std::nullopt;
  if (found.empty())
    throw Error((directory / set).string(),
                fmt::format("holds IDX files, but no {} images", name(split)));
  if (found.size() > 1) {
    std::vector<std::string> sets;
    for (const auto& [key, ignored] : found) sets.push_back(key.empty() ? "(no name)" : key);
    throw Error(directory.string(),
                fmt::format("holds several data sets ({}): name one, as {}", fmt::join(sets, ", "),
                            (directory / found.rbegin()->first).string()));
  }
  return found.begin()->second;
}

// --- a folder of pictures ----------------------------------------------------------------------

bool is_picture(const fs::path& path) {
  std::string extension = path.extension().string();
  for (char& c : extension) c = static_cast<char>(std::tolower(static_cast<unsigned char>(c)));
  return (extension == ".png" || extension == ".jpg" || extension == ".jpeg") && file_exists(path);
}

// [..., 1] -> [..., 3]
Tensor to_rgb(const Tensor& grey) {
  Tensor rgb(grey.shape().with(-1, 3), DType::u8);
  auto* out = rgb.data<std::uint8_t>();
  for (std::uint8_t v : grey.values<std::uint8_t>()) out = std::fill_n(out, 3, v);
  return rgb;
}

// All pictures in one tensor. Decoded in batches on all threads, so that besides the result only a
// batch is in memory.
Tensor read_pictures(const std::vector<fs::path>& files) {
  constexpr std::int64_t kBatch = 64;
  const auto count = static_cast<std::int64_t>(files.size());
  Tensor all;
  for (std::int64_t begin = 0; begin < count; begin += kBatch) {
    std::vector<Tensor> batch(static_cast<std::size_t>(std::min(kBatch, count - begin)));
    parallel_for(static_cast<std::int64_t>(batch.size()), [&](std::int64_t i) {
      batch[static_cast<std::size_t>(i)] = read_image(files[static_cast<std::size_t>(begin + i)]);
    });
    for (std::size_t i = 0; i < batch.size(); ++i) {
      Tensor& image = batch[i];
      const std::int64_t n = begin + static_cast<std::int64_t>(i);
      if (n == 0) all = Tensor(Shape{count, image.dim(0), image.dim(1), image.dim(2)}, DType::u8);
      if (image.dim(0) != all.dim(1) || image.dim(1) != all.dim(2))
        throw Error(
            files[static_cast<std::size_t>(n)].string(),
            fmt::format("this picture is {} x {}, expected {} x {} (height x width) as {}",
                        image.dim(0), image.dim(1), all.dim(1), all.dim(2), files[0].string()));
      if (image.dim(2) == 3 && all.dim(3) == 1) {  // the first in colour: widen what came before
        Tensor wide(all.shape().with(3, 3), DType::u8);
        if (n > 0) wide.slice(0, n).copy_from(to_rgb(all.slice(0, n)));
        all = wide;
      } else if (image.dim(2) == 1 && all.dim(3) == 3) {
        image = to_rgb(image);
      }
      all.slice(n, n + 1).copy_from(image.reshape({1, all.dim(1), all.dim(2), all.dim(3)}));
    }
  }
  return all;
}

ImageDataset load_folder(const fs::path& directory) {
  std::vector<fs::path> files, folders;
  for (const fs::path& entry : list(directory)) {
    if (is_picture(entry)) files.push_back(entry);
    if (directory_exists(entry)) folders.push_back(entry);
  }
  ImageDataset dataset;
  std::vector<std::int64_t> labels;
  if (!files.empty() && !folders.empty())
    throw Error(directory.string(),
                fmt::format("holds both pictures ({}) and directories ({}), expected one or the "
                            "other",
                            files[0].filename().string(), folders[0].filename().string()));
  for (const fs::path& folder : folders) {
    const std::size_t before = files.size();
    for (const fs::path& entry : list(folder))
      if (is_picture(entry)) files.push_back(entry);
    if (files.size() == before)
      throw Error(folder.string(), "expected PNG or JPEG pictures of one class, found none");
    labels.resize(files.size(), dataset.classes++);
    dataset.class_names.push_back(folder.filename().string());
  }
  if (files.empty())
    throw Error(directory.string(), "holds neither IDX files nor PNG or JPEG pictures");
  dataset.images = read_pictures(files);
  if (!labels.empty())
    dataset.labels = Tensor::from(Shape{static_cast<std::int64_t>(labels.size())},
                                  std::span<const std::int64_t>(labels));
  return dataset;
}

ImageDataset load_directory(const fs::path& directory, Split split) {
  if (const auto idx = find_idx(directory, "", split)) return load_idx(*idx);
  const bool parted = directory_exists(directory / "train") || directory_exists(directory / "test");
  if (directory_exists(directory / name(split))) return load_folder(directory / name(split));
  if (parted || split == Split::test)
    throw Error(directory.string(),
                fmt::format("has no directory \"{}\" of pictures", name(split)));
  return load_folder(directory);
}

// --- NumPy -------------------------------------------------------------------------------------

ImageDataset load_npy(const fs::path& path) {
  ImageDataset dataset;
  dataset.images = as_images(path, read_npy(path));
  const fs::path labels = path.parent_path() / (path.stem().string() + "_labels.npy");
  if (file_exists(labels)) set_labels(dataset, labels, read_npy(labels));
  return dataset;
}

}  // namespace

ImageDataset load_dataset(const fs::path& path, const LoadOptions& options) {
  const Split split = options.split;
  if (directory_exists(path)) return load_directory(path, split);
  if (file_exists(path)) return path.extension() == ".npy" ? load_npy(path) : load_idx(path);
  // DIRECTORY/NAME, where NAME is what several IDX sets begin with.
  const fs::path parent = path.has_parent_path() ? path.parent_path() : fs::path(".");
  if (directory_exists(parent) && path.has_filename())
    if (const auto idx = find_idx(parent, path.filename().string(), split)) return load_idx(*idx);
  throw Error(path.string(), "no such file or directory");
}

std::string class_list(const ImageDataset& dataset) {
  constexpr int kMost = 40;
  std::string line;
  int listed = 0;
  for (std::int64_t i = 0; i < dataset.classes; ++i) {
    const std::string& name = dataset.class_names[static_cast<std::size_t>(i)];
    if (name.empty()) continue;
    if (++listed > kMost) return line + ", ...";
    const std::string number = std::to_string(i);
    line += line.empty() ? number : ", " + number;
    if (name != number) line += " " + in_quotes(name);
  }
  return line;
}

void pad_to_multiple(ImageDataset& dataset, std::int64_t m) {
  if (m < 1) throw Error("pad_to_multiple", fmt::format("expected m >= 1, got {}", m));
  expect_rank("pad_to_multiple", "images", dataset.images, 4);
  expect_dtype("pad_to_multiple", "images", dataset.images, DType::u8);
  const Shape& from = dataset.images.shape();
  const std::int64_t height = (from[1] + m - 1) / m * m, width = (from[2] + m - 1) / m * m;
  if (height == from[1] && width == from[2]) return;
  const std::int64_t top = (height - from[1]) / 2, left = (width - from[2]) / 2;
  const std::int64_t row = from[2] * from[3];  // bytes
  Tensor padded = Tensor::zeros(from.with(1, height).with(2, width), DType::u8);
  const auto* in = std::as_const(dataset.images).data<std::uint8_t>();
  auto* out = padded.data<std::uint8_t>();
  for (std::int64_t n = 0; n < from[0]; ++n)
    for (std::int64_t y = 0; y < from[1]; ++y)
      std::memcpy(out + (((n * height + top + y) * width) + left) * from[3],
                  in + (n * from[1] + y) * row, static_cast<std::size_t>(row));
  dataset.images = padded;
}

}  // namespace sfumato::io
