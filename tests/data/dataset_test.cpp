#include "diffusion/data/dataset.h"

#include <fmt/format.h>
#include <sys/resource.h>

#include <cstdlib>
#include <numeric>

#include "tensor/io/npy.h"
#include "tensor/sanitizers.h"
#include "tests/io/bytes.h"
#include "tests/io/io_test.h"

namespace sfumato::data {
namespace {

using namespace io;  // the files and directories of tests/io

namespace fs = std::filesystem;
using Labels = std::vector<std::int64_t>;

class DatasetTest : public IoTest {
 protected:
  // One value all over. Not through write_png, whose fsync takes long for hundreds of files.
  void picture(const std::string& name, int height, int width, int channels, int value) {
    std::string rows;
    for (int y = 0; y < height; ++y)
      rows +=
          '\0' + std::string(static_cast<std::size_t>(width * channels), static_cast<char>(value));
    put(name, png(static_cast<std::uint32_t>(width), static_cast<std::uint32_t>(height),
                  {8, static_cast<char>(channels == 3 ? 2 : 0)}, rows));
  }
  void idx_pair(const std::string& prefix, const std::string& end, std::uint32_t n) {
    put(prefix + "-images-idx3-ubyte" + end, idx({n, 2, 2}, std::string(4 * n, 'i')));
    std::string labels(n, '\0');
    std::iota(labels.begin(), labels.end(), '\0');
    put(prefix + "-labels-idx1-ubyte" + end, idx({n}, labels));
  }
};

Labels labels_of(const ImageDataset& d) {
  return {d.labels.data<std::int64_t>(), d.labels.data<std::int64_t>() + d.labels.size()};
}

TEST_F(DatasetTest, LoadsMnist) {
  const fs::path mnist = fs::path(SFUMATO_SOURCE_DIR) / "data" / "mnist";
  const ImageDataset train = load_dataset(mnist);
  EXPECT_EQ(train.images.shape(), (Shape{60000, 28, 28, 1}));
  EXPECT_EQ(train.labels.shape(), (Shape{60000}));
  EXPECT_EQ(train.classes, 10);
  EXPECT_EQ(train.class_names[9], "9");
  EXPECT_EQ(train.labels.data<std::int64_t>()[0], 5);
  const auto pixels = train.images.values<std::uint8_t>();
  const double mean = std::accumulate(pixels.begin(), pixels.end(), 0.0) / train.images.size();
  EXPECT_NEAR(mean / 255, 0.1307, 1e-4);  // the mean that everybody normalises MNIST with

  const ImageDataset test = load_dataset(mnist, {.split = Split::test});
  EXPECT_EQ(test.images.shape(), (Shape{10000, 28, 28, 1}));
  const ImageDataset direct = load_dataset(mnist / "t10k-images-idx3-ubyte.gz");
  EXPECT_EQ(direct.images.dim(0), 10000);
}

TEST_F(DatasetTest, FindsIdxPairsByName) {
  idx_pair("emnist-digits-train", "", 3);
  idx_pair("emnist-digits-test", "", 2);
  EXPECT_EQ(load_dataset(directory_).images.dim(0), 3);
  EXPECT_EQ(load_dataset(directory_, {.split = Split::test}).images.dim(0), 2);
  idx_pair("emnist-letters-train", ".gz", 4);  // raw in spite of its name: content decides
  expect_error(directory_.string(), "several data sets (emnist-digits, emnist-letters)",
               [&] { load_dataset(directory_); });
  EXPECT_EQ(load_dataset(at("emnist-letters")).images.dim(0), 4);
  EXPECT_EQ(load_dataset(at("emnist-digits"), {.split = Split::test}).images.dim(0), 2);
  EXPECT_EQ(load_dataset(at("emnist-letters-train-images-idx3-ubyte.gz")).classes, 4);
  expect_error("emnist-letters", "no test images",
               [&] { load_dataset(at("emnist-letters"), {.split = Split::test}); });
  expect_error("emnist", "no such file or directory", [&] { load_dataset(at("emnist")); });
}

// Every row of README's table of published sets, under the names they are published with.
TEST_F(DatasetTest, PublishedIdxSets) {
  for (const char* set : {"mnist", "fashion", "kmnist"}) {  // the same names in a folder each
    idx_pair(fmt::format("{}/train", set), ".gz", 10);
    idx_pair(fmt::format("{}/t10k", set), ".gz", 10);
    EXPECT_EQ(load_dataset(at(set)).classes, 10);
    EXPECT_EQ(load_dataset(at(set), {.split = Split::test}).classes, 10);
  }
  for (const char* set : {"byclass", "bymerge", "balanced", "letters", "digits", "mnist"}) {
    idx_pair(fmt::format("emnist/gzip/emnist-{}-train", set), ".gz", 10);
    idx_pair(fmt::format("emnist/gzip/emnist-{}-test", set), ".gz", 10);
  }
  for (const char* set : {"byclass", "bymerge", "balanced", "letters", "digits", "mnist"}) {
    const fs::path path = at(fmt::format("emnist/gzip/emnist-{}", set));
    EXPECT_EQ(load_dataset(path).classes, 10);
    EXPECT_EQ(load_dataset(path, {.split = Split::test}).classes, 10);
  }
  // QMNIST: labels [N,8] of 32 bits, of which the first is the class.
  std::string labels = {0, 0, 12, 2};
  labels += big_endian(2) + big_endian(8);
  for (std::uint32_t i = 0; i < 16; ++i) labels += big_endian(i == 0 ? 7 : i == 8 ? 3 : 1000 + i);
  for (const char* split : {"train", "test"}) {
    put(fmt::format("qmnist/qmnist-{}-images-idx3-ubyte.gz", split),
        gzip(idx({2, 2, 2}, "abcdefgh")));
    put(fmt::format("qmnist/qmnist-{}-labels-idx2-int.gz", split), gzip(labels));
  }
  EXPECT_EQ(labels_of(load_dataset(at("qmnist"))), (Labels{7, 3}));
  EXPECT_EQ(labels_of(load_dataset(at("qmnist"), {.split = Split::test})), (Labels{7, 3}));
}

TEST_F(DatasetTest, EmnistIsTurnedUprightAndNamed) {
  put("emnist-letters-train-images-idx3-ubyte.gz", gzip(idx({2, 2, 3}, "abcdefghijkl")));
  put("emnist-letters-train-labels-idx1-ubyte.gz", gzip(idx({2}, "\x02\x01")));
  ImageDataset d = load_dataset(directory_);
  EXPECT_EQ(d.images.shape(), (Shape{2, 3, 2, 1}));
  const auto* pixels = d.images.data<std::uint8_t>();
  EXPECT_EQ(std::string(pixels, pixels + 12), "adbecfgjhkil");
  EXPECT_EQ(d.class_names, (std::vector<std::string>{"", "1", "2"}));
  EXPECT_EQ(d.notes[0], "EMNIST is published transposed: its pictures are turned upright");
  EXPECT_EQ(d.notes[1], "1 of 3 labels has no picture: 0");
  EXPECT_EQ(class_list(d), "1, 2");
  put("emnist-letters-mapping.txt", "1 65 97\r\n2 66 98\n");
  d = load_dataset(at("emnist-letters-train-images-idx3-ubyte.gz"));
  EXPECT_EQ(d.class_names, (std::vector<std::string>{"", "A", "B"}));
  EXPECT_EQ(class_list(d), "1 \"A\", 2 \"B\"");
  for (const char* bad : {"1", "x 65", "1 65\n2 200"}) {
    put("emnist-letters-mapping.txt", bad);
    expect_error("emnist-letters-mapping.txt",
                 "expected a label and the number of an ASCII character",
                 [&] { load_dataset(directory_); });
  }
  // Under another name nothing is turned, and that is said.
  idx_pair("EMNIST/train", "", 2);
  d = load_dataset(at("EMNIST"));
  EXPECT_NE(d.notes[0].find("taken as stored"), std::string::npos);
}

TEST_F(DatasetTest, SizeHoldsForEverySource) {
  idx_pair("train", "", 3);
  const ImageDataset d = load_dataset(directory_, {.size = io::Extent{4, 3}});
  EXPECT_EQ(d.images.shape(), (Shape{3, 4, 3, 1}));
  EXPECT_EQ(d.notes[0], "pictures of 2 x 2 are cropped and resized to 4 x 3 (height x width)");
}

TEST_F(DatasetTest, PromisesBeyondTheMemoryAreRefused) {
  // A sanitizer needs more addresses than that.
  if (kAddressSanitizer || kThreadSanitizer) GTEST_SKIP();
#if defined(__linux__)
  // 150 MB in 150 KB of gzip; 256 MB may be addressed, half of them by data.
  put("train-images-idx3-ubyte.gz", gzip(idx({150, 1000, 1000}, std::string(150000000, '\0'))));
  put("train-labels-idx1-ubyte", idx({150}, std::string(150, '\0')));
  const auto load_within = [&] {
    const rlimit limit{std::uint64_t{1} << 28, RLIM_INFINITY};
    setrlimit(RLIMIT_AS, &limit);
    const std::string message = message_of([&] { load_dataset(directory_); });
    const bool right = message.find("more than the 128 MiB that data may") != std::string::npos;
    std::_Exit(right ? 0 : 1);
  };
  EXPECT_EXIT(load_within(), testing::ExitedWithCode(0), "");
#endif
}

TEST_F(DatasetTest, HalfCompressedPairIsFound) {
  idx_pair("train", "", 3);
  fs::rename(at("train-labels-idx1-ubyte"), at("train-labels-idx1-ubyte.gz"));
  EXPECT_EQ(load_dataset(directory_).classes, 3);
  fs::rename(at("train-labels-idx1-ubyte.gz"), at("train-labels-idx1-ubyte"));
  fs::rename(at("train-images-idx3-ubyte"), at("train-images-idx3-ubyte.gz"));
  EXPECT_EQ(load_dataset(directory_).classes, 3);
}

TEST_F(DatasetTest, RefusesContradictoryIdxPairs) {
  idx_pair("train", "", 3);
  put("train-labels-idx1-ubyte", idx({2}, "ab"));
  expect_error("train-labels-idx1-ubyte", "2 labels for 3 images",
               [&] { load_dataset(directory_); });
  put("train-labels-idx1-ubyte", idx({3, 1, 1}, "abc"));
  expect_error("train-labels-idx1-ubyte", "expected labels", [&] { load_dataset(directory_); });
  fs::remove(at("train-labels-idx1-ubyte"));
  expect_error("train-images-idx3-ubyte", "train-labels-idx1-ubyte is missing",
               [&] { load_dataset(directory_); });
  put("train-labels-idx1-ubyte", idx({3}, "abc"));
  put("train-images-idx3-ubyte", idx({3}, "abc"));
  expect_error("train-images-idx3-ubyte", "expected images", [&] { load_dataset(directory_); });
  put("other", "abc");
  expect_error("other", "expected \"images-idx3\"", [&] { load_dataset(at("other")); });
}

TEST_F(DatasetTest, LoadsFolderWithClasses) {
  picture("dog/1.png", 2, 3, 1, 10);
  picture("cat/2.PNG", 2, 3, 1, 20);
  picture("cat/1.png", 2, 3, 1, 30);
  put("cat/notes.txt", "x");
  put(".DS_Store", "x");
  put("README.md", "x");
  const ImageDataset d = load_dataset(directory_);
  EXPECT_EQ(d.images.shape(), (Shape{3, 2, 3, 1}));
  EXPECT_EQ(d.class_names, (std::vector<std::string>{"cat", "dog"}));
  EXPECT_EQ(d.classes, 2);
  EXPECT_EQ(labels_of(d), (Labels{0, 0, 1}));
  EXPECT_EQ(d.images.data<std::uint8_t>()[0], 30);
  EXPECT_EQ(d.images.data<std::uint8_t>()[6], 20);
  expect_error(directory_.string(), "has no test split",
               [&] { load_dataset(directory_, {.split = Split::test}); });
}

TEST_F(DatasetTest, LoadsSplitFolders) {
  picture("train/a/1.png", 1, 1, 1, 1);
  picture("test/a/1.png", 1, 1, 1, 2);
  EXPECT_EQ(load_dataset(directory_).images.data<std::uint8_t>()[0], 1);
  EXPECT_EQ(load_dataset(directory_, {.split = Split::test}).images.data<std::uint8_t>()[0], 2);
  fs::remove_all(at("train"));
  expect_error(directory_.string(), "has no train split", [&] { load_dataset(directory_); });
}

TEST_F(DatasetTest, GreyBecomesColourWhenAnyIs) {
  for (int colour = 0; colour < 130; colour += 43) {  // in the first batch, at its end, in the next
    const std::string folder = std::to_string(colour);
    for (int i = 0; i < 130; ++i) {
      std::string name = std::to_string(1000 + i);
      picture(folder + "/" + name + ".png", 2, 2, i == colour ? 3 : 1, i);
    }
    const ImageDataset d = load_dataset(at(folder));
    EXPECT_FALSE(d.labels.defined());
    EXPECT_EQ(d.classes, 0);
    ASSERT_EQ(d.images.shape(), (Shape{130, 2, 2, 3}));
    for (int i = 0; i < 130 * 12; ++i) ASSERT_EQ(d.images.data<std::uint8_t>()[i], i / 12) << i;
  }
}

TEST_F(DatasetTest, RefusesBrokenFolders) {
  const auto refuse = [&](const char* file, const char* text) {
    expect_error(file, text, [&] { load_dataset(directory_); });
  };
  refuse(directory_.c_str(), "no PNG or JPEG pictures, IDX files or .npz sets");
  picture("a/1.png", 2, 3, 1, 0);
  picture("a/2.png", 3, 2, 1, 0);
  picture("a/3.png", 4, 4, 1, 0);
  refuse("a/2.png", "3 x 2 (1 of them");
  fs::remove(at("a/2.png"));
  put("a/3.png", "not a picture");
  refuse("a/3.png", "expected a PNG or JPEG");
  fs::remove(at("a/3.png"));
  picture("1.png", 2, 3, 1, 0);
  refuse(directory_.c_str(), "both pictures (\"1.png\") and folders of pictures (\"a\"");
}

TEST_F(DatasetTest, LoadsNpy) {
  io::write_npy(at("x.npy"), Tensor::full({3, 2, 2}, 7, DType::u8));
  EXPECT_EQ(load_dataset(at("x.npy")).images.shape(), (Shape{3, 2, 2, 1}));
  EXPECT_FALSE(load_dataset(at("x.npy")).labels.defined());
  io::write_npy(at("x_labels.npy"), Tensor::from<std::int64_t>({3}, {0, 4, 1}));
  const ImageDataset d = load_dataset(at("x.npy"));
  EXPECT_EQ(labels_of(d), (Labels{0, 4, 1}));
  EXPECT_EQ(d.classes, 5);
  io::write_npy(at("x_labels.npy"), Tensor::from<std::uint8_t>({3}, {2, 0, 1}));
  EXPECT_EQ(labels_of(load_dataset(at("x.npy"))), (Labels{2, 0, 1}));
  for (std::int64_t bad : {std::int64_t{-1}, std::int64_t{1} << 40}) {
    io::write_npy(at("x_labels.npy"), Tensor::from<std::int64_t>({3}, {0, bad, 1}));
    expect_error("x_labels.npy", "got " + std::to_string(bad), [&] { load_dataset(at("x.npy")); });
  }
}

TEST_F(DatasetTest, PadsEvenly) {
  ImageDataset d;
  d.images = Tensor::full({2, 3, 4, 3}, 9, DType::u8);
  pad_to_multiple(d, 1);
  EXPECT_EQ(d.images.shape(), (Shape{2, 3, 4, 3}));
  pad_to_multiple(d, 6);
  EXPECT_EQ(d.images.shape(), (Shape{2, 6, 6, 3}));
  for (int n = 0; n < 2; ++n)
    for (int y = 0; y < 6; ++y)
      for (int x = 0; x < 6; ++x)
        for (int c = 0; c < 3; ++c)  // one row above and two below, one column at each side
          EXPECT_EQ(d.images.data<std::uint8_t>()[((n * 6 + y) * 6 + x) * 3 + c],
                    y >= 1 && y < 4 && x >= 1 && x < 5 ? 9 : 0);
  expect_error("pad_to_multiple", "expected m >= 1, got 0", [&] { pad_to_multiple(d, 0); });
  ImageDataset empty;
  expect_error("pad_to_multiple", "undefined", [&] { pad_to_multiple(empty, 2); });
}

}  // namespace
}  // namespace sfumato::data
