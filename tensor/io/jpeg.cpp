// JPEG files, decoded with libjpeg.
#include <fmt/format.h>
#include <setjmp.h>
#include <stdio.h>
// jpeglib.h needs stdio.h before it.
#include <jerror.h>
#include <jpeglib.h>

#include <algorithm>
#include <new>
#include <vector>

#include "tensor/error.h"
#include "tensor/io/exif.h"
#include "tensor/io/picture.h"

namespace sfumato::io {
namespace {

// Cameras and encoders write about ten; each costs a pass over the whole picture.
constexpr int kMaxScans = 500;

// Whether a warning tells of an oddity that leaves the pixels as they are: a version number, bytes
// between segments. The others mean lost pixels, which libjpeg fills up with grey.
bool is_harmless(int warning) {
  return warning == JWRN_ADOBE_XFORM || warning == JWRN_JFIF_MAJOR ||
         warning == JWRN_EXTRANEOUS_DATA || warning == JWRN_NOT_SEQUENTIAL ||
         warning == JWRN_BOGUS_PROGRESSION;
}

// libjpeg reports errors by a callback that must not return; it jumps back into start() or
// finish(), which therefore own nothing that has a destructor.
class JpegReader {
 public:
  explicit JpegReader(std::string_view bytes) : bytes_(bytes) {
    info_.err = jpeg_std_error(&errors_);
    info_.client_data = this;
    errors_.error_exit = [](j_common_ptr info) { fail(info); };
    errors_.emit_message = [](j_common_ptr info, int level) {
      if (level < 0 && !is_harmless(info->err->msg_code)) fail(info);
    };
    progress_.progress_monitor = [](j_common_ptr info) {
      auto* self = static_cast<JpegReader*>(info->client_data);
      if (self->info_.input_scan_number <= kMaxScans) return;
      snprintf(self->message_, sizeof self->message_, "more than %d scans", kMaxScans);
      longjmp(self->back_, 1);
    };
  }
  JpegReader(const JpegReader&) = delete;
  JpegReader& operator=(const JpegReader&) = delete;
  ~JpegReader() { jpeg_destroy_decompress(&info_); }

  // Reads the header and chooses grey, RGB or CMYK. False: see message().
  bool start() {
    if (setjmp(back_)) return false;
    jpeg_create_decompress(&info_);
    info_.progress = &progress_;
    jpeg_save_markers(&info_, JPEG_APP0 + 1, 0xffff);
    jpeg_mem_src(&info_, reinterpret_cast<const unsigned char*>(bytes_.data()), bytes_.size());
    jpeg_read_header(&info_, TRUE);
    info_.out_color_space = components() == 1   ? JCS_GRAYSCALE
                            : components() == 4 ? JCS_CMYK
                                                : JCS_RGB;
    return true;
  }
  // Fills height() x width() x components() bytes.
  bool finish(std::uint8_t* to) {
    if (setjmp(back_)) return false;
    jpeg_start_decompress(&info_);
    const std::size_t row =
        std::size_t{info_.output_width} * static_cast<unsigned>(info_.output_components);
    while (info_.output_scanline < info_.output_height) {
      JSAMPROW line = to + row * info_.output_scanline;
      jpeg_read_scanlines(&info_, &line, 1);
    }
    jpeg_finish_decompress(&info_);
    return true;
  }
  std::int64_t height() const { return info_.image_height; }
  std::int64_t width() const { return info_.image_width; }
  int components() const { return info_.num_components; }
  const char* message() const { return message_; }
  bool out_of_memory() const { return errors_.msg_code == JERR_OUT_OF_MEMORY; }

  int orientation() const {
    constexpr std::string_view kExif("Exif\0\0", 6), kXmp("http://ns.adobe.com/xap/1.0/\0", 29);
    int exif = 0, xmp = 0;
    for (jpeg_saved_marker_ptr m = info_.marker_list; m; m = m->next) {
      const std::string_view data(reinterpret_cast<const char*>(m->data), m->data_length);
      if (!exif && data.starts_with(kExif)) exif = exif_orientation(data.substr(kExif.size()));
      if (!xmp && data.starts_with(kXmp)) xmp = xmp_orientation(data.substr(kXmp.size()));
    }
    return exif ? exif : std::max(1, xmp);
  }

 private:
  [[noreturn]] static void fail(j_common_ptr info) {
    auto* self = static_cast<JpegReader*>(info->client_data);
    info->err->format_message(info, self->message_);
    longjmp(self->back_, 1);
  }

  std::string_view bytes_;
  jpeg_decompress_struct info_{};
  jpeg_error_mgr errors_{};
  jpeg_progress_mgr progress_{};
  jmp_buf back_{};
  char message_[JMSG_LENGTH_MAX] = {};
};

Error damaged(const std::string& where, const JpegReader& jpeg) {
  if (jpeg.out_of_memory()) throw std::bad_alloc();
  const std::string_view text = jpeg.message();
  return Error(where, fmt::format("damaged JPEG: {}", text.substr(0, text.find('\n'))));
}

PictureHeader start(const std::string& where, JpegReader& jpeg) {
  if (!jpeg.start()) throw damaged(where, jpeg);
  const int components = jpeg.components();
  if (components != 1 && components != 3 && components != 4)
    throw Error(where,
                fmt::format("expected a grey, RGB or CMYK JPEG, got {} components", components));
  check_pixels(where, jpeg.height(), jpeg.width());
  return {jpeg.height(), jpeg.width(), components == 1 ? 1 : 3, jpeg.orientation()};
}

// Adobe's CMYK, stored inverted, as PIL converts it: with `left` of the light left by black, each
// ink takes its share.
void cmyk_to_rgb(const std::vector<std::uint8_t>& from, Tensor& pixels) {
  auto* to = pixels.data<std::uint8_t>();
  for (std::size_t i = 0; i < from.size(); i += 4) {
    const unsigned left = from[i + 3];
    for (std::size_t c = 0; c < 3; ++c) {
      const unsigned product = (255u - from[i + c]) * left + 128;
      *to++ = static_cast<std::uint8_t>(left - (((product >> 8) + product) >> 8));
    }
  }
}

}  // namespace

bool is_jpeg(std::string_view bytes) { return bytes.starts_with("\xff\xd8\xff"); }

PictureHeader jpeg_header(const std::string& where, std::string_view bytes) {
  JpegReader jpeg(bytes);
  return start(where, jpeg);
}

Picture decode_jpeg(const std::string& where, std::string_view bytes) {
  JpegReader jpeg(bytes);
  const PictureHeader header = start(where, jpeg);
  Picture picture{Tensor(Shape{header.height, header.width, header.channels}, DType::u8)};
  const bool cmyk = jpeg.components() == 4;
  std::vector<std::uint8_t> inks(cmyk ? static_cast<std::size_t>(header.height * header.width * 4)
                                      : 0);
  if (!jpeg.finish(cmyk ? inks.data() : picture.pixels.data<std::uint8_t>()))
    throw damaged(where, jpeg);
  if (cmyk) cmyk_to_rgb(inks, picture.pixels);
  return picture;
}

}  // namespace sfumato::io
