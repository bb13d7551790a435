// IDX files, raw and gzip-compressed.
#include "tensor/io/idx.h"

#include <zlib.h>

#include "tests/fuzz/common.h"

using namespace sfumato;

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  const std::string path = fuzz::put("images-idx3-ubyte", fuzz::as_text(data, size));
  fuzz::accepted([&] {
    const Tensor tensor = io::read_idx(path);
    fuzz::require(tensor.bytes() > 0);
    fuzz::read_all(tensor);
  });
  return 0;
}

// Half of the time what is inside the gzip stream is mutated, and compressed again.
extern "C" std::size_t LLVMFuzzerCustomMutator(std::uint8_t* data, std::size_t size,
                                               std::size_t max_size, unsigned seed) {
  constexpr std::size_t kRoom = 1 << 16;
  constexpr int kGzip = 15 + 16;  // zlib's windowBits
  if (size < 2 || data[0] != 0x1f || data[1] != 0x8b || seed % 2 == 0)
    return LLVMFuzzerMutate(data, size, max_size);
  std::string inside(kRoom, '\0'), packed(max_size, '\0');
  auto* bytes = reinterpret_cast<Bytef*>(inside.data());

  z_stream in{};
  fuzz::require(inflateInit2(&in, kGzip) == Z_OK);
  in.next_in = data, in.avail_in = static_cast<uInt>(size);
  in.next_out = bytes, in.avail_out = kRoom;
  inflate(&in, Z_FINISH);
  const std::size_t mutated = LLVMFuzzerMutate(bytes, kRoom - in.avail_out, kRoom);
  inflateEnd(&in);

  z_stream out{};
  const int level = static_cast<int>(seed / 2 % 10), strategy = static_cast<int>(seed / 32 % 4);
  fuzz::require(deflateInit2(&out, level, Z_DEFLATED, kGzip, 8, strategy) == Z_OK);
  out.next_in = bytes, out.avail_in = static_cast<uInt>(mutated);
  out.next_out = reinterpret_cast<Bytef*>(packed.data()),
  out.avail_out = static_cast<uInt>(max_size);
  const int status = deflate(&out, Z_FINISH);
  const std::size_t packed_size = max_size - out.avail_out;
  deflateEnd(&out);
  if (status != Z_STREAM_END) return LLVMFuzzerMutate(data, size, max_size);
  std::memcpy(data, packed.data(), packed_size);
  return packed_size;
}
