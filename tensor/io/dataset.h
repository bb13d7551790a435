// Labelled pictures to train on, from what people have: MNIST's IDX files, a folder of PNG or JPEG
// files, a NumPy array. To add a source: a `load_...` in dataset.cpp and its line in load_dataset.
#pragma once
#include <cstdint>
#include <filesystem>
#include <string>
#include <vector>

#include "tensor/tensor.h"

namespace sfumato::io {

struct ImageDataset {
  Tensor images;                         // u8 [N,H,W,C], C = 1 or 3, N >= 1
  Tensor labels;                         // i64 [N] in [0, classes); undefined without labels
  std::vector<std::string> class_names;  // `classes` of them; "" for a label that no picture has
  std::int64_t classes = 0;              // 0 without labels
  std::vector<std::string> notes;        // what was left out or assumed, one line each, for the user
};

enum class Split { train, test };

// `path` is one of
//  - a directory with an IDX pair, raw or gzip-compressed: [NAME-]train-images-idx3-ubyte[.gz] and
//    [NAME-]train-labels-idx1-ubyte[.gz]; for Split::test, t10k or test instead of train. Where
//    several NAMEs stand together (EMNIST), `path` is the directory and NAME:
//    "emnist/emnist-digits". Pixels come as stored (EMNIST stores its pictures transposed).
//  - a directory of .png, .jpg and .jpeg files, all of one size: in sub-directories, which are the
//    classes in sorted order, or all directly in it, without labels. With sub-directories "train"
//    or "test", `split` chooses between those; a directory without them is the train split. Grey
//    becomes RGB when any picture is in colour. Hidden and other files are skipped.
//  - an IDX file of images; its labels file has "labels-idx1" for "images-idx3" in its name
//  - a .npy file, u8 [N,H,W] or [N,H,W,C]; its labels, if any, are STEM_labels.npy (i64 or u8 [N])
// A path that names a file is taken as it is, whatever the split. Throws Error naming the file for
// anything missing, empty, unreadable or contradictory; nothing is skipped over silently.
ImageDataset load_dataset(const std::filesystem::path& path, Split split = Split::train);

// Pads height and width with 0 to the next multiple of m, evenly (the odd pixel below and to the
// right). Throws unless m >= 1.
void pad_to_multiple(ImageDataset& dataset, std::int64_t m);

}  // namespace sfumato::io
