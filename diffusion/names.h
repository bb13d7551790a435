// Enumerators and their names: one table per enum serves printing, parsing and the message that
// lists what would have been accepted.
#pragma once
#include <cstddef>
#include <string>
#include <string_view>

#include "tensor/error.h"
#include "tensor/io/json.h"

namespace sfumato::diffusion {

template <class E>
struct EnumName {
  E value;
  const char* name;       // ours, after the papers
  const char* diffusers;  // in scheduler_config.json
};

template <class E, std::size_t n>
const EnumName<E>& find_name(const EnumName<E> (&table)[n], E value) {
  for (const auto& row : table)
    if (row.value == value) return row;
  throw Error("find_name", "the value is no enumerator");
}

// Accepts either name; throws Error naming `what` and listing the names of diffusers.
template <class E, std::size_t n>
E parse_name(const char* what, const EnumName<E> (&table)[n], std::string_view name) {
  std::string expected;
  for (const auto& row : table) {
    if (name == row.name || name == row.diffusers) return row.value;
    expected += (expected.empty() ? "" : ", ") + std::string(row.diffusers);
  }
  throw Error(what, io::in_quotes(name) + " is not supported; expected " + expected);
}

}  // namespace sfumato::diffusion
