// Files of other tools' formats, made byte by byte for the tests.
#pragma once
#include <zlib.h>

#include <cstdint>
#include <initializer_list>
#include <stdexcept>
#include <string>
#include <string_view>

namespace sfumato::io {

inline std::string big_endian(std::uint32_t v) {
  std::string bytes;
  for (int shift = 24; shift >= 0; shift -= 8) bytes += static_cast<char>(v >> shift & 255);
  return bytes;
}

inline std::string idx(std::initializer_list<std::uint32_t> extents, std::string_view data) {
  std::string bytes = {0, 0, 8, static_cast<char>(extents.size())};
  for (std::uint32_t extent : extents) bytes += big_endian(extent);
  return bytes.append(data);
}

// Deflated with zlib's (window_bits 15) or gzip's (31) frame.
inline std::string deflated(std::string_view bytes, int window_bits) {
  z_stream z{};
  if (deflateInit2(&z, 6, Z_DEFLATED, window_bits, 8, Z_DEFAULT_STRATEGY) != Z_OK)
    throw std::runtime_error("deflateInit2");
  std::string out(deflateBound(&z, bytes.size()) + 32, '\0');
  z.next_in = reinterpret_cast<Bytef*>(const_cast<char*>(bytes.data()));
  z.avail_in = static_cast<uInt>(bytes.size());
  z.next_out = reinterpret_cast<Bytef*>(out.data());
  z.avail_out = static_cast<uInt>(out.size());
  if (deflate(&z, Z_FINISH) != Z_STREAM_END) throw std::runtime_error("deflate");
  out.resize(z.total_out);
  deflateEnd(&z);
  return out;
}

inline std::string gzip(std::string_view bytes) { return deflated(bytes, 15 + 16); }

inline std::string png_chunk(const std::string& type, const std::string& data) {
  const std::string body = type + data;
  const uLong crc =
      crc32(0, reinterpret_cast<const Bytef*>(body.data()), static_cast<uInt>(body.size()));
  return big_endian(static_cast<std::uint32_t>(data.size())) + body +
         big_endian(static_cast<std::uint32_t>(crc));
}

struct PngKind {
  char depth, color_type, interlace = 0;
};

// `rows`: the scanlines with their filter bytes. `extra`: chunks between IHDR and IDAT.
inline std::string png(std::uint32_t width, std::uint32_t height, PngKind kind,
                       std::string_view rows, const std::string& extra = "") {
  const std::string header = big_endian(width) + big_endian(height) +
                             std::string{kind.depth, kind.color_type, 0, 0, kind.interlace};
  return "\x89PNG\r\n\x1a\n" + png_chunk("IHDR", header) + extra +
         png_chunk("IDAT", deflated(rows, 15)) + png_chunk("IEND", "");
}

}  // namespace sfumato::io
