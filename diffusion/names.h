// Tables of variants and their names: one table serves printing, parsing, --help and the message that lists what would
// have been accepted.
#pragma once
#include <iterator>
#include <string>
#include <string_view>

#include "tensor/error.h"
#include "tensor/io/text.h"

namespace sfumato::diffusion {

// A row of a table of enumerators.
template <class E>
struct EnumName {
  E value;
  std::string_view name;  // also in scheduler_config.json
  std::string_view diffusers = name;
};

// A table holds rows, or pointers to rows that are defined elsewhere.
template <class Row>
const Row& row_of(const Row& row) {
  return row;
}
template <class Row>
const Row& row_of(const Row* row) {
  return *row;
}

template <class E, std::size_t n>
std::string_view name_of(const EnumName<E> (&table)[n], E value) {
  for (const EnumName<E>& row : table)
    if (row.value == value) return row.name;
  throw Error("name", "the value is no enumerator");
}

// The name that diffusers, or PyTorch, has for a row; ours where it has none.
template <class Row>
std::string_view other_name(const Row& row) {
  if constexpr (requires { row.diffusers; })
    return row.diffusers;
  else
    return row.name;
}

// The row of that name, which is ours or that of diffusers; null if there is none.
template <class Table>
auto find_row(const Table& table, std::string_view name) -> decltype(&row_of(*std::begin(table))) {
  for (const auto& entry : table)
    if (const auto& row = row_of(entry); name == row.name || name == other_name(row)) return &row;
  return nullptr;
}

// Our names, separated by commas.
template <class Table>
std::string names_in(const Table& table) {
  std::string names;
  for (const auto& entry : table)
    names += (names.empty() ? "" : ", ") + std::string(row_of(entry).name);
  return names;
}

// Throws Error naming `what` and listing the names of diffusers.
template <class Table>
const auto& parse_row(const char* what, const Table& table, std::string_view name) {
  if (const auto* row = find_row(table, name)) return *row;
  std::string expected;
  for (const auto& entry : table)
    expected += (expected.empty() ? "" : ", ") + std::string(row_of(entry).diffusers);
  throw Error(what, io::in_quotes(name) + " is not supported; expected " + expected);
}

}  // namespace sfumato::diffusion
