// Labs: an experiment each, which answers one question with a table and a picture. A lab is a function in a file of its
// own and a row of labs() in lab.cpp.
#pragma once
#include <cstdint>
#include <initializer_list>
#include <span>
#include <string>
#include <variant>
#include <vector>

#include "diffusion/data/dataset.h"
#include "tensor/tensor.h"

namespace sfumato::apps {

struct LabOptions {
  std::string name, data = "mnist", size = "16", out;
  std::string classifier;  // "": kept in the user's cache
  std::uint64_t seed = 0;
  bool quick = false;
  double share = 1;  // of the steps and pictures; tests make it small
  // `full`, or with --quick `quick`, times `share`; at least `least`.
  std::int64_t count(std::int64_t full, std::int64_t quick_count, std::int64_t least = 1) const;
};

// A cell of a table: a text, or a number and how many digits after the point are printed.
struct Number {
  double value;
  int digits = 2;
};
using Cell = std::variant<std::string, Number>;

struct LabResult {
  std::vector<std::string> columns;
  std::vector<std::vector<Cell>> rows;         // of as many cells as there are columns
  Tensor picture = {};                         // u8 [H,W,C]
  std::vector<std::string> picture_rows = {};  // what each row of the picture shows, from the top
  std::vector<std::string> findings = {};      // what the numbers say, a sentence each
  // Seconds that the parts took. They are printed and are in no table: a table is a function of seed and data.
  std::vector<std::pair<std::string, double>> seconds = {};
};

// The data of a lab, in its size.
struct LabSetting {
  const LabOptions& options;
  data::ImageDataset train, test;
};

struct Lab {
  const char *name, *question;
  LabResult (*run)(const LabSetting& setting);
};
std::span<const Lab> labs();

// Text with aligned columns, and Markdown.
std::string as_text(const LabResult& result);
std::string as_markdown(const Lab& lab, const LabResult& result);

}  // namespace sfumato::apps
