// What a user should know although nothing failed.
#pragma once
#include <string>
#include <vector>

namespace sfumato::apps {

// A line `note: ...` each, on the standard error.
void print_notes(const std::vector<std::string>& notes);

}  // namespace sfumato::apps
