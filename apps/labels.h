// Classes as the command line names them.
#pragma once
#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "diffusion/pipeline.h"

namespace sfumato::apps {

std::vector<std::string> split_at_commas(const std::string& text);

// None where `text` is not a whole number.
std::optional<std::int64_t> whole_number(const std::string& text);

// `text`, the value of `flag`, as the name of a class or as its number. Throws Error listing the classes.
std::int64_t parse_label(const char* flag, const std::string& text,
                         const diffusion::Pipeline& model);

// --labels: "all", "7", "0,1,2" or "cat,dog"; "" is all. For an unconditional model: numbers below
// `classes_of_classifier` where that is not 0, else empty. Throws Error as parse_label does.
std::vector<std::int64_t> parse_labels(const std::string& text, const diffusion::Pipeline& model,
                                       std::int64_t classes_of_classifier = 0);

}  // namespace sfumato::apps
