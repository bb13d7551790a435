// `sfumato lab NAME`: the table of labs, and what all of them share: options, data, printing.
#include "apps/lab/lab.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <filesystem>
#include <memory>
#include <nlohmann/json.hpp>
#include <utility>

#include "apps/command_line.h"
#include "apps/notes.h"
#include "apps/setup.h"
#include "tensor/io/file.h"
#include "tensor/io/image.h"
#include "tensor/io/json.h"

namespace sfumato::apps {

// Each in a file of its own.
LabResult lab_vae(const LabSetting& setting);
LabResult lab_one_step(const LabSetting& setting);
LabResult lab_memory(const LabSetting& setting);
LabResult lab_bugs(const LabSetting& setting);
LabResult lab_elbo(const LabSetting& setting);

namespace {

constexpr Lab kLabs[] = {
    {"vae",
     "What does a variational autoencoder of the same size and the same amount of training draw in "
     "one shot?",
     lab_vae},
    {"one-step", "Could one denoising step do, if the network were trained hard enough?",
     lab_one_step},
    {"memory", "Does a model copy its training pictures, or draw new ones?", lab_memory},
    {"elbo", "What does the variational bound say of a model, and what if it is trained on it?",
     lab_elbo},
    {"bugs", "What do ten common mistakes look like, in the loss and in the pictures?", lab_bugs},
};

std::string text_of(const Cell& cell) {
  if (const auto* text = std::get_if<std::string>(&cell)) return *text;
  const Number& number = std::get<Number>(cell);
  return fmt::format("{:.{}f}", number.value, number.digits);
}

io::Json to_json(const Cell& cell) {
  if (const auto* text = std::get_if<std::string>(&cell)) return *text;
  const Number& number = std::get<Number>(cell);
  const double unit = std::pow(10, number.digits);
  return std::round(number.value * unit) / unit;
}

io::Json to_json(const Lab& lab, const LabOptions& o, const LabResult& result) {
  io::Json rows = io::Json::array();
  for (const std::vector<Cell>& row : result.rows) {
    io::Json cells = io::Json::array();
    for (const Cell& cell : row) cells.push_back(to_json(cell));
    rows.push_back(cells);
  }
  return {{"lab", lab.name},
          {"question", lab.question},
          {"settings",
           {{"data", o.data},
            {"size", o.size},
            {"seed", o.seed},
            {"quick", o.quick},
            {"share", o.share}}},
          {"columns", result.columns},
          {"rows", rows},
          {"picture", result.picture_rows},
          {"findings", result.findings}};
}

void write(const Lab& lab, const LabOptions& o, const LabResult& result) {
  const std::filesystem::path dir = o.out;
  io::make_directories(dir);
  io::write_file_atomic(dir / "table.md", as_markdown(lab, result));
  io::write_json(dir / "table.json", to_json(lab, o, result));
  if (result.picture.defined()) io::write_png(dir / "picture.png", result.picture);
}

const Lab& lab_named(const std::string& name) {
  std::string names;
  for (const Lab& lab : kLabs) {
    if (name == lab.name) return lab;
    names += fmt::format("{}{}", names.empty() ? "" : ", ", lab.name);
  }
  if (name.empty()) throw Error("lab", "expected the name of a lab: " + names);
  throw Error("lab", fmt::format("there is no lab {}; expected {}", io::in_quotes(name), names));
}

void run(const LabOptions& o) {
  const Lab& lab = lab_named(o.name);
  data::LoadOptions load = load_options(o.size, {});
  data::ImageDataset train = open_dataset(o.data, load);
  load.split = data::Split::test;
  data::ImageDataset test = open_dataset(o.data, load);
  data::match_split(test, train);
  if (data::used_labels(train).size() < 2)
    throw Error("lab", "expected pictures of two classes or more");
  if (train.images.dim(1) % 4 != 0 || train.images.dim(2) % 4 != 0)
    throw Error(
        "lab",
        fmt::format(
            "--size: expected multiples of 4, which the networks of the labs halve twice, got {}",
            o.size));
  fmt::print(stderr, "{}\n", lab.question);
  const LabResult result = lab.run({o, std::move(train), std::move(test)});
  fmt::print("{}", as_text(result));
  if (!o.out.empty()) write(lab, o, result);
}

}  // namespace

std::span<const Lab> labs() { return kLabs; }

std::int64_t LabOptions::count(std::int64_t full, std::int64_t quick_count,
                               std::int64_t least) const {
  const auto n = static_cast<double>(quick ? quick_count : full);
  return std::max(least, static_cast<std::int64_t>(std::lround(n * share)));
}

std::string as_text(const LabResult& result) {
  // Characters, not bytes: those that do not go on with one.
  const auto length = [](const std::string& s) {
    return std::count_if(s.begin(), s.end(), [](char c) { return (c & 0xC0) != 0x80; });
  };
  const auto width = [&](std::size_t column) {
    auto most = length(result.columns[column]);
    for (const std::vector<Cell>& row : result.rows)
      most = std::max(most, length(text_of(row[column])));
    return most;
  };
  std::string text;
  const auto add = [&](std::size_t column, const std::string& cell) {
    const std::string space(static_cast<std::size_t>(width(column) - length(cell)), ' ');
    text += column == 0 ? cell + space : "  " + space + cell;
    if (column + 1 == result.columns.size()) text += '\n';
  };
  for (std::size_t i = 0; i < result.columns.size(); ++i) add(i, result.columns[i]);
  for (const std::vector<Cell>& row : result.rows)
    for (std::size_t i = 0; i < row.size(); ++i) add(i, text_of(row[i]));
  for (const std::string& finding : result.findings) text += "\n" + finding;
  if (!result.findings.empty()) text += '\n';
  if (!result.seconds.empty()) text += "\nseconds:";
  for (const auto& [what, seconds] : result.seconds)
    text += fmt::format("  {} {:.1f}", what, seconds);
  if (!result.seconds.empty()) text += '\n';
  return text;
}

std::string as_markdown(const Lab& lab, const LabResult& result) {
  std::string text = fmt::format("# sfumato lab {}\n\n{}\n\n|", lab.name, lab.question);
  for (const std::string& column : result.columns) text += fmt::format(" {} |", column);
  text += "\n|";
  for (std::size_t i = 0; i < result.columns.size(); ++i) text += i == 0 ? "---|" : "---:|";
  for (const std::vector<Cell>& row : result.rows) {
    text += "\n|";
    for (const Cell& cell : row) text += fmt::format(" {} |", text_of(cell));
  }
  text += "\n";
  for (const std::string& finding : result.findings) text += fmt::format("\n- {}", finding);
  if (!result.picture_rows.empty()) text += "\n\nThe rows of picture.png, from the top:\n";
  for (const std::string& row : result.picture_rows) text += fmt::format("\n1. {}", row);
  return text + "\n";
}

RunSubcommand declare_lab(CommandLine& line) {
  const auto o = std::make_shared<LabOptions>();
  std::string names;
  for (const Lab& lab : kLabs) names += fmt::format("{}{}", names.empty() ? "" : ", ", lab.name);
  line.positional(o->name, {"name", "Which lab: " + names});
  line(o->data, {"data", "Labelled pictures with a test split, as `train` takes them"});
  line(o->size, {"size", kSizeOption.help});
  line(o->out, {"out", "Folder for table.md, table.json and picture.png"});
  line(o->classifier, {"classifier", "Weights of the classifier, as for `evaluate`"});
  line(o->seed, {"seed", "Seed of everything random"}, kSeeds);
  line(o->quick, {"quick", "A quarter of the time, and coarser numbers"});
  line(o->share, {"share", "Do this share of the training steps and pictures"}, {1e-4, 1e3});
  line.example("sfumato lab one-step --quick --out labs/one-step");
  return [o](Device device) {
    if (const Device cpu{}; device != cpu)
      throw Error("lab",
                  fmt::format("expected --device cpu, on which labs run, got {}", name(device)));
    run(*o);
  };
}

}  // namespace sfumato::apps
