#include "diffusion/data/left_out.h"

#include <fmt/format.h>

#include <algorithm>

#include "tensor/io/json.h"

namespace sfumato::data {
namespace {

constexpr std::size_t kMostKinds = 12;

}  // namespace

void LeftOut::add(const std::string& kind, const std::string& example, std::int64_t count) {
  const auto same = [&](const Kind& k) { return k.kind == kind; };
  const auto known = std::find_if(kinds_.begin(), kinds_.end(), same);
  if (known != kinds_.end())
    known->count += count;
  else if (kinds_.size() < kMostKinds)
    kinds_.push_back({kind, example, count});
  else if (kinds_.size() == kMostKinds || kinds_.back().kind != "others")
    kinds_.push_back({"others", example, count});
  else
    kinds_.back().count += count;
}

void LeftOut::add(const LeftOut& other) {
  for (const Kind& k : other.kinds_) add(k.kind, k.example, k.count);
}

std::string LeftOut::text() const {
  std::string line;
  for (const Kind& k : kinds_)
    line += fmt::format("{}{}: {} ({})", line.empty() ? "" : ", ", k.kind, k.count,
                        io::in_quotes(k.example));
  return line;
}

}  // namespace sfumato::data
