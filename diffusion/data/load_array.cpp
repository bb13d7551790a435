// NumPy's files as data sets.
#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <array>

#include "diffusion/data/array_values.h"
#include "diffusion/data/loaders.h"
#include "tensor/error.h"
#include "tensor/io/file_kind.h"
#include "tensor/io/json.h"
#include "tensor/io/zip.h"

namespace sfumato::data {
namespace {

namespace fs = std::filesystem;

// The pairs of arrays that people put into a .npz file, by the split they mean. Names are compared
// in lower case.
struct Pair {
  enum class Of { train, validation, test, all } of;
  std::string_view images, labels;
};
constexpr std::array kPairs = {
    Pair{Pair::Of::train, "x_train", "y_train"},  // Keras
    Pair{Pair::Of::test, "x_test", "y_test"},
    Pair{Pair::Of::validation, "x_val", "y_val"},
    Pair{Pair::Of::validation, "x_valid", "y_valid"},
    Pair{Pair::Of::train, "train_images", "train_labels"},  // MedMNIST
    Pair{Pair::Of::test, "test_images", "test_labels"},
    Pair{Pair::Of::validation, "val_images", "val_labels"},
    Pair{Pair::Of::train, "train_x", "train_y"},
    Pair{Pair::Of::test, "test_x", "test_y"},
    Pair{Pair::Of::train, "images_train", "labels_train"},
    Pair{Pair::Of::test, "images_test", "labels_test"},
    Pair{Pair::Of::train, "training_images", "training_labels"},
    Pair{Pair::Of::all, "images", "labels"},
    Pair{Pair::Of::all, "imgs", "labels"},
    Pair{Pair::Of::all, "x", "y"},
    Pair{Pair::Of::all, "data", "labels"},
    Pair{Pair::Of::all, "data", "target"},
    Pair{Pair::Of::all, "arr_0", "arr_1"},  // numpy.savez(file, images, labels)
};

class Npz {
 public:
  explicit Npz(const fs::path& path) : where_(path.string()), zip_(path) {
    for (const io::ZipFile::Entry& e : zip_.entries())
      if (!e.name.ends_with(".npy")) {
        const auto kind = io::recognise("PK\3\4", path);
        throw Error(where_, fmt::format("is {}, not a .npz file of NumPy arrays (it holds {}): {}",
                                        kind->name, io::in_quotes(e.name), kind->advice));
      }
    if (zip_.entries().empty()) throw Error(where_, "holds no arrays");
  }

  bool has(std::string_view key) const { return find(key) != nullptr; }
  std::size_t count() const { return zip_.entries().size(); }
  io::NpyArray read(std::string_view key) const { return read(*find(key)); }
  io::NpyArray only() const { return read(zip_.entries()[0]); }
  // "x" (uint8 [3, 28, 28]) would need every array unpacked; the names tell enough.
  std::string keys() const {
    constexpr std::size_t kMost = 10;
    std::vector<std::string> names;
    for (const io::ZipFile::Entry& e : zip_.entries())
      if (names.size() < kMost) names.push_back(io::in_quotes(key_of(e)));
    return fmt::format("{}{}", fmt::join(names, ", "), count() > kMost ? ", ..." : "");
  }
  // The arrays that belong to no pair.
  std::string unknown() const {
    std::vector<std::string> names;
    for (const io::ZipFile::Entry& e : zip_.entries()) {
      const std::string key = io::lower_case(key_of(e));
      if (std::none_of(kPairs.begin(), kPairs.end(),
                       [&](const Pair& p) { return p.images == key || p.labels == key; }))
        names.push_back(io::in_quotes(key_of(e)));
    }
    return fmt::format("{}", fmt::join(names, ", "));
  }
  std::string where(std::string_view key) const { return where_ + ": " + std::string(key); }

 private:
  static std::string key_of(const io::ZipFile::Entry& e) {
    return e.name.substr(0, e.name.size() - std::string_view(".npy").size());
  }
  const io::ZipFile::Entry* find(std::string_view key) const {
    for (const io::ZipFile::Entry& e : zip_.entries())
      if (io::lower_case(key_of(e)) == key) return &e;
    return nullptr;
  }
  io::NpyArray read(const io::ZipFile::Entry& e) const {
    return io::read_any_npy(where_ + ": " + io::in_quotes(key_of(e)), zip_.read(e));
  }

  std::string where_;
  io::ZipFile zip_;
};

// The pair that serves for `split`. Nothing when the names say nothing.
const Pair* choose(const Npz& npz, Split split) {
  using Of = Pair::Of;
  const auto first = [&](Of of) {
    const auto found = std::find_if(kPairs.begin(), kPairs.end(),
                                    [&](const Pair& p) { return p.of == of && npz.has(p.images); });
    return found == kPairs.end() ? nullptr : &*found;
  };
  if (split == Split::train) {
    const Pair* train = first(Of::train);
    return train ? train : first(Of::all);
  }
  for (Of of : {Of::test, Of::validation, Of::all})
    if (const Pair* pair = first(of)) return pair;
  return nullptr;
}

// Where the labels of an array file are: NAME_labels beside NAME, or "labels" for "imgs" in its
// name (KMNIST). Nothing when there are none.
std::optional<fs::path> labels_beside(const fs::path& images) {
  const std::string stem = images.stem().string();
  std::vector<std::string> stems{stem + "_labels"};
  if (const std::size_t at = stem.rfind("imgs"); at != std::string::npos)
    stems.push_back(std::string(stem).replace(at, 4, "labels"));
  for (const std::string& s : stems)
    for (const char* extension : {".npy", ".npz"})
      if (const fs::path path = images.parent_path() / (s + extension); file_exists(path))
        return path;
  return std::nullopt;
}

io::NpyArray read_single(const fs::path& path) {
  if (!first_bytes(path).starts_with("PK")) return io::read_any_npy(path);
  const Npz npz(path);
  if (npz.count() != 1)
    throw Error(path.string(), fmt::format("expected one array, got {}", npz.keys()));
  return npz.only();
}

ImageDataset from_single(const fs::path& path, const io::NpyArray& images, Split split) {
  ImageDataset dataset;
  dataset.images = images_from_array(path.string(), images, dataset.notes);
  if (const auto labels = labels_beside(path)) {
    const std::string where = labels->string();
    set_labels(
        dataset, where,
        labels_from_array(where, read_single(*labels), dataset.images.dim(0), dataset.notes));
  }
  if (split == Split::test) note_no_test_split(dataset);
  return dataset;
}

ImageDataset load_npz(const fs::path& path, Split split) {
  const Npz npz(path);
  const Pair* pair = choose(npz, split);
  if (npz.count() == 1 && (!pair || pair->of == Pair::Of::all))
    return from_single(path, npz.only(), split);
  if (!pair && split == Split::test && choose(npz, Split::train))
    throw Error(path.string(), fmt::format("has no test pictures, it holds {}", npz.keys()));
  // arr_0, arr_1, arr_2 ... say nothing: only a pair is certain.
  if (!pair || (pair->images == "arr_0" && npz.count() > 2))
    throw Error(path.string(),
                fmt::format("holds the arrays {}, expected x_train and y_train, train_images and "
                            "train_labels, images and labels, or a single array; in Python: "
                            "d = numpy.load(FILE); numpy.savez(\"y.npz\", images=d[...], "
                            "labels=d[...])",
                            npz.keys()));
  ImageDataset dataset;
  dataset.images =
      images_from_array(npz.where(pair->images), npz.read(pair->images), dataset.notes);
  // A pair that shares its images' name with another may have its labels under the other's.
  for (const Pair& p : kPairs)
    if (!dataset.labels.defined() && p.images == pair->images && npz.has(p.labels))
      set_labels(dataset, npz.where(p.labels),
                 labels_from_array(npz.where(p.labels), npz.read(p.labels), dataset.images.dim(0),
                                   dataset.notes));
  if (const std::string others = npz.unknown(); !others.empty())
    dataset.notes.push_back(fmt::format("left out: the arrays {}", others));
  if (split == Split::test && pair->of != Pair::Of::test)
    dataset.notes.push_back(fmt::format("{} serves as test pictures: there are none of their own",
                                        io::in_quotes(pair->images)));
  return dataset;
}

}  // namespace

ImageDataset load_array(const fs::path& path, Split split) {
  return first_bytes(path).starts_with("PK") ? load_npz(path, split)
                                             : from_single(path, io::read_any_npy(path), split);
}

std::optional<fs::path> find_arrays(const fs::path& directory, Split split) {
  std::vector<fs::path> found;
  bool any = false;
  for (const fs::path& entry : list(directory))
    for (const char* of : {"train", "test"}) {
      const std::string file = entry.filename().string();
      if (!file.ends_with(fmt::format("{}-imgs.npz", of)) || file.starts_with('.')) continue;
      any = true;
      if (of == std::string_view(name(split))) found.push_back(entry);
    }
  if (!any) return std::nullopt;
  if (found.empty())
    throw Error(directory.string(), fmt::format("holds no ...-{}-imgs.npz", name(split)));
  if (found.size() > 1)
    throw Error(directory.string(),
                fmt::format("holds several data sets: name one, as {}", found[0].string()));
  return found[0];
}

}  // namespace sfumato::data
