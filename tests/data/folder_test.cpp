// Folders of pictures as people have them: splits, classes, litter, what is left out.
#include <fmt/format.h>

#include "diffusion/data/dataset.h"
#include "tensor/io/natural_order.h"
#include "tests/io/bytes.h"
#include "tests/io/io_test.h"

namespace sfumato::data {
namespace {

using namespace io;  // the files and directories of tests/io

namespace fs = std::filesystem;
using Names = std::vector<std::string>;

class FolderTest : public IoTest {
 protected:
  // A grey picture whose left half has the value and whose right half is black.
  void picture(const std::string& name, int value = 100, int height = 2, int width = 2) {
    std::string row(static_cast<std::size_t>(width) + 1, '\0');
    for (int x = 0; x < (width + 1) / 2; ++x)
      row[static_cast<std::size_t>(x) + 1] = static_cast<char>(value);
    std::string rows;
    for (int y = 0; y < height; ++y) rows += row;
    put(name,
        png(static_cast<std::uint32_t>(width), static_cast<std::uint32_t>(height), {8, 0}, rows));
  }
  ImageDataset load(const std::string& name = "", Split split = Split::train) {
    return load_dataset(name.empty() ? directory_ : at(name), {.split = split});
  }
  // The first pixel of each picture.
  static std::vector<int> firsts(const ImageDataset& d) {
    std::vector<int> values;
    const std::int64_t step = d.images.size() / d.images.dim(0);
    for (std::int64_t i = 0; i < d.images.size(); i += step)
      values.push_back(d.images.data<std::uint8_t>()[i]);
    return values;
  }
  static std::string notes(const ImageDataset& d) {
    std::string all;
    for (const std::string& note : d.notes) {
      EXPECT_EQ(note.find('\n'), std::string::npos);
      all += note + "\n";
    }
    return all;
  }
  static void expect_note(const ImageDataset& d, const std::string& text) {
    EXPECT_NE(notes(d).find(text), std::string::npos) << text << " is not in: " << notes(d);
  }
};

TEST(NaturalOrder, CountsAsPeopleDo) {
  const Names order = {"",
                       "-1",
                       "0",
                       "01",
                       "1",
                       "2",
                       "9",
                       "10",
                       "A",
                       "a",
                       "a1",
                       "a1b",
                       "a2",
                       "a10",
                       "a10b2",
                       "a10b10",
                       "a20",
                       "b",
                       "b99999999999999999999",
                       "b100000000000000000000"};
  for (std::size_t i = 0; i < order.size(); ++i)
    for (std::size_t j = 0; j < order.size(); ++j)
      EXPECT_EQ(io::natural_less(order[i], order[j]), i < j) << order[i] << " " << order[j];
}

TEST_F(FolderTest, ClassesAreInNaturalOrder) {
  for (int i : {0, 1, 2, 9, 10, 11, 100}) picture(fmt::format("{}/x.png", i), 10 + i);
  ImageDataset d = load();
  EXPECT_EQ(d.class_names, (Names{"0", "1", "2", "9", "10", "11", "100"}));
  EXPECT_EQ(firsts(d), (std::vector<int>{10, 11, 12, 19, 20, 21, 110}));
  EXPECT_EQ(class_list(d), "0, 1, 2, 3 \"9\", 4 \"10\", 5 \"11\", 6 \"100\"");
  for (const char* name : {"m/class2/a.png", "m/class10/a.png", "m/class1/a.png", "m/other/a.png"})
    picture(name);
  EXPECT_EQ(load("m").class_names, (Names{"class1", "class2", "class10", "other"}));
}

TEST_F(FolderTest, AClassCalledTrainIsAClass) {
  for (const char* name : {"bus/1.png", "car/1.png", "train/1.png"}) picture(name);
  EXPECT_EQ(load().class_names, (Names{"bus", "car", "train"}));
  expect_error(directory_.string(), "has no test split", [&] { load("", Split::test); });
  for (const char* name : {"tubes/flask/1.png", "tubes/test/1.png"}) picture(name);
  EXPECT_EQ(load("tubes").class_names, (Names{"flask", "test"}));
  // Also where the others have no pictures yet.
  picture("early/train/1.png");
  fs::create_directories(at("early/bus"));
  const ImageDataset early = load("early");
  EXPECT_EQ(early.class_names, (Names{"train"}));
  expect_note(early, "class folders without pictures of their own: 1 (\"bus/\")");
  // And inside a split.
  for (const char* name :
       {"deep/train/test/1.png", "deep/train/train/1.png", "deep/test/train/1.png"})
    picture(name);
  EXPECT_EQ(load("deep").class_names, (Names{"test", "train"}));
  EXPECT_EQ(load("deep", Split::test).class_names, (Names{"train"}));
}

TEST_F(FolderTest, SplitsByTheirManyNames) {
  const std::pair<const char*, const char*> pairs[] = {
      {"train", "test"}, {"training", "testing"}, {"Train", "Test"},
      {"TRAIN", "VAL"},  {"train", "valid"},      {"training", "validation"}};
  int i = 0;
  for (const auto& [train, test] : pairs) {
    const std::string root = std::to_string(i++);
    picture(root + "/" + train + "/a/1.png", 1);
    picture(root + "/" + train + "/b/1.png", 2);
    picture(root + "/" + test + "/a/1.png", 3);
    EXPECT_EQ(firsts(load(root)), (std::vector<int>{1, 2})) << train;
    EXPECT_EQ(firsts(load(root, Split::test)), (std::vector<int>{3})) << test;
    expect_note(load(root),
                fmt::format("the folder \"{}\" is taken as the train split; not read: \"{}\"",
                            train, test));
  }
  // Of three, test is the test split; pictures may lie in the splits directly.
  picture("three/train/1.png", 1);
  picture("three/val/1.png", 2);
  picture("three/test/1.png", 3);
  EXPECT_EQ(firsts(load("three")), (std::vector<int>{1}));
  EXPECT_FALSE(load("three").labels.defined());
  EXPECT_EQ(firsts(load("three", Split::test)), (std::vector<int>{3}));
  // Annotations beside them are no class.
  put("three/labels/1.xml", "<x/>");
  EXPECT_EQ(firsts(load("three")), (std::vector<int>{1}));
  picture("alone/train/a/1.png", 5);
  EXPECT_EQ(load("alone").class_names, (Names{"a"}));
  expect_error("alone", "has no test split", [&] { load("alone", Split::test); });
  picture("only/test/a/1.png", 5);
  expect_error("only", "has no train split", [&] { load("only"); });
  picture("twice/train/1.png");
  picture("twice/training/1.png");
  expect_error("twice", "both \"train\" and \"training\"", [&] { load("twice"); });
  // Kaggle wraps a split in its own name.
  picture("k/train/train/1.png", 7);
  EXPECT_EQ(firsts(load("k")), (std::vector<int>{7}));
}

TEST_F(FolderTest, WrappingFoldersAreSteppedInto) {
  picture("zip/archive/mnist_png/training/0/1.png", 1);
  picture("zip/archive/mnist_png/testing/0/1.png", 2);
  put("zip/__MACOSX/archive/._1.png", "x");
  put("zip/readme.txt", "x");
  const ImageDataset d = load("zip");
  EXPECT_EQ(firsts(d), (std::vector<int>{1}));
  expect_note(d, "read from the folder \"archive/mnist_png\"");
  expect_note(d, "hidden and system files: 1 (\"__MACOSX\"), \".txt\" files: 1 (\"readme.txt\")");
  EXPECT_EQ(firsts(load("zip", Split::test)), (std::vector<int>{2}));
  put("idx/MNIST/raw/train-images-idx3-ubyte", idx({2, 2, 2}, "abcdefgh"));
  put("idx/MNIST/raw/train-labels-idx1-ubyte", idx({2}, std::string("\0\1", 2)));
  EXPECT_EQ(load("idx").classes, 2);
  // A single folder with pictures is a class.
  picture("one/cat/1.png");
  EXPECT_EQ(load("one").class_names, (Names{"cat"}));
}

TEST_F(FolderTest, WhatIsLeftOutIsCountedByKind) {
  picture("a/1.png");
  picture("a/2.PNG");
  picture("a/more/1.png");
  picture("a/more/deeper/2.png");
  picture("b/1.png");
  for (const char* name : {"a/3.bmp", "a/4.BMP", "b/5.webp", "b/6.tif", "a/Thumbs.db",
                           "b/.DS_Store", "@eaDir/1.png", "notes", "a/list.csv"})
    put(name, "x");
  fs::create_symlink("nowhere.png", at("a/7.png"));
  fs::create_symlink("nowhere", at("b/8"));
  fs::create_directory(at("empty"));
  const ImageDataset d = load();
  EXPECT_EQ(d.images.dim(0), 3);
  EXPECT_EQ(d.class_names, (Names{"a", "b"}));
  int lines = 0;
  for (const std::string& note : d.notes) lines += note.starts_with("left out: ");
  EXPECT_EQ(lines, 1);
  for (const char* text :
       {"\".bmp\" files: 2 (\"a/3.bmp\")", "\".webp\" files: 1 (\"b/5.webp\")", "\".tif\" files: 1",
        "hidden and system files: 3 (\"@eaDir\")", "files without an extension: 1 (\"notes\")",
        "\".csv\" files: 1", "links to nothing: 2 (\"a/7.png\")",
        "pictures in folders inside class folders: 2 (\"a/more/\")",
        "class folders without pictures of their own: 1 (\"empty/\")"})
    expect_note(d, text);
}

TEST_F(FolderTest, FoldersWithoutPicturesSayWhatTheyHold) {
  fs::create_directory(at("x"));
  expect_error(at("x").string(), "no PNG or JPEG pictures, IDX files or .npz sets: it is empty",
               [&] { load("x"); });
  put("x/0.bmp", "BM");
  expect_error(at("x").string(),
               "it holds \".bmp\" files: 1 (\"0.bmp\"); other formats can be converted",
               [&] { load("x"); });
  picture("y/train/a/1.png");
  picture("y/extra/a/1.png");
  expect_error(at("y").string(), "if \"train\" is a split", [&] { load("y"); });
  picture("z/animals/cat/1.png");
  picture("z/plants/oak/1.png");
  expect_error(at("z").string(), "its folders hold folders: give one of them", [&] { load("z"); });
  picture("mixed/1.png");
  picture("mixed/a/1.png");
  expect_error("mixed", "both pictures (\"1.png\") and folders of pictures (\"a\", 1",
               [&] { load("mixed"); });
  fs::remove(at("mixed/a/1.png"));
  EXPECT_EQ(load("mixed").images.dim(0), 1);
  expect_note(load("mixed"), "folders without pictures: 1");
}

TEST_F(FolderTest, ContentDecidesWhatAPictureIs) {
  picture("a.jfif", 1);
  picture("b.jpe", 2);
  picture("c.JPEG", 3);
  EXPECT_EQ(firsts(load()), (std::vector<int>{1, 2, 3}));
}

TEST_F(FolderTest, AllBadPicturesAreNamedAtOnce) {
  picture("0.png");
  put("1.png", "GIF89a");
  put("2.jpg", "\xff\xd8\xff");
  picture("3.png");
  fs::resize_file(at("3.png"), fs::file_size(at("3.png")) - 30);
  const std::string message = message_of([&] { load(); });
  for (const char* text :
       {"3 of 4 pictures cannot be read", "1.png] expected a PNG or JPEG picture, this is a GIF",
        "2.jpg] damaged JPEG", "3.png] damaged PNG"})
    EXPECT_NE(message.find(text), std::string::npos) << message;
  for (int i = 10; i < 30; ++i) put(fmt::format("{}.png", i), "x");
  expect_error(directory_.string(), "23 of 24 pictures cannot be read", [&] { load(); });
  expect_error(directory_.string(), "; and 15 more", [&] { load(); });
}

TEST_F(FolderTest, SizesDifferUnlessOneIsAskedFor) {
  picture("a.png", 100, 4, 6);
  picture("b.png", 100, 6, 4);
  picture("c.png", 100, 2, 2);
  expect_error(directory_.string(),
               "pictures of 3 sizes (height x width): 2 x 2 (1 of them, as \"c.png\")",
               [&] { load(); });
  expect_error(directory_.string(), "--size", [&] { load(); });
  const ImageDataset d = load_dataset(directory_, {.size = io::Extent{4, 4}});
  EXPECT_EQ(d.images.shape(), (Shape{3, 4, 4, 1}));
  expect_note(d, "3 of 3 pictures (first \"a.png\") are cropped and resized to 4 x 4");
  expect_note(d, "1 of 3 pictures (first \"c.png\") are smaller than that and were enlarged");
}

TEST_F(FolderTest, HugePicturesAreRefusedByTheirHeaders) {
  // 20 links to a picture of 8192 x 8192 would be 3.8 GB; no pixel of it is there.
  put("0.png", png(8192, 8192, {8, 2}, ""));
  for (int i = 1; i < 20; ++i) fs::create_hard_link(at("0.png"), at(fmt::format("{}.png", i)));
  expect_error(directory_.string(),
               "20 of 20 pictures (first \"0.png\"): expected at most 4194304 pixels each; --size",
               [&] { load(); });
}

TEST_F(FolderTest, TransparencyAndOddValuesAreNamed) {
  put("a.png", png(2, 1, {8, 4}, std::string("\0\xff\xff\xff\0", 5)));
  ImageDataset d = load();
  EXPECT_EQ(firsts(d), (std::vector<int>{255}));
  expect_note(
      d,
      "1 of 1 pictures (first \"a.png\") have transparent pixels, whose stored colours are taken "
      "(--background");
  expect_note(d, "every picture has one colour all over");
  d = load_dataset(directory_, {.background = io::parse_background("black")});
  EXPECT_EQ(d.images.data<std::uint8_t>()[1], 0);
  expect_note(d, "composed on 0,0,0");
  EXPECT_EQ(notes(d).find("one colour"), std::string::npos);
  put("a.png", png(2, 1, {8, 4}, std::string("\0\xff\xff\0\xff", 5)));  // opaque: nothing to say
  EXPECT_TRUE(load().notes.empty()) << notes(load());
  picture("a.png", 1);
  expect_note(load(), "all values are 0 or 1 of 255");
}

TEST_F(FolderTest, TestSplitIsMatchedByName) {
  for (const char* name : {"train/ant/1.png", "train/bee/1.png", "train/cat/1.png",
                           "test/bee/1.png", "test/cat/1.png"})
    picture(name);
  const ImageDataset train = load();
  ImageDataset test = load("", Split::test);
  match_split(test, train);
  EXPECT_EQ(test.labels.data<std::int64_t>()[0], 1);
  EXPECT_EQ(test.labels.data<std::int64_t>()[1], 2);
  EXPECT_EQ(test.class_names, (Names{"", "bee", "cat"}));
  EXPECT_EQ(used_labels(test), (std::vector<std::int64_t>{1, 2}));
  picture("test/dog/1.png");
  test = load("", Split::test);
  expect_error("data",
               "has a class \"dog\", which the train split has not (it has 0 \"ant\", 1 \"bee\"",
               [&] { match_split(test, train); });
  ImageDataset other = train;
  other.images = Tensor::zeros({3, 2, 3, 1}, DType::u8);
  expect_error("data", "2x3x1, those to train on 2x2x1", [&] { match_split(other, train); });
  other = train;
  other.labels = Tensor();
  other.classes = 0;
  other.class_names.clear();
  expect_error("data", "the train split has labels, the test split has none",
               [&] { match_split(other, train); });
}

}  // namespace
}  // namespace sfumato::data
