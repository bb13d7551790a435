// gzip, for files that others unpack.
#pragma once
#include <string>
#include <string_view>

namespace sfumato::io {

// As small as zlib makes it; the same bytes for the same input.
std::string gzip(std::string_view bytes);

}  // namespace sfumato::io
