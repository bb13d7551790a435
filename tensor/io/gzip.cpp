#include "tensor/io/gzip.h"

#include <zlib.h>

#include "tensor/error.h"

namespace sfumato::io {

std::string gzip(std::string_view bytes) {
  z_stream z{};
  constexpr int kGzip = 16, kWindow = 15, kMemory = 9;
  if (deflateInit2(&z, Z_BEST_COMPRESSION, Z_DEFLATED, kWindow + kGzip, kMemory,
                   Z_DEFAULT_STRATEGY) != Z_OK)
    throw Error("gzip", "cannot start compression");
  std::string packed(deflateBound(&z, static_cast<uLong>(bytes.size())), '\0');
  z.next_in = reinterpret_cast<Bytef*>(const_cast<char*>(bytes.data()));
  z.avail_in = static_cast<uInt>(bytes.size());
  z.next_out = reinterpret_cast<Bytef*>(packed.data());
  z.avail_out = static_cast<uInt>(packed.size());
  const int code = deflate(&z, Z_FINISH);
  packed.resize(z.total_out);
  deflateEnd(&z);
  if (code != Z_STREAM_END) throw Error("gzip", "expected less than 4 GiB");
  return packed;
}

}  // namespace sfumato::io
