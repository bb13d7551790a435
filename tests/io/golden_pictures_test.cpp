// Every kind of picture against what PIL reads from it: tests/golden/make_pictures.py made the
// files and the values.
#include <fstream>
#include <map>
#include <sstream>

#include "tensor/io/exif.h"
#include "tensor/io/image.h"
#include "tensor/io/resize.h"
#include "tests/io/io_test.h"

namespace sfumato::io {
namespace {

const std::filesystem::path kFolder =
    std::filesystem::path(SFUMATO_SOURCE_DIR) / "tests" / "golden" / "pictures";

std::string hex(const Tensor& t) {
  std::string text;
  for (std::uint8_t v : t.values<std::uint8_t>()) {
    text += "0123456789abcdef"[v >> 4];
    text += "0123456789abcdef"[v & 15];
  }
  return text;
}

TEST(GoldenPictures, AreWhatPilReads) {
  std::ifstream table(kFolder / "values.txt");
  int lines = 0;
  std::map<std::string, int> kinds;
  for (std::string line; std::getline(table, line); ++lines) {
    std::istringstream fields(line);
    std::string file, background, size, values;
    std::int64_t height = 0, width = 0, channels = 0;
    fields >> file >> background >> size >> height >> width >> channels >> values;
    Tensor image = read_image(kFolder / file, parse_background(background));
    if (size != "-") image = fit_to(image, parse_extent(size));
    EXPECT_EQ(image.shape(), (Shape{height, width, channels})) << line.substr(0, 60);
    EXPECT_EQ(hex(image), values) << line.substr(0, 60);
    ++kinds[file.substr(0, 4)];
  }
  EXPECT_EQ(lines, 103);
  EXPECT_EQ(kinds["exif"], 10);
  EXPECT_EQ(kinds["fit_"], 18);
}

TEST(GoldenPictures, OrientationIsReadFromTheFirstDirectoryOnly) {
  using namespace std::string_literals;
  const auto tiff = [](const std::string& entry) { return "II*\0\x08\0\0\0\1\0"s + entry; };
  EXPECT_EQ(exif_orientation(tiff("\x12\1\3\0\1\0\0\0\6\0\0\0"s)), 6);
  EXPECT_EQ(exif_orientation(tiff("\x12\1\4\0\1\0\0\0\3\0\0\0"s)), 3);    // a LONG, as some write
  EXPECT_EQ(exif_orientation(tiff("\x12\1\3\0\1\0\0\0\x09\0\0\0"s)), 0);  // there are eight
  EXPECT_EQ(exif_orientation(tiff("\x13\1\3\0\1\0\0\0\6\0\0\0"s)), 0);    // another tag
  EXPECT_EQ(exif_orientation(tiff("\x12\1\3\0"s)), 0);                    // cut short
  EXPECT_EQ(exif_orientation("II*\0\xff\xff\xff\xff"s), 0);
  EXPECT_EQ(exif_orientation(""), 0);
  EXPECT_EQ(xmp_orientation("<tiff:Orientation>5</tiff:Orientation>"), 5);
  EXPECT_EQ(xmp_orientation("tiff:Orientation"), 0);
}

TEST(GoldenPictures, BackgroundsAndSizesAreParsed) {
  using Color = std::array<std::uint8_t, 3>;
  EXPECT_FALSE(parse_background("none").color);
  EXPECT_EQ(parse_background("white").color, (Color{255, 255, 255}));
  EXPECT_EQ(parse_background("black").color, (Color{0, 0, 0}));
  EXPECT_EQ(parse_background("1,20,255").color, (Color{1, 20, 255}));
  EXPECT_EQ(parse_background("#0f8").color, (Color{0, 255, 136}));
  EXPECT_EQ(parse_background("#010aFF").color, (Color{1, 10, 255}));
  for (const char* bad : {"", "green", "1,2", "1,2,256", "1,2,-3", "1,2,3,4", "1, 2,3", "#12",
                          "#12345g", "#-1-1-1", "1,2,3,"})
    expect_error("background", "expected none, white, black", [&] { parse_background(bad); });
  EXPECT_EQ(parse_extent("32"), (Extent{32, 32}));
  EXPECT_EQ(parse_extent("32,48"), (Extent{32, 48}));
  for (const char* bad : {"", "0", "-1", "32x48", "1,2,3", "32,", ",32", "70000", "3.5", "1e3"})
    expect_error("size", "expected N or H,W", [&] { parse_extent(bad); });
}

}  // namespace
}  // namespace sfumato::io
