// The one exception type of the library. Every message names the operation, what was expected and
// what came: "[group_norm] channels 30 is not divisible by groups 8".
#pragma once
#include <stdexcept>
#include <string>
#include <string_view>

namespace sfumato {

class Error : public std::runtime_error {
 public:
  Error(std::string_view where, std::string_view what)
      : std::runtime_error(std::string("[").append(where).append("] ").append(what)) {}
};

}  // namespace sfumato
