// What a network is told about a picture besides x_t and t: nothing, or a label.
#pragma once
#include <cstdint>
#include <optional>

#include "tensor/tensor.h"

namespace sfumato::nn {

struct Conditioning {  // a plain value
  // The labels that a batch of N pictures has.
  enum class Kind {
    none,      // no labels
    table,     // i64 [N], rows of a learned table; the only kind that is trained and sampled here
    timestep,  // numbers [N], embedded like t
    identity   // vectors [N, width], added to the embedding of t
  };
  Kind kind = Kind::none;
  std::int64_t rows = 0;   // of the table; 0 without one
  std::int64_t width = 0;  // of identity's vectors
  // The row that stands for "no class": label dropout trains it, guidance needs it.
  std::optional<std::int64_t> null_label = {};
  bool operator==(const Conditioning&) const = default;

  bool has_table() const { return kind == Kind::table; }
  // Rows that mean a class: 0 without a table.
  std::int64_t classes() const { return has_table() ? rows - (null_label ? 1 : 0) : 0; }
  // Rows that can have a name: all but a null label in the last one.
  std::int64_t named_rows() const {
    return has_table() ? rows - (rows > 0 && null_label == rows - 1 ? 1 : 0) : 0;
  }

  // Throws Error unless `label` is a row of the table.
  void check(std::int64_t label) const;
  // Throws Error unless these are labels for n pictures; undefined for Kind::none.
  void check(const Tensor& labels, std::int64_t n) const;
  // Labels of n pictures, all zero; undefined for Kind::none.
  Tensor zeros(std::int64_t n) const;
};

}  // namespace sfumato::nn
