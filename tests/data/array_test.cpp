// Arrays as NumPy, Keras and others write them.
#include <fmt/format.h>
#include <fmt/ranges.h>
#include <zlib.h>

#include <bit>
#include <cmath>

#include "diffusion/data/dataset.h"
#include "tensor/io/npy.h"
#include "tensor/io/zip.h"
#include "tests/io/bytes.h"
#include "tests/io/io_test.h"

namespace sfumato::data {
namespace {

using namespace io;  // the files and directories of tests/io

using namespace std::string_literals;
using Labels = std::vector<std::int64_t>;

std::string npy(const std::string& descr, const std::string& shape, std::string_view data,
                bool fortran = false) {
  const std::string dict = fmt::format("{{'descr': '{}', 'fortran_order': {}, 'shape': ({}), }}",
                                       descr, fortran ? "True" : "False", shape);
  return "\x93NUMPY\1\0"s + static_cast<char>(dict.size()) + '\0' + dict + std::string(data);
}

// The numbers as NumPy stores them in `descr` ("<i4", ">f8", "|b1").
std::string stored(const std::string& descr, const std::vector<double>& values) {
  const auto size = static_cast<std::size_t>(descr[2] - '0');
  std::string bytes;
  for (double v : values) {
    std::uint64_t bits;
    if (descr[1] != 'f')
      bits = static_cast<std::uint64_t>(static_cast<std::int64_t>(v));
    else
      bits = size == 8 ? std::bit_cast<std::uint64_t>(v)
                       : std::bit_cast<std::uint32_t>(static_cast<float>(v));
    for (std::size_t i = 0; i < size; ++i)
      bytes += static_cast<char>(bits >> 8 * (descr[0] == '>' ? size - 1 - i : i));
  }
  return bytes;
}

std::string little(std::uint64_t value, int bytes) {
  std::string text;
  for (int i = 0; i < bytes; ++i) text += static_cast<char>(i < 8 ? value >> 8 * i : 0);
  return text;
}

// A ZIP archive as numpy.savez (stored) or savez_compressed writes it; `wide`: with ZIP64's fields.
std::string zip(const std::vector<std::pair<std::string, std::string>>& files, bool deflate,
                bool wide = false) {
  std::string all, directory;
  for (const auto& [name, content] : files) {
    const std::string data = deflate ? deflated(content, -15) : content;
    const auto crc =
        crc32(0, reinterpret_cast<const Bytef*>(content.data()), static_cast<uInt>(content.size()));
    const std::string extra = wide ? little(1, 2) + little(24, 2) + little(content.size(), 8) +
                                         little(data.size(), 8) + little(all.size(), 8)
                                   : "";
    const auto field = [&](std::uint64_t v) { return little(wide ? 0xffffffff : v, 4); };
    const std::string common = little(45, 2) + little(0, 2) + little(deflate ? 8 : 0, 2) +
                               little(0, 4) + little(crc, 4) + field(data.size()) +
                               field(content.size()) + little(name.size(), 2) +
                               little(extra.size(), 2);
    directory +=
        "PK\1\2" + little(45, 2) + common + little(0, 10) + field(all.size()) + name + extra;
    all += "PK\3\4" + common + name + extra + data;
  }
  std::string end;
  if (wide)
    end = "PK\6\6" + little(44, 8) + little(45, 4) + little(0, 8) + little(files.size(), 8) +
          little(files.size(), 8) + little(directory.size(), 8) + little(all.size(), 8) + "PK\6\7" +
          little(0, 4) + little(all.size() + directory.size(), 8) + little(1, 4);
  return all + directory + end + "PK\5\6" + little(0, 4) + little(files.size(), 2) +
         little(files.size(), 2) + little(wide ? 0xffffffff : directory.size(), 4) +
         little(wide ? 0xffffffff : all.size(), 4) + little(0, 2);
}

class ArrayTest : public IoTest {
 protected:
  ImageDataset load(const std::string& name = "x.npy", Split split = Split::train) {
    return load_dataset(at(name), {.split = split});
  }
  void images(const std::string& descr, const std::string& shape,
              const std::vector<double>& values) {
    put("x.npy", npy(descr, shape, stored(descr, values)));
  }
  void labels(const std::string& descr, const std::string& shape,
              const std::vector<double>& values) {
    put("x_labels.npy", npy(descr, shape, stored(descr, values)));
  }
  void refuse(const char* file, const std::string& text) {
    expect_error(file, text, [&] { load(); });
  }
  static Labels labels_of(const ImageDataset& d) {
    return {d.labels.data<std::int64_t>(), d.labels.data<std::int64_t>() + d.labels.size()};
  }
  static std::vector<int> pixels(const ImageDataset& d) {
    return {d.images.data<std::uint8_t>(), d.images.data<std::uint8_t>() + d.images.size()};
  }
  static std::string notes(const ImageDataset& d) {
    return fmt::format("{}", fmt::join(d.notes, "\n"));
  }
  static void expect_note(const ImageDataset& d, const std::string& text) {
    EXPECT_NE(notes(d).find(text), std::string::npos) << text << " is not in: " << notes(d);
  }
};

const std::vector<double> kRamp = {0, 1, 2, 255, 4, 5, 6, 7, 8, 9, 10, 11};

TEST_F(ArrayTest, PicturesOfEveryDtype) {
  const std::vector<int> ramp(kRamp.begin(), kRamp.end());
  for (const char* descr : {"|u1", "<i2", ">i2", "<i4", ">i4", "<i8", ">i8", "<u2", ">u2", "<u4",
                            "<u8", ">u8", "<f4", ">f4", "<f8", ">f8"}) {
    images(descr, "3, 2, 2", kRamp);
    EXPECT_EQ(pixels(load()), ramp) << descr;
    EXPECT_EQ(load().images.shape(), (Shape{3, 2, 2, 1}));
    EXPECT_EQ(load().notes.empty(), descr == "|u1"s);
  }
  images("|b1", "1, 2, 2", {1, 0, 0, 1});
  EXPECT_EQ(pixels(load()), (std::vector<int>{255, 0, 0, 255}));
  expect_note(load(), "False is taken as 0, True as 255");
  images("<f4", "1, 2, 2", {0, 1, 0.5, 0.2});
  EXPECT_EQ(pixels(load()), (std::vector<int>{0, 255, 128, 51}));
  expect_note(load(), "taken as shares of 255");
  std::vector<double> exact;  // x / 255 comes back as x
  for (int i = 0; i < 256; ++i)
    exact.push_back(static_cast<double>(static_cast<float>(i) / 255.0f));
  images("<f4", "1, 16, 16", exact);
  for (int i = 0; i < 256; ++i) EXPECT_EQ(pixels(load())[static_cast<std::size_t>(i)], i);
  images("<f8", "1, 2, 2", {-1, 1, 0, 0.2});
  EXPECT_EQ(pixels(load()), (std::vector<int>{0, 255, 128, 153}));
  put("x.npy", npy("<f2", "1, 2, 2", "\0\x3c\0\x38\0\0\1\0"s));  // 1, 0.5, 0 and the smallest half
  EXPECT_EQ(pixels(load()), (std::vector<int>{255, 128, 0, 0}));
  put("x.npy", npy("|u1", "2, 2, 3", "adgjbehkcfil", true));
  expect_error("x.npy", "[2, 2, 3]",
               [&] { load(); });  // as below: one picture or pictures of width 3
  put("x.npy", npy("|u1", "2, 3, 2", "agciekbhdjfl", true));
  EXPECT_EQ(pixels(load())[1], 'b');
  EXPECT_EQ(pixels(load())[11], 'l');
}

TEST_F(ArrayTest, PicturesOfUncertainValuesAreRefused) {
  const std::tuple<const char*, std::vector<double>, const char*> cases[] = {
      {"<f4", {0, 0.5, 254.5, 3}, "save x.round().astype(\"uint8\")"},
      {"<f4", {-0.42, 2.8, 0, 0}, "float32 pictures from -0.42"},
      {"<f8", {-0.5, 1, 0, 0}, "floats in [0, 1]: save ((x - x.min())"},
      {"<u2", {0, 65535, 1, 2}, "x // 257"},
      {"<i4", {-1, 4, 1, 2}, "int32 pictures from -1 to 4"},
      {"<f4", {NAN, 0, 1, 1}, "not finite"}};
  for (const auto& [descr, values, text] : cases) {
    images(descr, "1, 2, 2", values);
    refuse("x.npy", text);
  }
  images("|u1", "1, 2, 2", {0, 1, 1, 0});
  expect_note(load(), "all values are 0 or 1 of 255");
  for (const auto& [descr, text] :
       {std::pair("<c8", "holds \"<c8\""), std::pair("<U3", "numpy.unique"),
        std::pair("|O", "numpy.stack")}) {
    put("x.npy", npy(descr, "1, 2, 2", std::string(32, 'x')));
    refuse("x.npy", text);
  }
}

TEST_F(ArrayTest, PicturesOfEveryShape) {
  const std::string data(4096, 'x');
  const auto shape = [&](const std::string& s, std::size_t n) {
    put("x.npy", npy("|u1", s, data.substr(0, n)));
    return load().images.shape();
  };
  EXPECT_EQ(shape("2, 4, 5, 3", 120), (Shape{2, 4, 5, 3}));
  EXPECT_EQ(shape("2, 4, 5, 1", 40), (Shape{2, 4, 5, 1}));
  EXPECT_EQ(shape("2, 3, 4, 5", 120), (Shape{2, 4, 5, 3}));
  EXPECT_EQ(shape("2, 1, 4, 5", 40), (Shape{2, 4, 5, 1}));
  EXPECT_EQ(shape("5, 4, 4", 80), (Shape{5, 4, 4, 1}));  // small, but square: pictures
  EXPECT_EQ(shape("7, 3, 3", 63), (Shape{7, 3, 3, 1}));
  put("x.npy", npy("|u1", "1, 3, 1, 2", "abcdef"));
  EXPECT_EQ(pixels(load()), (std::vector<int>{'a', 'c', 'e', 'b', 'd', 'f'}));
  expect_note(load(), "[1, 3, 1, 2] is taken as [N,C,H,W]");
  const std::tuple<const char*, std::size_t, const char*> cases[] = {
      {"8, 8, 3", 192, "if this is one picture [H,W,3], save x[None]"},
      {"8, 8, 1", 64, "x[..., None]"},
      {"8, 8, 4", 256, "x[None, ..., :3]"},
      {"2, 784", 1568, "x.reshape(-1, 28, 28)"},
      {"1, 3072", 3072, "x.reshape(-1, 3, 32, 32)"},
      {"2, 5", 10, "x[None]"},
      {"4", 4, "expected images"},
      {"2, 4, 5, 4", 160, "x[..., :3]"},
      {"2, 4, 4, 5", 160, "x[:, :3]"},
      {"2, 4, 5, 2", 80, "x[..., :1]"},
      {"2, 2, 4, 5", 80, "x[:, :1]"},
      {"1, 2, 3, 4, 5", 120, "expected images"},
      {"0, 2, 2", 0, "it is empty"}};
  for (const auto& [s, n, text] : cases) {
    put("x.npy", npy("|u1", s, data.substr(0, n)));
    refuse("x.npy", text);
  }
}

TEST_F(ArrayTest, LabelsOfEveryKind) {
  images("|u1", "3, 2, 2", kRamp);
  const Labels want = {2, 0, 1};
  for (const char* descr :
       {"|u1", "|i1", "<i2", "<u2", "<i4", ">i4", "<u4", "<i8", ">i8", "<u8", ">u8", "<f4", ">f8"})
    for (const char* shape : {"3,", "3, 1", "1, 3"}) {
      labels(descr, shape, {2, 0, 1});
      EXPECT_EQ(labels_of(load()), want) << descr << shape;
      EXPECT_EQ(load().classes, 3);
    }
  labels("|b1", "3,", {1, 0, 1});
  EXPECT_EQ(labels_of(load()), (Labels{1, 0, 1}));
  for (const char* descr : {"|b1", "|u1", "<f4", "<i8"}) {
    labels(descr, "3, 4", {0, 0, 1, 0, 1, 0, 0, 0, 0, 1, 0, 0});
    EXPECT_EQ(labels_of(load()), want) << descr;
    expect_note(load(), "one-hot");
  }
  labels("<f4", "3,", {2, 0, 1});
  expect_note(load(), "float32 labels are taken as whole numbers");
  labels("<i8", "3,", {7, 3, 7});
  EXPECT_EQ(load().class_names[3], "3");
  EXPECT_EQ(load().class_names[0], "");
  expect_note(load(), "6 of 8 labels have no picture: 0, 1, 2, 4, 5, 6");
}

TEST_F(ArrayTest, RefusesLabelsThatAreNone) {
  images("|u1", "3, 2, 2", kRamp);
  const std::tuple<const char*, const char*, std::vector<double>, const char*> cases[] = {
      {"<f4", "3,", {0, 0.5, 1}, "whole numbers, got float32 from 0 to 1"},
      {"<f4", "3,", {0, NAN, 1}, "whole numbers"},
      {"<i4", "2,", {0, 1}, "holds 2 labels for 3 images"},
      {"<i4", "3, 2", {0, 1, 1, 1, 0, 1}, "a single 1 in each row"},
      {"<f4", "3, 2", {0.5, 0.5, 1, 0, 0, 1}, "x.argmax(axis=1)"},
      {"<i4", "3, 1, 1", {0, 1, 2}, "x.reshape(-1)"},
      {"<i4", "3,", {0, -1, 2}, "expected labels in 0..65535, got -1"},
      {"<u4", "3,", {0, 65536, 2}, "got 65536"},
      {"<u8", "3,", {0, -1, 2}, "below 2^63"}};
  for (const auto& [descr, shape, values, text] : cases) {
    labels(descr, shape, values);
    refuse("x_labels.npy", text);
  }
  std::filesystem::remove(at("x_labels.npy"));
  EXPECT_FALSE(load().labels.defined());
  // A link to nothing is no absence of labels.
  std::filesystem::create_symlink("nowhere", at("x_labels.npy"));
  refuse("x_labels.npy", "link to nothing");
}

TEST_F(ArrayTest, KerasMedmnistAndPlainArchives) {
  const std::string x = npy("|u1", "3, 2, 2", stored("|u1", kRamp)),
                    t = npy("|u1", "1, 2, 2", "abcd"),
                    y = npy("<i4", "3, 1", stored("<i4", {0, 2, 1})), v = npy("|u1", "1,", "\2");
  for (bool deflate : {false, true})
    for (bool wide : {false, true}) {
      put("mnist.npz",
          zip({{"x_test.npy", t}, {"x_train.npy", x}, {"y_test.npy", v}, {"y_train.npy", y}},
              deflate, wide));
      EXPECT_EQ(labels_of(load("mnist.npz")), (Labels{0, 2, 1}));
      EXPECT_EQ(labels_of(load("mnist.npz", Split::test)), (Labels{2}));
      EXPECT_EQ(pixels(load("mnist.npz", Split::test))[3], 'd');
      EXPECT_EQ(notes(load("mnist.npz")), "");
    }
  put("med.npz", zip({{"train_images.npy", x},
                      {"val_images.npy", t},
                      {"train_labels.npy", y},
                      {"val_labels.npy", v},
                      {"extra.npy", v}},
                     true));
  EXPECT_EQ(labels_of(load("med.npz")), (Labels{0, 2, 1}));
  expect_note(load("med.npz"), "left out: the arrays \"extra\"");
  expect_note(load("med.npz", Split::test), "\"val_images\" serves as test pictures");
  put("plain.npz", zip({{"images.npy", x}, {"labels.npy", y}}, true));
  EXPECT_EQ(labels_of(load("plain.npz")), (Labels{0, 2, 1}));
  put("two.npz", zip({{"arr_0.npy", x}, {"arr_1.npy", y}}, true));
  EXPECT_EQ(labels_of(load("two.npz")), (Labels{0, 2, 1}));
  put("only.npz", zip({{"whatever.npy", x}}, true));
  EXPECT_EQ(load("only.npz").images.dim(0), 3);
  EXPECT_FALSE(load("only.npz").labels.defined());
  expect_note(load("only.npz", Split::test), "the same pictures serve for testing");
  const auto refuse_npz = [&](const std::string& bytes, const std::string& text,
                              Split split = Split::train) {
    put("bad.npz", bytes);
    expect_error("bad.npz", text, [&] { load("bad.npz", split); });
  };
  refuse_npz(zip({{"a.npy", x}, {"b.npy", y}}, true),
             "holds the arrays \"a\", \"b\", expected x_train and y_train");
  refuse_npz(zip({{"arr_0.npy", x}, {"arr_1.npy", y}, {"arr_2.npy", t}}, true), "numpy.savez");
  refuse_npz(zip({{"x_train.npy", x}, {"y_train.npy", y}}, true), "has no test pictures",
             Split::test);
  refuse_npz(zip({{"x_train.npy", x}, {"y_train.npy", v}}, true), "1 labels for 3 images");
  refuse_npz(zip({{"a.png", x}}, true), "unpack it");
  refuse_npz("PK\3\4", "damaged ZIP archive");
}

TEST_F(ArrayTest, KmnistAsPublished) {
  const std::string x = npy("|u1", "3, 2, 2", stored("|u1", kRamp)),
                    y = npy("|u1", "3,", "\0\2\1"s);
  for (const char* split : {"train", "test"}) {
    put(fmt::format("k/kmnist-{}-imgs.npz", split), zip({{"arr_0.npy", x}}, true));
    put(fmt::format("k/kmnist-{}-labels.npz", split), zip({{"arr_0.npy", y}}, true));
  }
  EXPECT_EQ(labels_of(load("k")), (Labels{0, 2, 1}));
  EXPECT_EQ(labels_of(load("k", Split::test)), (Labels{0, 2, 1}));
  EXPECT_EQ(labels_of(load("k/kmnist-train-imgs.npz")), (Labels{0, 2, 1}));
  std::filesystem::remove(at("k/kmnist-test-imgs.npz"));
  expect_error("/k]", "holds no ...-test-imgs.npz", [&] { load("k", Split::test); });
}

TEST_F(ArrayTest, DamagedArchivesNeverCrash) {
  const std::string x = npy("|u1", "3, 2, 2", stored("|u1", kRamp));
  for (bool deflate : {false, true}) {
    const std::string bytes = zip({{"x.npy", x}}, deflate, deflate);
    for (std::size_t n = 0; n < bytes.size(); ++n)
      expect_error("f.npz", "", [&] { load_dataset(put("f.npz", bytes.substr(0, n))); });
    for (std::size_t i = 0; i < bytes.size(); ++i)
      for (int bit = 0; bit < 8; bit += 3) {
        std::string damaged = bytes;
        damaged[i] ^= static_cast<char>(1 << bit);
        message_of([&] { load_dataset(put("f.npz", damaged)); });
      }
    std::string wrong = bytes;
    wrong[wrong.find("PK\1\2") + 16] ^= 1;
    expect_error("f.npz", "checksum of \"x.npy\" is wrong",
                 [&] { load_dataset(put("f.npz", wrong)); });
  }
}

TEST_F(ArrayTest, OtherFilesAreNamedWithAdvice) {
  const std::pair<const char*, std::pair<std::string, const char*>> cases[] = {
      {"a.zip",
       {zip({{"1.png", "x"}}, true), "this is a ZIP archive: unpack it (unzip FILE -d DIR)"}},
      {"a.tar",
       {std::string(257, '\0') + "ustar" + std::string(50, '\0'), "this is a tar archive"}},
      {"a.tar.gz", {gzip("x"), "this is a tar archive"}},
      {"a.tgz", {gzip("x"), "this is a tar archive"}},
      {"a.mat", {"MATLAB 5.0 MAT-file", "this is a MATLAB file"}},
      {"a.h5", {"\x89HDF\r\n", "this is an HDF5 file"}},
      {"a.pkl", {"\x80\4\x95", "this is a Python pickle"}},
      {"data_batch_1", {"\x80\2}q", "this is a Python pickle"}},
      {"a.parquet", {"PAR1", "this is a Parquet file"}},
      {"a.pt", {zip({{"archive/data.pkl", "x"}}, false), "this is a PyTorch file"}},
      {"a.csv", {"label,pixel0\n", "this is a table of text: in Python: a = numpy.loadtxt"}},
      {"a.png", {png(1, 1, {8, 0}, "\0\0"s), "this is one PNG picture: give the folder"}},
      {"a.webp", {"RIFF....WEBP", "this is a WebP picture"}},
      {"a.html", {"<!DOCTYPE html>", "this is a web page"}},
      {"a.bin", {"version https://git-lfs.github.com", "Git LFS"}},
      {"empty", {"", "this is an empty file"}},
      {"a.what", {"what", "expected \"images-idx3\" in the name"}}};
  for (const auto& [name, rest] : cases) {
    put(name, rest.first);
    expect_error(name, rest.second, [&, &file = name] { load(file); });
  }
}

}  // namespace
}  // namespace sfumato::data
