// IDX files as data sets: MNIST and what followed it.
#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <charconv>
#include <utility>

#include "diffusion/data/loaders.h"
#include "tensor/error.h"
#include "tensor/io/file.h"
#include "tensor/io/file_kind.h"
#include "tensor/io/idx.h"
#include "tensor/io/json.h"

namespace sfumato::data {
namespace {

namespace fs = std::filesystem;

// The name of an IDX images file taken apart: "emnist-digits" "train" for
// emnist-digits-train-images-idx3-ubyte.gz. Nothing when the name is not one.
struct IdxName {
  std::string set, split;
};

std::optional<IdxName> parse_idx_name(std::string_view file) {
  if (file.starts_with('.')) return std::nullopt;
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
  const std::string file = images.filename().string();
  std::vector<std::string> names;
  // QMNIST's labels are of 32 bits, with the writer's number and more beside the class.
  for (const auto& [from, to] :
       {std::pair{"images-idx3-ubyte", "labels-idx1-ubyte"},
        std::pair{"images.idx3-ubyte", "labels.idx1-ubyte"},
        std::pair{"images-idx3-ubyte", "labels-idx2-int"}, std::pair{"images-idx3", "labels-idx1"},
        std::pair{"images.idx3", "labels.idx1"}})
    if (const std::size_t at = file.rfind(from); at != std::string::npos)
      names.push_back(std::string(file).replace(at, std::string_view(from).size(), to));
  if (names.empty())
    throw Error(images.string(),
                "expected \"images-idx3\" in the name of an IDX images file, to "
                "find its labels");
  for (const std::string& name : names) {
    // The pair may be half compressed.
    fs::path same = images.parent_path() / name;
    if (file_exists(same)) return same;
    fs::path other = same.extension() == ".gz" ? images.parent_path() / same.stem()
                                               : fs::path(same.string() + ".gz");
    if (file_exists(other)) return other;
  }
  throw Error(images.string(), fmt::format("its labels file {} is missing",
                                           (images.parent_path() / names[0]).string()));
}

// [N] of u8 or i64; QMNIST's [N,8] has the class first.
Tensor read_labels(const fs::path& path) {
  const Tensor t = io::read_idx(path);
  if (t.shape().rank() == 1) return t.to(DType::i64);
  if (t.shape().rank() != 2)
    throw Error(path.string(), fmt::format("expected labels u8 [N], or i32 [N] or [N,8], got {} {}",
                                           sfumato::name(t.dtype()), t.shape().str()));
  Tensor labels({t.dim(0)}, DType::i64);
  for (std::int64_t i = 0; i < t.dim(0); ++i)
    labels.data<std::int64_t>()[i] = t.data<std::int64_t>()[i * t.dim(1)];
  return labels;
}

// The names of EMNIST's classes, from the file that is published with them: a line a label, with
// the label and the characters' numbers in ASCII. None when the file is not there.
std::map<std::int64_t, std::string> read_mapping(const fs::path& path) {
  constexpr std::uint64_t kMostBytes = 1 << 20;
  std::map<std::int64_t, std::string> names;
  if (!file_exists(path)) return names;
  const std::string text = io::read_file(path, kMostBytes);
  std::string_view rest = text;
  while (!rest.empty()) {
    std::string_view line = rest.substr(0, rest.find('\n'));
    rest.remove_prefix(std::min(rest.size(), line.size() + 1));
    if (line.ends_with('\r')) line.remove_suffix(1);
    if (line.empty()) continue;
    std::int64_t label = 0, character = 0;
    const char* end = line.data() + line.size();
    const auto first = std::from_chars(line.data(), end, label);
    const auto second = first.ec == std::errc() && first.ptr != end
                            ? std::from_chars(first.ptr + 1, end, character)
                            : first;
    if (second.ec != std::errc() || second.ptr == first.ptr || character <= ' ' || character > '~')
      throw Error(path.string(),
                  fmt::format("expected a label and the number of an ASCII character, got {}",
                              io::in_quotes(line)));
    names[label] = std::string(1, static_cast<char>(character));
  }
  return names;
}

// [N,H,W,C] -> [N,W,H,C]
Tensor transposed(const Tensor& images) {
  const std::int64_t n = images.dim(0), h = images.dim(1), w = images.dim(2), c = images.dim(3);
  Tensor out({n, w, h, c}, DType::u8);
  const auto* from = images.data<std::uint8_t>();
  auto* to = out.data<std::uint8_t>();
  for (std::int64_t i = 0; i < n; ++i, from += h * w * c)
    for (std::int64_t x = 0; x < w; ++x)
      for (std::int64_t y = 0; y < h; ++y) to = std::copy_n(from + (y * w + x) * c, c, to);
  return out;
}

Tensor read_images(const fs::path& path) {
  const Tensor t = io::read_idx(path);
  const Shape& s = t.shape();
  if (t.dtype() != DType::u8 || s.rank() < 3 || (s.rank() == 4 && s[3] != 1 && s[3] != 3))
    throw Error(path.string(), fmt::format("expected images u8 [N,H,W] or [N,H,W,C], got {} {}",
                                           sfumato::name(t.dtype()), s.str()));
  return s.rank() == 4 ? t : t.reshape({s[0], s[1], s[2], 1});
}

}  // namespace

ImageDataset load_idx(const fs::path& path) {
  const fs::path labels = labels_of(path);
  const auto parsed = parse_idx_name(path.filename().string());
  const std::string set = parsed ? parsed->set : "";
  const bool emnist = io::lower_case(set).starts_with("emnist");
  ImageDataset dataset;
  dataset.images = read_images(path);
  if (emnist) {
    dataset.images = transposed(dataset.images);
    dataset.notes.push_back("EMNIST is published transposed: its pictures are turned upright");
  } else if (io::lower_case(path.string()).find("emnist") != std::string::npos) {
    dataset.notes.push_back(
        "pictures are taken as stored; EMNIST's, which are transposed, are turned upright only "
        "where their files are named as published (emnist-...)");
  }
  set_labels(dataset, labels.string(), read_labels(labels),
             emnist ? read_mapping(path.parent_path() / (set + "-mapping.txt"))
                    : std::map<std::int64_t, std::string>{});
  return dataset;
}

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
    sets.reserve(found.size());
    for (const auto& [key, ignored] : found) sets.push_back(key.empty() ? "(no name)" : key);
    throw Error(directory.string(),
                fmt::format("holds several data sets ({}): name one, as {}", fmt::join(sets, ", "),
                            (directory / found.rbegin()->first).string()));
  }
  return found.begin()->second;
}

}  // namespace sfumato::data
