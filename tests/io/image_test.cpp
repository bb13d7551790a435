#include "tensor/io/image.h"

#include <gif_lib.h>
#include <stdio.h>
// jpeglib.h needs stdio.h before it.
#include <jpeglib.h>

#include <cmath>
#include <numeric>
#include <vector>

#include "tests/io/bytes.h"
#include "tests/io/io_test.h"

namespace sfumato::io {
namespace {

using namespace std::string_literals;
using ImageTest = IoTest;
using Bytes = std::vector<int>;

Tensor ramp(const Shape& shape) {
  Tensor t(shape, DType::u8);
  std::iota(t.data<std::uint8_t>(), t.data<std::uint8_t>() + t.size(), std::uint8_t{0});
  return t;
}

Bytes values(const Tensor& t) {
  return {t.data<std::uint8_t>(), t.data<std::uint8_t>() + t.size()};
}

std::string jpeg(int width, int height, int channels, bool progressive = false) {
  jpeg_compress_struct info{};
  jpeg_error_mgr errors{};
  info.err = jpeg_std_error(&errors);
  jpeg_create_compress(&info);
  unsigned char* memory = nullptr;
  unsigned long size = 0;
  jpeg_mem_dest(&info, &memory, &size);
  info.image_width = static_cast<JDIMENSION>(width);
  info.image_height = static_cast<JDIMENSION>(height);
  info.input_components = channels;
  info.in_color_space = channels == 1 ? JCS_GRAYSCALE : channels == 3 ? JCS_RGB : JCS_CMYK;
  jpeg_set_defaults(&info);
  jpeg_set_quality(&info, 95, TRUE);
  if (progressive) jpeg_simple_progression(&info);
  jpeg_start_compress(&info, TRUE);
  std::vector<JSAMPLE> row(static_cast<std::size_t>(width * channels));
  for (int y = 0; y < height; ++y) {
    for (std::size_t i = 0; i < row.size(); ++i) row[i] = static_cast<JSAMPLE>(8 * y + i);
    JSAMPROW line = row.data();
    jpeg_write_scanlines(&info, &line, 1);
  }
  jpeg_finish_compress(&info);
  std::string bytes(reinterpret_cast<char*>(memory), size);
  jpeg_destroy_compress(&info);
  free(memory);
  return bytes;
}

TEST_F(ImageTest, PngRoundTrips) {
  for (const Shape& shape : {Shape{16, 16, 1}, Shape{1, 1, 1}, Shape{7, 5, 3}, Shape{64, 33, 3}}) {
    const Tensor t = ramp(shape);
    write_png(at("f.png"), t);
    const Tensor u = read_image(at("f.png"));
    EXPECT_EQ(u.shape(), shape);
    EXPECT_EQ(values(u), values(t));
  }
  write_png(at("f.png"), ramp({3, 2}));
  EXPECT_EQ(read_image(at("f.png")).shape(), (Shape{3, 2, 1}));
}

TEST_F(ImageTest, ReadsEveryKindOfPng) {
  const auto read = [&](const std::string& bytes) { return read_image(put("f.png", bytes)); };
  EXPECT_EQ(values(read(png(4, 1, {1, 0}, "\0\xa0"s))), (Bytes{255, 0, 255, 0}));
  EXPECT_EQ(values(read(png(2, 1, {2, 0}, "\0\x60"s))), (Bytes{85, 170}));
  EXPECT_EQ(values(read(png(2, 1, {16, 0}, "\0\x80\x80\x12\x12"s))), (Bytes{0x80, 0x12}));
  EXPECT_EQ(values(read(png(1, 1, {16, 2}, "\0\x80\x80\x12\x12\xff\xff"s))),
            (Bytes{0x80, 0x12, 255}));
  const std::string palette = png_chunk("PLTE", "\1\2\3\xc8\x64\x32");
  EXPECT_EQ(values(read(png(2, 1, {8, 3}, "\0\0\1"s, palette))), (Bytes{1, 2, 3, 200, 100, 50}));
  // Transparency is dropped, or composed on a colour as the numbers are stored.
  const std::string alpha = png(3, 1, {8, 4}, "\0\x37\xff\x37\0\0\x80"s);
  EXPECT_EQ(values(read(alpha)), (Bytes{0x37, 0x37, 0}));
  EXPECT_EQ(values(read_image(at("f.png"), parse_background("white"))), (Bytes{0x37, 255, 127}));
  EXPECT_EQ(values(read_image(at("f.png"), parse_background("black"))), (Bytes{0x37, 0, 0}));
  // A transparent colour of 16 bits is compared in all of them.
  read(png(2, 1, {16, 2}, "\0\1\2\3\4\5\6\1\2\3\4\5\7"s, png_chunk("tRNS", "\1\2\3\4\5\6")));
  EXPECT_EQ(values(read_image(at("f.png"), parse_background("9,9,9"))), (Bytes{9, 9, 9, 1, 3, 5}));
  EXPECT_EQ(values(read(png(1, 1, {8, 6}, "\0\1\2\3\xff"s))), (Bytes{1, 2, 3}));
  // Adam7, 5 x 3: passes of 1, 1, 0, 1, 3, 2x2 and 5 pixels
  const Bytes interlaced = values(
      read(png(5, 3, {8, 0, 1},
               "\0\x00\0\x40\0\x20\0\xa0\xc0\xe0\0\x10\x30\0\xb0\xd0\0\x50\x60\x70\x80\x90"s)));
  for (int i = 0; i < 15; ++i) EXPECT_EQ(interlaced[static_cast<std::size_t>(i)], 16 * i);
}

TEST_F(ImageTest, ReadsJpeg) {
  for (bool progressive : {false, true}) {
    for (int channels : {1, 3}) {
      const Tensor t = read_image(put("f.png", jpeg(16, 12, channels, progressive)));
      EXPECT_EQ(t.shape(), (Shape{12, 16, channels}));
      EXPECT_NEAR(t.data<std::uint8_t>()[16 * channels * 5], 40, 12);
    }
  }
}

TEST_F(ImageTest, RefusesWhatIsNoPicture) {
  const auto refuse = [&](const std::string& bytes, const char* text) {
    expect_error("f.png", text, [&] { read_image(put("f.png", bytes)); });
  };
  refuse("", "expected a PNG or JPEG");
  refuse("GIF89a", "expected a PNG or JPEG picture, this is a GIF picture: convert it");
  refuse("RIFF....WEBPVP8", "this is a WebP picture");
  refuse("\x89PNG\r\n\x1a\n", "damaged PNG");
  refuse("\xff\xd8\xff", "damaged JPEG");
  refuse(png(8193, 8192, {8, 0}, ""), "expected 1 to 67108864 pixels");
  refuse(png(0, 1, {8, 0}, ""), "expected 1 to 67108864 pixels");
  refuse(png(2, 2, {8, 3}, "\0\0\0\0\0\0"s), "damaged PNG");  // no palette
  refuse(png(2, 2, {8, 0}, "\0\1\1"s), "damaged PNG");
  std::string huge = jpeg(8, 8, 1);
  const std::size_t frame = huge.find("\xff\xc0");
  huge.replace(frame + 5, 4, "\x40\0\x40\0"s);
  refuse(huge, "expected 1 to 67108864 pixels, got");
  expect_error("absent", "no such file", [&] { read_image(at("absent.png")); });
}

TEST_F(ImageTest, RefusesJpegOfManyScans) {
  // The first scan 600 times over: each is a pass over the whole picture.
  const std::string bytes = jpeg(16, 16, 1, true);
  const std::size_t first = bytes.find("\xff\xda");
  std::size_t end = first + 2;
  while (bytes[end] != '\xff' || bytes[end + 1] == '\0') ++end;
  const auto with_scans = [&](int more) {
    std::string all = bytes.substr(0, end);
    for (int i = 0; i < more; ++i) all += bytes.substr(first, end - first);
    return put("f.jpg", all + bytes.substr(end));
  };
  EXPECT_EQ(values(read_image(with_scans(100))), values(read_image(with_scans(0))));
  expect_error("f.jpg", "more than 500 scans", [&] { read_image(with_scans(600)); });
}

TEST_F(ImageTest, CorruptJpegIsRefused) {
  // A marker in the middle of the data: what follows is lost, libjpeg would fill it with grey.
  std::string bytes = jpeg(64, 64, 1);
  const std::size_t scan = bytes.find("\xff\xda");
  bytes.replace(scan + (bytes.size() - scan) / 2, 2, "\xff\xd9");
  expect_error("f.jpg", "damaged JPEG: Corrupt JPEG data",
               [&] { read_image(put("f.jpg", bytes)); });
}

TEST_F(ImageTest, DamageNeverCrashes) {
  const auto read = [&](const std::string& bytes) { read_image(put("f.png", bytes)); };
  write_png(at("g.png"), ramp({24, 20, 3}));
  survive_damage(get(at("g.png")), "f.png", 600, read);
  survive_damage(jpeg(24, 20, 3), "f.png", 600, read);
  survive_damage(jpeg(24, 20, 1, true), "f.png", 600, read);
}

TEST_F(ImageTest, CutPicturesAreRefused) {
  write_png(at("g.png"), ramp({24, 20, 3}));
  // What follows the last pixel (IEND, EOI) may be missing.
  for (const auto& [bytes, tail] : {std::pair(get(at("g.png")), 12), std::pair(jpeg(24, 20, 3), 2)})
    for (std::size_t n = 0; n + static_cast<std::size_t>(tail) < bytes.size(); n += 3)
      expect_error("f.png", "",
                   [&, &bytes = bytes] { read_image(put("f.png", bytes.substr(0, n))); });
}

TEST_F(ImageTest, RefusesWhatCannotBeWritten) {
  put("f", "old");
  for (const Tensor& t : {Tensor(), Tensor(Shape{4, 4}), ramp({4}), ramp({4, 4, 2}),
                          ramp({4, 4, 4}), ramp({0, 4}), ramp({1, 4, 4, 1})})
    expect_error("f]", "expected u8 [H,W]", [&] { write_png(at("f"), t); });
  for (const Tensor& t : {Tensor(), Tensor(Shape{1, 4, 4}), ramp({4, 4}), ramp({1, 4, 4, 2}),
                          ramp({0, 4, 4}), ramp({1, 1, 4, 4, 1})})
    expect_error("f]", "expected u8 [F,H,W]", [&] { write_gif(at("f"), t); });
  expect_error("f]", "65535", [&] { write_gif(at("f"), ramp({1, 1, 65536})); });
  expect_error("f]", "delays", [&] { write_gif(at("f"), ramp({1, 2, 2}), {.delay_ms = -1}); });
  expect_error("f]", "delays", [&] {
    write_gif(at("f"), ramp({1, 2, 2}), {.last_delay_ms = 700000});
  });
  EXPECT_EQ(get(at("f")), "old");
}

struct Gif {
  GifFileType* file;
  explicit Gif(const std::filesystem::path& path) : file(DGifOpenFileName(path.c_str(), nullptr)) {
    if (!file || DGifSlurp(file) != GIF_OK) throw std::runtime_error("unreadable GIF");
  }
  ~Gif() { DGifCloseFile(file, nullptr); }
  GifColorType color(int frame, int pixel) const {
    return file->SColorMap->Colors[file->SavedImages[frame].RasterBits[pixel]];
  }
  int delay(int frame) const {
    GraphicsControlBlock control{};
    DGifSavedExtensionToGCB(file, frame, &control);
    return control.DelayTime;
  }
};

TEST_F(ImageTest, GreyGifKeepsEveryLevel) {
  const Tensor frames = ramp({3, 16, 16});
  write_gif(at("f.gif"), frames, {.delay_ms = 44, .last_delay_ms = 2000});
  const Gif gif(at("f.gif"));
  ASSERT_EQ(gif.file->ImageCount, 3);
  EXPECT_EQ(gif.file->SWidth, 16);
  for (int i = 0; i < 256; ++i) EXPECT_EQ(gif.color(2, i).Green, i);
  EXPECT_EQ(gif.delay(0), 4);
  EXPECT_EQ(gif.delay(1), 4);
  EXPECT_EQ(gif.delay(2), 200);
  EXPECT_NE(get(at("f.gif")).find("NETSCAPE2.0"), std::string::npos);
  write_gif(at("f.gif"), frames, {.loop = false});
  EXPECT_EQ(get(at("f.gif")).find("NETSCAPE2.0"), std::string::npos);
  EXPECT_EQ(entries(), 1);
}

TEST_F(ImageTest, ColourGifIsNear) {
  const Tensor frames = ramp({2, 9, 31, 3});
  write_gif(at("f.gif"), frames);
  const Gif gif(at("f.gif"));
  ASSERT_EQ(gif.file->ImageCount, 2);
  const auto* pixel = frames.data<std::uint8_t>();
  for (int i = 0; i < 2 * 9 * 31; ++i, pixel += 3) {
    const GifColorType c = gif.color(i / (9 * 31), i % (9 * 31));
    EXPECT_LE(std::abs(c.Red - pixel[0]), 26);
    EXPECT_LE(std::abs(c.Green - pixel[1]), 22);
    EXPECT_LE(std::abs(c.Blue - pixel[2]), 26);
  }
  const Tensor corners = Tensor::from<std::uint8_t>({1, 1, 2, 3}, {0, 0, 0, 255, 255, 255});
  write_gif(at("f.gif"), corners);
  const Gif exact(at("f.gif"));
  EXPECT_EQ(exact.color(0, 0).Red + exact.color(0, 0).Green + exact.color(0, 0).Blue, 0);
  EXPECT_EQ(exact.color(0, 1).Red + exact.color(0, 1).Green + exact.color(0, 1).Blue, 3 * 255);
}

}  // namespace
}  // namespace sfumato::io
