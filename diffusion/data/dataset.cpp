#include "diffusion/data/dataset.h"

#include <fmt/format.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <utility>

#include "diffusion/data/loaders.h"
#include "diffusion/data/pictures.h"
#include "tensor/error.h"
#include "tensor/io/budget.h"
#include "tensor/io/file.h"
#include "tensor/io/file_kind.h"
#include "tensor/io/json.h"
#include "tensor/io/natural_order.h"
#include "tensor/io/resize.h"

namespace sfumato::data {
namespace {

namespace fs = std::filesystem;

constexpr std::int64_t kMaxClasses = 65536;

ImageDataset load_file(const fs::path& path, Split split) {
  const std::string bytes = first_bytes(path), extension = io::lower_extension(path);
  if (bytes.starts_with("\x93NUMPY") || extension == ".npy" || extension == ".npz")
    return load_array(path, split);
  if (const auto kind = io::recognise(bytes, path))
    throw Error(
        path.string(),
        fmt::format("expected a folder of pictures, IDX files, or a .npy or .npz file; this "
                    "is {}: {}",
                    kind->name, kind->advice));
  ImageDataset dataset = load_idx(path);
  if (split == Split::test) note_no_test_split(dataset);
  return dataset;
}

ImageDataset load(const fs::path& path, const LoadOptions& options) {
  if (directory_exists(path)) return load_directory(path, options);
  if (file_exists(path)) return load_file(path, options.split);
  // DIRECTORY/NAME, where NAME is what several IDX sets begin with.
  const fs::path parent = path.has_parent_path() ? path.parent_path() : fs::path(".");
  if (directory_exists(parent) && path.has_filename())
    if (const auto idx = find_idx(parent, path.filename().string(), options.split))
      return load_idx(*idx);
  throw Error(path.string(), "no such file or directory");
}

void resize(const std::string& where, ImageDataset& dataset, const io::Extent& size) {
  const Shape& from = dataset.images.shape();
  if (from[1] == size.height && from[2] == size.width) return;
  const std::int64_t pixels = size.height * size.width * from[3];
  io::expect_within_budget(where, static_cast<std::uint64_t>(from[0]),
                           static_cast<std::uint64_t>(pixels));
  Tensor images(from.with(1, size.height).with(2, size.width), DType::u8);
  const Shape one{from[1], from[2], from[3]};
  for (std::int64_t i = 0; i < from[0]; ++i)
    images.slice(i, i + 1).copy_from(io::fit_to(dataset.images.slice(i, i + 1).reshape(one), size)
                                         .reshape({1, size.height, size.width, from[3]}));
  dataset.notes.push_back(
      fmt::format("pictures of {} x {} are cropped and resized to {} x {} (height x width)",
                  from[1], from[2], size.height, size.width));
  dataset.images = images;
}

// [..., 1] -> [..., 3]
Tensor to_rgb(const Tensor& grey) {
  Tensor rgb(grey.shape().with(-1, 3), DType::u8);
  auto* out = rgb.data<std::uint8_t>();
  for (std::uint8_t v : grey.values<std::uint8_t>()) out = std::fill_n(out, 3, v);
  return rgb;
}

// Pictures from which nothing can be learned, mostly by an accident in their making.
void note_values(ImageDataset& dataset) {
  const std::int64_t n = dataset.images.dim(0), pixels = dataset.images.size() / n;
  const auto* from = std::as_const(dataset.images).data<std::uint8_t>();
  const std::int64_t channels = dataset.images.dim(3);
  std::int64_t flat = 0;
  int most = 0;
  for (std::int64_t i = 0; i < n; ++i, from += pixels) {
    flat += std::equal(from + channels, from + pixels, from);
    most = std::max<int>(most, *std::max_element(from, from + pixels));
  }
  if (flat == n)
    dataset.notes.push_back("every picture has one colour all over");
  else if (flat > 0)
    dataset.notes.push_back(fmt::format("{} of {} pictures have one colour all over", flat, n));
  if (most == 1)
    dataset.notes.push_back(
        "all values are 0 or 1 of 255, which is nearly black: are they meant as 0 and 255 (in "
        "Python: x * 255)?");
}

}  // namespace

bool directory_exists(const fs::path& path) {
  std::error_code error;
  return fs::is_directory(path, error);
}

bool file_exists(const fs::path& path) {
  std::error_code error;
  const fs::file_status link = fs::symlink_status(path, error);
  if (link.type() == fs::file_type::not_found) return false;
  const fs::file_status status = error ? link : fs::status(path, error);
  if (fs::is_symlink(link) && status.type() == fs::file_type::not_found)
    throw Error(path.string(), "cannot be read: this is a link to nothing");
  if (error) throw Error(path.string(), fmt::format("cannot look at it: {}", error.message()));
  return !fs::is_directory(status);
}

std::string first_bytes(const fs::path& path) {
  const io::InputFile file(path);
  std::string bytes(static_cast<std::size_t>(std::min<std::uint64_t>(file.size(), 300)), '\0');
  file.read_at(0, bytes.data(), bytes.size());
  return bytes;
}

void note_no_test_split(ImageDataset& dataset) {
  dataset.notes.push_back("the file has no test split: the same pictures serve for testing");
}

std::vector<fs::path> list(const fs::path& directory) {
  std::vector<fs::path> entries;
  try {
    for (const fs::directory_entry& entry : fs::directory_iterator(directory))
      entries.push_back(entry.path());
  } catch (const fs::filesystem_error& e) {
    throw Error(directory.string(), fmt::format("cannot list: {}", e.code().message()));
  }
  std::sort(entries.begin(), entries.end(), [](const fs::path& a, const fs::path& b) {
    return io::natural_less(a.filename().native(), b.filename().native());
  });
  return entries;
}

void set_labels(ImageDataset& dataset, const std::string& where, const Tensor& labels,
                const std::map<std::int64_t, std::string>& names) {
  if (labels.dim(0) != dataset.images.dim(0))
    throw Error(where,
                fmt::format("holds {} labels for {} images", labels.dim(0), dataset.images.dim(0)));
  dataset.labels = labels;
  for (std::int64_t label : std::as_const(labels).values<std::int64_t>()) {
    if (label < 0 || label >= kMaxClasses)
      throw Error(where, fmt::format("expected labels in 0..{}, got {}", kMaxClasses - 1, label));
    dataset.classes = std::max(dataset.classes, label + 1);
  }
  dataset.class_names.assign(static_cast<std::size_t>(dataset.classes), "");
  for (std::int64_t label : std::as_const(labels).values<std::int64_t>()) {
    std::string& name = dataset.class_names[static_cast<std::size_t>(label)];
    if (!name.empty()) continue;
    const auto known = names.find(label);
    name = known == names.end() ? std::to_string(label) : known->second;
  }
  constexpr std::int64_t kMost = 10;
  std::int64_t empty = 0;
  std::string list;
  for (std::int64_t i = 0; i < dataset.classes; ++i) {
    if (!dataset.class_names[static_cast<std::size_t>(i)].empty()) continue;
    if (++empty <= kMost) list += (list.empty() ? "" : ", ") + std::to_string(i);
  }
  if (empty > 0)
    dataset.notes.push_back(fmt::format("{} of {} labels {} no picture: {}{}", empty,
                                        dataset.classes, empty == 1 ? "has" : "have", list,
                                        empty > kMost ? ", ..." : ""));
}

ImageDataset load_dataset(const fs::path& path, const LoadOptions& options) {
  ImageDataset dataset = load(path, options);
  if (options.size) resize(path.string(), dataset, *options.size);
  note_values(dataset);
  return dataset;
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
    if (name != number) line += " " + io::in_quotes(name);
  }
  return line;
}

std::vector<std::int64_t> used_labels(const ImageDataset& dataset) {
  std::vector<std::int64_t> used;
  for (std::int64_t i = 0; i < dataset.classes; ++i)
    if (!dataset.class_names[static_cast<std::size_t>(i)].empty()) used.push_back(i);
  return used;
}

void match_split(ImageDataset& test, const ImageDataset& train) {
  const Shape &have = test.images.shape(), &want = train.images.shape();
  if (have[1] != want[1] || have[2] != want[2] || have[3] > want[3])
    throw Error("data", fmt::format("the test pictures are {}x{}x{}, those to train on {}x{}x{}",
                                    have[1], have[2], have[3], want[1], want[2], want[3]));
  if (test.labels.defined() != train.labels.defined())
    throw Error("data", fmt::format("the {} split has labels, the {} split has none",
                                    test.labels.defined() ? "test" : "train",
                                    test.labels.defined() ? "train" : "test"));
  if (have[3] < want[3]) test.images = to_rgb(test.images);
  std::vector<std::int64_t> number(static_cast<std::size_t>(test.classes));
  for (std::int64_t label : used_labels(test)) {
    const std::string& name = test.class_names[static_cast<std::size_t>(label)];
    const auto same = std::find(train.class_names.begin(), train.class_names.end(), name);
    if (same == train.class_names.end())
      throw Error("data",
                  fmt::format("the test split has a class {}, which the train split has not "
                              "(it has {})",
                              io::in_quotes(name), class_list(train)));
    number[static_cast<std::size_t>(label)] = same - train.class_names.begin();
  }
  test.classes = train.classes;
  test.class_names.assign(train.class_names.size(), "");
  if (!test.labels.defined()) return;
  Tensor labels(test.labels.shape(), DType::i64);
  auto* to = labels.data<std::int64_t>();
  for (std::int64_t label : std::as_const(test.labels).values<std::int64_t>()) {
    const std::int64_t n = number[static_cast<std::size_t>(label)];
    test.class_names[static_cast<std::size_t>(n)] = train.class_names[static_cast<std::size_t>(n)];
    *to++ = n;
  }
  test.labels = labels;
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

}  // namespace sfumato::data
