// Folders of pictures as data sets: which of them are splits, which classes, which neither.
#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <array>
#include <nlohmann/json.hpp>

#include "diffusion/data/loaders.h"
#include "diffusion/data/pictures.h"
#include "tensor/error.h"
#include "tensor/io/file_kind.h"
#include "tensor/io/json.h"

namespace sfumato::data {
namespace {

namespace fs = std::filesystem;
using namespace std::string_view_literals;

// Deeper than any data set; a link may lead in circles.
constexpr int kMostDepth = 16;

// What systems and programs leave in folders.
bool is_litter(std::string_view name) {
  constexpr std::array kNames = {"__macosx"sv,      "@eadir"sv,
                                 "thumbs.db"sv,     "ehthumbs.db"sv,
                                 "desktop.ini"sv,   "icon\r"sv,
                                 "lost+found"sv,    "$recycle.bin"sv,
                                 "#recycle"sv,      "system volume information"sv,
                                 "@synoeastream"sv, "__pycache__"sv,
                                 "#snapshot"sv,     "@tmp"sv};
  const std::string lower = io::lower_case(name);
  return name.starts_with('.') || std::find(kNames.begin(), kNames.end(), lower) != kNames.end();
}

// A folder's entries by what they are to a loader, in natural order.
struct Listing {
  std::vector<fs::path> pictures, folders;
  LeftOut left_out;
  bool foreign = false;  // there are pictures of formats that are not read
};

// `under`: how the folder is called in what is left out, "cat/" or "".
Listing list_folder(const fs::path& directory, const std::string& under) {
  Listing listing;
  for (const fs::path& entry : list(directory)) {
    const std::string name = entry.filename().string(), example = under + name;
    const std::string extension = io::lower_extension(entry);
    std::error_code error;
    const fs::file_status status = fs::status(entry, error);
    if (is_litter(name))
      listing.left_out.add("hidden and system files", example);
    else if (status.type() == fs::file_type::not_found)
      listing.left_out.add("links to nothing", example);
    else if (error)
      throw Error(entry.string(), fmt::format("cannot look at it: {}", error.message()));
    else if (fs::is_directory(status))
      listing.folders.push_back(entry);
    else if (!fs::is_regular_file(status))
      listing.left_out.add("devices and pipes", example);
    else if (io::is_picture_extension(extension))
      listing.pictures.push_back(entry);
    else if (extension.empty())
      listing.left_out.add("files without an extension", example);
    else
      listing.left_out.add(io::in_quotes(extension) + " files", example);
    listing.foreign |= io::is_foreign_picture_extension(extension);
  }
  return listing;
}

// Picture files in `directory` and all folders below it, also those of formats that are not read.
std::int64_t count_pictures(const fs::path& directory, int depth = 0) {
  if (depth == kMostDepth) return 0;
  std::int64_t count = 0;
  for (const fs::path& entry : list(directory)) {
    const std::string extension = io::lower_extension(entry);
    if (is_litter(entry.filename().string())) continue;
    if (directory_exists(entry))
      count += count_pictures(entry, depth + 1);
    else
      count += io::is_picture_extension(extension) || io::is_foreign_picture_extension(extension);
  }
  return count;
}

// Which split a folder of this name is, by the names that people give them.
enum class Part { none, train, validation, test };

Part part_of(const fs::path& folder) {
  const std::string name = io::lower_case(folder.filename().string());
  if (name == "train" || name == "training") return Part::train;
  if (name == "test" || name == "testing") return Part::test;
  if (name == "val" || name == "valid" || name == "validation") return Part::validation;
  return Part::none;
}

std::string names_of(const std::vector<fs::path>& folders) {
  constexpr std::size_t kMost = 8;
  std::vector<std::string> names;
  for (const fs::path& f : folders)
    if (names.size() < kMost) names.push_back(io::in_quotes(f.filename().string()));
  return fmt::format("{}{}", fmt::join(names, ", "), folders.size() > kMost ? ", ..." : "");
}

// Finds what to load in a folder that people give: through wrapping folders and splits.
class Search {
 public:
  Search(const fs::path& directory, const LoadOptions& options)
      : root_(directory), options_(options) {}

  ImageDataset load() {
    fs::path directory = root_;
    for (int depth = 0; depth < kMostDepth; ++depth) {
      if (auto found = load_files(directory)) return std::move(*found);
      Listing listing = list_folder(directory, under(directory));
      leave_out(listing);
      if (!listing.pictures.empty()) return load_flat(directory, listing);
      if (const auto next = step_into(directory, listing.folders)) {
        directory = *next;
      } else {
        return load_classes(directory, listing.folders);
      }
    }
    throw Error(root_.string(), "holds folders in folders without end (a link in a circle?)");
  }

 private:
  void leave_out(const Listing& listing) {
    left_out_.add(listing.left_out);
    foreign_ |= listing.foreign;
  }

  // "cat/" for ROOT/cat, for the names of what is left out.
  std::string under(const fs::path& directory) const {
    const std::string relative = directory.lexically_relative(root_).string();
    return relative == "." || relative.empty() ? "" : relative + "/";
  }

  // IDX files or arrays, where the directory holds such.
  std::optional<ImageDataset> load_files(const fs::path& directory) {
    std::optional<ImageDataset> dataset;
    if (const auto idx = find_idx(directory, "", options_.split))
      dataset = load_idx(*idx);
    else if (const auto arrays = find_arrays(directory, options_.split))
      dataset = load_array(*arrays, options_.split);
    if (!dataset) return dataset;
    if (const auto beside = list_folder(directory, under(directory)).pictures; !beside.empty())
      left_out_.add("pictures beside them", under(directory) + beside[0].filename().string(),
                    std::ssize(beside));
    if (!left_out_.empty()) notes_.push_back("left out: " + left_out_.text());
    dataset->notes.insert(dataset->notes.begin(), notes_.begin(), notes_.end());
    return dataset;
  }

  // The folder to go on in: a split's, or the one that wraps all others. Nothing when `folders` are
  // classes.
  std::optional<fs::path> step_into(const fs::path& directory,
                                    const std::vector<fs::path>& folders) {
    if (!parted_)
      if (auto chosen = choose_split(directory, folders)) return chosen;
    if (folders.size() != 1) return std::nullopt;
    const fs::path& only = folders[0];
    // train/train/*.png: the split is wrapped in its own name.
    const bool same_name =
        parted_ && part_of(only) != Part::none && part_of(only) == part_of(directory);
    if (!same_name && !list_folder(only, "").pictures.empty()) return std::nullopt;
    notes_.push_back(fmt::format("read from the folder {}, which is the only one",
                                 io::in_quotes(under(only).substr(0, under(only).size() - 1))));
    return only;
  }

  // Splits are recognised only where nothing else stands beside them: beside a folder "car", a
  // folder "train" is a class.
  std::optional<fs::path> choose_split(const fs::path& directory,
                                       const std::vector<fs::path>& folders) {
    std::map<Part, fs::path> parts;
    for (const fs::path& folder : folders) {
      const Part part = part_of(folder);
      // A folder of annotations is no class; an empty one may be a class to come.
      if (part == Part::none && !list(folder).empty() && count_pictures(folder) == 0) continue;
      if (part == Part::none) return std::nullopt;
      if (const auto [at, is_new] = parts.emplace(part, folder); !is_new)
        throw Error(directory.string(),
                    fmt::format("holds both {} and {}, which mean the same split: leave one",
                                io::in_quotes(at->second.filename().string()),
                                io::in_quotes(folder.filename().string())));
    }
    if (parts.empty()) return std::nullopt;
    parted_ = true;
    std::optional<fs::path> chosen;
    for (Part part : options_.split == Split::train ? std::vector{Part::train}
                                                    : std::vector{Part::test, Part::validation})
      if (!chosen && parts.contains(part)) chosen = parts.at(part);
    if (!chosen)
      throw Error(directory.string(),
                  fmt::format("has no {} split: of folders called train, test or val it holds "
                              "only {} (as classes, such folders need another one beside them)",
                              name(options_.split), names_of(folders)));
    std::vector<fs::path> others;
    for (const fs::path& folder : folders)
      if (folder != *chosen) others.push_back(folder);
    notes_.push_back(fmt::format("the folder {} is taken as the {} split{}",
                                 io::in_quotes(chosen->filename().string()), name(options_.split),
                                 others.empty() ? "" : "; not read: " + names_of(others)));
    return chosen;
  }

  // Pictures without classes.
  ImageDataset load_flat(const fs::path& directory, const Listing& listing) {
    for (const fs::path& folder : listing.folders) {
      if (const std::int64_t count = count_pictures(folder))
        throw Error(directory.string(),
                    fmt::format("holds both pictures ({}) and folders of pictures ({}, {} of "
                                "them), expected one or the other",
                                io::in_quotes(listing.pictures[0].filename().string()),
                                io::in_quotes(folder.filename().string()), count));
      left_out_.add("folders without pictures", under(folder));
    }
    return read(directory, listing.pictures);
  }

  ImageDataset load_classes(const fs::path& directory, const std::vector<fs::path>& folders) {
    std::vector<fs::path> files;
    std::vector<std::int64_t> labels;
    std::vector<std::string> names;
    for (const fs::path& folder : folders) {
      const std::string name = folder.filename().string();
      const Listing listing = list_folder(folder, under(folder));
      leave_out(listing);
      for (const fs::path& deeper : listing.folders) {
        const std::int64_t count = count_pictures(deeper);
        left_out_.add(
            count ? "pictures in folders inside class folders" : "folders inside class folders",
            under(deeper), std::max<std::int64_t>(1, count));
      }
      if (listing.pictures.empty()) {
        left_out_.add("class folders without pictures of their own", under(folder));
        continue;
      }
      expect_utf8(folder, name);
      files.insert(files.end(), listing.pictures.begin(), listing.pictures.end());
      labels.resize(files.size(), static_cast<std::int64_t>(names.size()));
      names.push_back(name);
    }
    if (files.empty()) throw nothing_found(directory, folders);
    ImageDataset dataset = read(directory, files);
    dataset.labels = Tensor::from(Shape{static_cast<std::int64_t>(labels.size())},
                                  std::span<const std::int64_t>(labels));
    dataset.classes = static_cast<std::int64_t>(names.size());
    dataset.class_names = std::move(names);
    return dataset;
  }

  // A run's record is JSON, which holds nothing else.
  static void expect_utf8(const fs::path& folder, const std::string& name) {
    try {
      static_cast<void>(io::Json(name).dump());
    } catch (const io::Json::exception&) {
      throw Error(folder.parent_path().string(),
                  fmt::format("the class folder {} has a name that is not valid UTF-8: rename it",
                              io::in_quotes(name)));
    }
  }

  ImageDataset read(const fs::path& directory, const std::vector<fs::path>& files) {
    if (options_.split == Split::test && !parted_)
      throw Error(root_.string(),
                  "has no test split: expected a folder \"test\" or \"val\" beside \"train\", and "
                  "nothing else");
    Pictures pictures = read_pictures(directory, files, options_.background, options_.size);
    ImageDataset dataset;
    dataset.images = std::move(pictures.images);
    dataset.notes = std::move(notes_);
    if (!left_out_.empty()) dataset.notes.push_back("left out: " + left_out_.text());
    dataset.notes.insert(dataset.notes.end(), pictures.notes.begin(), pictures.notes.end());
    return dataset;
  }

  Error nothing_found(const fs::path& directory, const std::vector<fs::path>& folders) const {
    std::string advice;
    const auto part = std::find_if(folders.begin(), folders.end(), [](const fs::path& f) {
      return part_of(f) != Part::none && count_pictures(f) > 0;
    });
    const auto full = std::find_if(folders.begin(), folders.end(),
                                   [](const fs::path& f) { return count_pictures(f) > 0; });
    if (part != folders.end())
      advice = fmt::format("; if {} is a split, other folders beside it must go: give {}",
                           io::in_quotes(part->filename().string()), part->string());
    else if (full != folders.end())
      advice = fmt::format("; its folders hold folders: give one of them, as {}", full->string());
    const std::string text = left_out_.text();
    if (advice.empty() && foreign_)
      advice = "; other formats can be converted: mogrify -format png FILES";
    return Error(directory.string(),
                 fmt::format("holds no PNG or JPEG pictures, IDX files or .npz sets{}{}",
                             text.empty() ? ": it is empty" : "; it holds " + text, advice));
  }

  fs::path root_;
  const LoadOptions& options_;
  bool foreign_ = false;
  bool parted_ = false;  // a split's folder has been entered
  LeftOut left_out_;
  std::vector<std::string> notes_;
};

}  // namespace

ImageDataset load_directory(const fs::path& directory, const LoadOptions& options) {
  return Search(directory, options).load();
}

}  // namespace sfumato::data
