// PNG and JPEG files.
#include "tensor/io/image.h"

#include <zlib.h>

#include <utility>
#include <vector>

#include "tests/fuzz/common.h"

using namespace sfumato;

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  const std::string path = fuzz::put("picture", fuzz::as_text(data, size));
  fuzz::accepted([&] {
    const Tensor image = io::read_image(path);
    fuzz::require(image.shape().rank() == 3 && image.bytes() > 0);
    fuzz::require(image.dim(2) == 1 || image.dim(2) == 3);
    fuzz::read_all(image);
  });
  return 0;
}

namespace {

struct Chunk {
  std::string type, body;
};

std::string big_endian(std::size_t n) {
  return {static_cast<char>(n >> 24), static_cast<char>(n >> 16), static_cast<char>(n >> 8),
          static_cast<char>(n)};
}

const Bytef* bytes(const std::string& s) { return reinterpret_cast<const Bytef*>(s.data()); }

std::vector<Chunk> cut_png(std::string_view png) {
  std::vector<Chunk> chunks;
  for (std::string_view rest = png.substr(8); rest.size() >= 12;) {
    const auto* p = reinterpret_cast<const std::uint8_t*>(rest.data());
    const std::size_t length = std::size_t{p[0]} << 24 | p[1] << 16 | p[2] << 8 | p[3];
    const std::string_view body = rest.substr(8, std::min(length, rest.size() - 12));
    chunks.push_back({std::string(rest.substr(4, 4)), std::string(body)});
    rest.remove_prefix(12 + body.size());
  }
  return chunks;
}

// Mutates the pixels inside the compression.
void mutate_pixels(std::string& body) {
  std::string pixels(1 << 16, '\0');
  uLongf count = pixels.size();
  uncompress(reinterpret_cast<Bytef*>(pixels.data()), &count, bytes(body), body.size());
  pixels.resize(count);
  fuzz::mutate(pixels, 512);
  uLongf packed = compressBound(pixels.size());
  body.resize(packed);
  compress2(reinterpret_cast<Bytef*>(body.data()), &packed, bytes(pixels), pixels.size(), 1);
  body.resize(packed);
}

}  // namespace

// PNG, three times of four: mutates one chunk, or swaps two, and puts the checksums right.
extern "C" std::size_t LLVMFuzzerCustomMutator(std::uint8_t* data, std::size_t size,
                                               std::size_t max_size, unsigned seed) {
  if (size < 20 || data[0] != 0x89 || seed % 4 == 0) return LLVMFuzzerMutate(data, size, max_size);
  std::vector<Chunk> chunks = cut_png(fuzz::as_text(data, size));
  Chunk& chosen = chunks[seed / 4 % chunks.size()];
  const unsigned way = seed / 64 % 8;
  if (way == 0) {
    std::swap(chosen, chunks[seed / 512 % chunks.size()]);
  } else if (chosen.type == "IDAT" && way % 2 == 1) {
    mutate_pixels(chosen.body);
  } else {
    fuzz::mutate(chosen.body, 256);
  }
  std::string png(fuzz::as_text(data, 8));
  for (const Chunk& chunk : chunks) {
    const std::string summed = chunk.type + chunk.body;
    png += big_endian(chunk.body.size()) + summed +
           big_endian(crc32(0, bytes(summed), static_cast<uInt>(summed.size())));
  }
  if (png.size() > max_size) return LLVMFuzzerMutate(data, size, max_size);
  std::copy(png.begin(), png.end(), data);
  return png.size();
}
