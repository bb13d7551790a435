#include "tensor/io/checksum.h"

#include <fmt/format.h>

#include <algorithm>
#include <cstring>

#include "tensor/error.h"
#include "tensor/io/json.h"

namespace sfumato::io {
namespace {

// A bijection of `state` for any `word` and of `word` for any `state`: a change is never lost. The
// shift brings high bits down, where the next multiplication spreads them again.
std::uint64_t mixed(std::uint64_t state, std::uint64_t word) {
  state = (state ^ word) * 0x9e3779b97f4a7c15u;
  return state ^ state >> 32;
}

std::uint64_t add(std::uint64_t state, const std::string& name, const Tensor& numbers) {
  state = checksum(name.data(), name.size(), state);
  return checksum(numbers.raw(), numbers.bytes(), state);
}

std::string text_of(std::uint64_t sum) { return fmt::format("{:016x}", sum); }

}  // namespace

std::uint64_t checksum(const void* bytes, std::size_t count, std::uint64_t start) {
  const auto* from = static_cast<const unsigned char*>(bytes);
  std::uint64_t state = mixed(start, count);
  for (std::size_t at = 0; at < count; at += 8) {
    std::uint64_t word = 0;
    std::memcpy(&word, from + at, std::min<std::size_t>(8, count - at));
    state = mixed(state, word);
  }
  return state;
}

std::string checksum_text(const std::vector<std::pair<std::string, Tensor>>& tensors) {
  std::vector<const std::pair<std::string, Tensor>*> order;
  order.reserve(tensors.size());
  for (const auto& item : tensors) order.push_back(&item);
  std::sort(order.begin(), order.end(),
            [](const auto* a, const auto* b) { return a->first < b->first; });
  std::uint64_t state = 0;
  for (const auto* item : order) state = add(state, item->first, item->second);
  return text_of(state);
}

void verify_checksum(const SafeTensors& file) {
  const auto it = file.metadata().find(kChecksumKey);
  if (it == file.metadata().end()) return;
  std::uint64_t state = 0;
  for (const std::string& name : file.names()) state = add(state, name, file.tensor(name));
  if (it->second != text_of(state))
    throw Error(file.path().string(),
                fmt::format("the file is damaged: its numbers have the checksum {}, its metadata "
                            "{} says {} (a program that changes numbers on purpose leaves it out)",
                            text_of(state), kChecksumKey, in_quotes(it->second)));
}

}  // namespace sfumato::io
