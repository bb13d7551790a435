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

namespace sfumato::io {

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
  Background background = {};  // for transparent pixels of PNG files
  std::optional<Extent> size =
      {};  // each picture is cropped to this aspect and resized to this size
};

// `path` is one of
//  - a directory with an IDX pair, raw or gzip-compressed: [NAME-]train-images-idx3-ubyte[.gz] and
//    [NAME-]train-labels-idx1-ubyte[.gz]; for Split::test, t10k or test instead of train. Where
//    several NAMEs stand together (EMNIST), `path` is the directory and NAME:
//    "emnist/emnist-digits".
//  - a directory of PNG and JPEG files: in sub-directories, which are the classes in natural order
//    (2 before 10), or all directly in it, without labels.
//  - an IDX file of images; its labels file has "labels-idx1" for "images-idx3" in its name
//  - a .npy file, u8 [N,H,W] or [N,H,W,C]; its labels, if any, are STEM_labels.npy (i64 or u8 [N])
// A path that names a file is taken as it is, whatever the split. Throws Error naming the file for
// anything missing, empty, unreadable or contradictory; what is left out is named in `notes`.
ImageDataset load_dataset(const std::filesystem::path& path, const LoadOptions& options = {});

// The classes in one line, "0 cat, 1 dog"; only the numbers where the names are the numbers, and at
// most 40 of them. Labels without pictures are left out. Empty without labels.
std::string class_list(const ImageDataset& dataset);

// Pads height and width with 0 to the next multiple of m, evenly (the odd pixel below and to the
// right). Throws unless m >= 1.
void pad_to_multiple(ImageDataset& dataset, std::int64_t m);

}  // namespace sfumato::io
