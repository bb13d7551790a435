// The order in which people count: folder 2 before folder 10.
#pragma once
#include <string_view>

namespace sfumato::io {

// Compares byte by byte, but runs of digits by their value: "a2" < "a10", "2" < "10". Names that
// then are equal ("1" and "01") are ordered by their bytes, so that this is a total order.
bool natural_less(std::string_view a, std::string_view b);

}  // namespace sfumato::io
