// Text from files and file names, made fit for a terminal: whoever wrote it must not be able to
// move the cursor, change colours, begin a new line or turn the reading direction.
#pragma once
#include <string>
#include <string_view>
#include <vector>

namespace sfumato::io {

// `text` in double quotes and on one line: control characters (also those of Latin-1), separators
// of lines, invisible characters and marks of the reading direction are escaped as \u1234, bytes
// that are not UTF-8 as \xff. A long text is cut between two characters; "..." follows then.
std::string in_quotes(std::string_view text);

// The names in quotes, separated by commas; after the first twelve only their number.
std::string in_quotes(const std::vector<std::string>& names);

// A whole message, with the same characters escaped; quotes and backslashes stay, nothing is cut.
std::string printable(std::string_view message);

// The same for text of several lines, whose ends stay.
std::string printable_lines(std::string_view text);

}  // namespace sfumato::io
