// Labelled pictures to train on, from what people have: MNIST's IDX files, folders of PNG or JPEG
// files, NumPy arrays. To add a source: a `load_...` of its own and its line in load_dataset.
#pragma once
#include <cstdint>
#include <filesystem>
#include <optional>
#include <string>
#include <vector>

#include "tensor/io/image.h"
#include "tensor/tensor.h"

namespace sfumato::data {

struct ImageDataset {
  Tensor images;                         // u8 [N,H,W,C], C = 1 or 3, N >= 1
  Tensor labels;                         // i64 [N] in [0, classes); undefined without labels
  std::vector<std::string> class_names;  // `classes` of them; "" for a label that no picture has
  std::int64_t classes = 0;              // 0 without labels
  std::vector<std::string> notes;  // what was left out or assumed, one line each, for the user
};

enum class Split { train, test };

struct LoadOptions {
  Split split = Split::train;
  io::Background background = {};  // for transparent pixels of PNG files
  std::optional<io::Extent> size =
      {};  // each picture is cropped to this aspect and resized to this size
};

// `path` is one of
//  - a directory with an IDX pair, raw or gzip-compressed: [NAME-]train-images-idx3-ubyte[.gz] and
//    [NAME-]train-labels-idx1-ubyte[.gz]; for Split::test, t10k or test instead of train. Where
//    several NAMEs stand together (EMNIST), `path` is the directory and NAME:
//    "emnist/emnist-digits". The pictures of sets called emnist-... are turned upright (they are
//    published transposed), their classes named by NAME-mapping.txt where it is there.
//  - a directory with a pair NAME-train-imgs.npz, NAME-train-labels.npz; test instead of train for
//    Split::test (KMNIST).
//  - a directory of PNG and JPEG files: in sub-directories, which are the classes in natural order
//    (2 before 10), or all directly in it, without labels. What a file is, its content says; its
//    extension (.png, .jpg, .jpeg, .jpe, .jfif) only that it is a picture. All have one size, or
//    options.size is given. Sub-directories train or training, test or testing, and val, valid or
//    validation (in any case of letters) are splits where nothing else stands beside them, and
//    classes where something does; val serves as the test split where there is none. A single
//    sub-directory that holds directories is stepped into.
//  - an IDX file of images; its labels file has "labels-idx1" for "images-idx3" in its name
//  - a .npy file of images; its labels, if any, are in STEM_labels.npy. What is understood:
//    array_values.h.
//  - a .npz file with x_train, y_train, x_test, y_test (Keras), train_images, train_labels, ...
//    (MedMNIST), images, labels, or a single array, whose labels are beside it as above.
// A path that names a file without splits is taken as it is, whatever the split. Throws Error
// naming the file for anything missing, empty, unreadable or contradictory, and for more than
// data_budget(), before it is decoded. What is left out, assumed or converted is named in `notes`,
// and so are labels without pictures and pictures of a single colour.
ImageDataset load_dataset(const std::filesystem::path& path, const LoadOptions& options = {});

// The classes in one line, "0 cat, 1 dog"; only the numbers where the names are the numbers, and at
// most 40 of them. Labels without pictures are left out. Empty without labels.
std::string class_list(const ImageDataset& dataset);

// The labels that some picture has, ascending.
std::vector<std::int64_t> used_labels(const ImageDataset& dataset);

// Makes a test split comparable with its train split: its labels are renumbered so that each class
// has the number that the class of the same name has in `train`, and grey becomes RGB where `train`
// is in colour. Throws Error for a class that `train` has not, for labels on one side only, and
// where the pictures differ in size.
void match_split(ImageDataset& test, const ImageDataset& train);

// Pads height and width with 0 to the next multiple of m, evenly (the odd pixel below and to the
// right). Throws unless m >= 1.
void pad_to_multiple(ImageDataset& dataset, std::int64_t m);

}  // namespace sfumato::data
