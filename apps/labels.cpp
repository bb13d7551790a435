#include "apps/labels.h"

#include <fmt/format.h>

#include <algorithm>
#include <charconv>
#include <string_view>
#include <system_error>

#include "diffusion/generate.h"
#include "tensor/io/text.h"

namespace sfumato::apps {

std::vector<std::string> split_at_commas(const std::string& text) {
  std::vector<std::string> parts;
  for (std::size_t at = 0; at <= text.size();) {
    const std::size_t comma = std::min(text.find(',', at), text.size());
    parts.push_back(text.substr(at, comma - at));
    at = comma + 1;
  }
  return parts;
}

std::optional<std::int64_t> whole_number(const std::string& text) {
  std::int64_t value = 0;
  const char* end = text.data() + text.size();
  const auto parsed = std::from_chars(text.data(), end, value);
  if (parsed.ec != std::errc{} || parsed.ptr != end) return std::nullopt;
  return value;
}

namespace {

// Whether a class is called by another class's number: then numbers in --labels mean names alone.
bool has_misleading_numbers(const std::vector<std::string>& names) {
  for (std::size_t i = 0; i < names.size(); ++i)
    if (whole_number(names[i]) && names[i] != std::to_string(i)) return true;
  return false;
}

}  // namespace

std::int64_t parse_label(const char* flag, const std::string& text,
                         const diffusion::Pipeline& model) {
  const std::vector<std::string>& names = model.class_names;
  const auto named = std::find(names.begin(), names.end(), text);
  if (!text.empty() && named != names.end()) return named - names.begin();
  const std::vector<std::int64_t> known = diffusion::drawable_labels(model);
  const auto number = has_misleading_numbers(names) ? std::nullopt : whole_number(text);
  if (number && number == model.conditioning().null_label)
    throw Error("sample", fmt::format("{}: {} stands for 'no class' in this model", flag, *number));
  if (number && std::find(known.begin(), known.end(), *number) != known.end()) return *number;
  std::string list;
  for (std::size_t i = 0; i < known.size() && i < 20 && !names.empty(); ++i)
    list += (i ? ", " : "") + io::in_quotes(names[static_cast<std::size_t>(known[i])]);
  if (names.empty()) list = fmt::format("0..{}", known.empty() ? 0 : known.back());
  if (!names.empty() && known.size() > 20) list += ", ...";
  const bool several = std::string_view(flag) == "--labels";
  throw Error("sample", fmt::format("{}: expected {} {}{}, got {}", flag,
                                    several ? "all, or some of" : "one of", list,
                                    several ? " separated by commas" : "", io::in_quotes(text)));
}

namespace {

// Classes of a classifier, which has no names for them.
std::vector<std::int64_t> parse_classes(const std::string& text, std::int64_t classes) {
  std::vector<std::int64_t> labels;
  if (text.empty() || text == "all") {
    for (std::int64_t k = 0; k < classes; ++k) labels.push_back(k);
    return labels;
  }
  for (const std::string& part : split_at_commas(text)) {
    const auto number = whole_number(part);
    if (!number || *number < 0 || *number >= classes)
      throw Error("sample", fmt::format("--labels: expected all, or some of 0..{} separated by "
                                        "commas, got {}",
                                        classes - 1, io::in_quotes(part)));
    labels.push_back(*number);
  }
  return labels;
}

}  // namespace

std::vector<std::int64_t> parse_labels(const std::string& text, const diffusion::Pipeline& model,
                                       std::int64_t classes_of_classifier) {
  if (model.conditioning().classes() == 0) {
    if (classes_of_classifier > 0) return parse_classes(text, classes_of_classifier);
    if (!text.empty()) throw Error("sample", "--labels: the model is unconditional");
    return {};
  }
  if (text.empty() || text == "all") return diffusion::drawable_labels(model);
  std::vector<std::int64_t> labels;
  for (const std::string& part : split_at_commas(text))
    labels.push_back(parse_label("--labels", part, model));
  return labels;
}

}  // namespace sfumato::apps
