// Lines to the user on the standard error, beside a command's own output.
#pragma once
#include <string>
#include <vector>

namespace sfumato::apps {

// "note: ..." each. What comes from files is made fit for a terminal.
void print_notes(const std::vector<std::string>& notes);

}  // namespace sfumato::apps
