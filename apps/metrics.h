// The measures that --metrics asks for.
#pragma once
#include <string>
#include <string_view>

#include "apps/judge.h"

namespace sfumato::apps {

// From names separated by commas, in the order of the table; `default`: those that are quick, `all`: all of them. Throws
// Error for another name.
Judge::Metrics parse_metrics(std::string_view text);

std::string metrics_help();

}  // namespace sfumato::apps
