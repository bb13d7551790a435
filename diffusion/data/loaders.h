// What the loaders of the several sources share; load_dataset chooses among them.
#pragma once
#include <filesystem>
#include <map>
#include <optional>
#include <string>
#include <string_view>

#include "diffusion/data/dataset.h"
#include "diffusion/data/left_out.h"

namespace sfumato::data {

inline const char* name(Split split) { return split == Split::train ? "train" : "test"; }

bool directory_exists(const std::filesystem::path& path);
// Whether there is something at `path` that is no directory. Throws Error for a link to nothing and
// when the system cannot tell: a file that is there must not count as missing.
bool file_exists(const std::filesystem::path& path);
std::string first_bytes(const std::filesystem::path& path);  // 300 of them, or fewer

// The entries of a directory in natural order, hidden ones included.
std::vector<std::filesystem::path> list(const std::filesystem::path& directory);

// Gives `dataset` the labels (i64 [N]) of file `where`, and the classes' names: those in `names`,
// else the numbers, "" for labels that no picture has, which a note names. Throws Error unless
// there is one for each image, in 0..65535.
void set_labels(ImageDataset& dataset, const std::string& where, const Tensor& labels,
                const std::map<std::int64_t, std::string>& names = {});

// For a file that serves for training and for testing.
void note_no_test_split(ImageDataset& dataset);

// An IDX file of images, with its labels.
ImageDataset load_idx(const std::filesystem::path& path);
// The images file of `split` among `directory`'s IDX files, of the set called `set` if not empty.
// Nothing when the directory holds no IDX images (of that set) at all.
std::optional<std::filesystem::path> find_idx(const std::filesystem::path& directory,
                                              std::string_view set, Split split);

// A .npy or .npz file, with its labels.
ImageDataset load_array(const std::filesystem::path& path, Split split);
// The images file of `split` among pairs NAME-train-imgs.npz, NAME-train-labels.npz. Nothing when
// the directory holds none.
std::optional<std::filesystem::path> find_arrays(const std::filesystem::path& directory,
                                                 Split split);

// A directory, whatever is in it.
ImageDataset load_directory(const std::filesystem::path& directory, const LoadOptions& options);

}  // namespace sfumato::data
