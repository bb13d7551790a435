// What this program and this machine are: for `info` and for a run's record.
#pragma once
#include <nlohmann/json_fwd.hpp>
#include <string>

#include "tensor/io/json.h"

namespace sfumato::apps {

inline constexpr const char* kVersion = SFUMATO_VERSION;

// {"version", "compiler", "isa", "isas", "convolution", "threads", "cpu", "cores", "os"}
io::Json describe_machine();

}  // namespace sfumato::apps
