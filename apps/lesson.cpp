// `sfumato lesson`: the lesson's page (apps/lesson) around one's own run: its weights, its loss while training, its data.
#include <fmt/format.h>

#include <algorithm>
#include <filesystem>
#include <functional>
#include <memory>
#include <nlohmann/json.hpp>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "apps/command_line.h"
#include "apps/notes.h"
#include "apps/run_folder.h"
#include "apps/setup.h"
#include "diffusion/model_folder.h"
#include "tensor/f16.h"
#include "tensor/io/file.h"
#include "tensor/io/gzip.h"

namespace sfumato::apps {
namespace {

namespace fs = std::filesystem;

struct LessonOptions {
  std::string model, out, page, data;
};

// Files in the page's own file system (apps/lesson/bridge.h), by their names.
using PageFiles = std::vector<std::pair<std::string, std::string>>;

// Between these the page holds the files that belong to the model (apps/lesson/page.html).
constexpr std::string_view kDataBegin = "<!--DATA-->", kDataEnd = "<!--END OF DATA-->";
constexpr std::uint64_t kLargestPage = std::uint64_t{1} << 28;

// The page that is filled: --page, or what scripts/lesson has built here or beside the program.
fs::path template_page(const std::string& named) {
  const fs::path usual = fs::path("build-wasm") / "lesson.html";
  std::vector<fs::path> places{usual, program_folder() / ".." / usual};
  if (!named.empty()) places = {named};
  std::error_code ignored;
  for (const fs::path& place : places)
    if (fs::exists(place, ignored)) return place;
  throw Error("lesson", fmt::format("expected the page that scripts/lesson builds, there is no {}: "
                                    "run scripts/lesson, or name a page with --page",
                                    places[0].string()));
}

std::string base64(std::string_view bytes) {
  constexpr std::string_view kDigits =
      "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
  std::string text;
  for (std::size_t i = 0; i < bytes.size(); i += 3) {
    const std::size_t count = std::min<std::size_t>(3, bytes.size() - i);
    std::uint32_t bits = 0;
    for (std::size_t k = 0; k < 3; ++k)
      bits = bits << 8 | (k < count ? static_cast<std::uint8_t>(bytes[i + k]) : 0u);
    for (std::size_t k = 0; k < 4; ++k)
      text += k > count ? '=' : kDigits[bits >> (18 - 6 * k) & 63];
  }
  return text;
}

// The page with these files instead of its own, as apps/lesson/build.py embeds them.
std::string with_data(const fs::path& path, const PageFiles& files) {
  std::string page = io::read_file(path, kLargestPage);
  const std::size_t begin = page.find(kDataBegin), end = page.find(kDataEnd);
  if (begin == std::string::npos || end == std::string::npos || end < begin)
    throw Error(path.string(),
                fmt::format("expected a page of scripts/lesson, with {} and {} in it", kDataBegin,
                            kDataEnd));
  std::string text(kDataBegin);
  for (const auto& [name, bytes] : files)
    text += fmt::format("\n<script type=\"text/plain\" data-file=\"{}\">{}</script>", name,
                        base64(io::gzip(bytes)));
  page.replace(begin, end - begin, text + "\n");
  return page;
}

// The weights as a safetensors file in float16.
std::string in_float16(const diffusion::Pipeline& model) {
  io::Json header = {{"__metadata__", diffusion::weights_metadata(model)}};
  std::string numbers;
  for (const nn::Params::Entry& entry : model.params->entries()) {
    const Tensor& value = entry.var.value();
    const std::size_t begin = numbers.size();
    for (const float v : value.values<float>()) {
      const std::uint16_t bits = to_f16(v);
      numbers += {static_cast<char>(bits & 255), static_cast<char>(bits >> 8)};
    }
    const Shape& shape = value.shape();
    io::Json& of = header[entry.name];
    of["dtype"] = "F16";
    of["shape"] = std::vector<std::int64_t>(shape.begin(), shape.end());
    of["data_offsets"] = std::vector<std::size_t>{begin, numbers.size()};
  }
  std::string text = header.dump();
  text.append((8 - text.size() % 8) % 8, ' ');
  std::string file;
  for (int i = 0; i < 8; ++i) file += static_cast<char>(text.size() >> 8 * i & 255);
  return file + text + numbers;
}

// What a page can run, beside whatever load_pipeline refuses.
void expect_page_can_run(const LessonOptions& o, const diffusion::Pipeline& model) {
  model.expect_sampling();
  const auto refuse = [&](const std::string& what) {
    throw Error(o.model, "the page cannot run this network: " + what);
  };
  if (model.conditioning().kind != nn::Conditioning::Kind::none &&
      !model.conditioning().has_table())
    refuse("expected one that is told a class or nothing, this one is told numbers");
  if (model.network->takes_estimate)
    refuse("expected one of x_t alone, this one is self-conditioned");
  const diffusion::Schedule schedule = diffusion::make_schedule(model.scheduler);
  if (schedule.path != &diffusion::Path::variance_preserving)
    refuse(fmt::format("expected DDPM's process, its schedule {} is of another",
                       model.scheduler.beta_schedule.name));
}

// The test split of the run's data, which the model has not seen, where there is one.
data::ImageDataset page_dataset(const LessonOptions& o, const std::optional<TrainOptions>& trained,
                                const diffusion::Pipeline& model) {
  const std::string from = !o.data.empty() ? o.data : trained ? trained->data : "mnist";
  data::LoadOptions load =
      trained ? load_options(trained->size, trained->background) : data::LoadOptions{};
  data::ImageDataset train = open_dataset(from, load), test;
  load.split = data::Split::test;
  try {
    test = open_dataset(from, load);
    data::match_split(test, train);
  } catch (const Error&) {
    test = train;
  }
  if (trained && trained->pad) data::pad_to_multiple(test, model.network->size_multiple);
  return test;
}

void expect_fitting(const data::ImageDataset& data, const diffusion::Pipeline& model) {
  constexpr std::int64_t kFewest = 100, kLargest = 64;
  const Shape& s = data.images.shape();
  const auto [height, width] = model.network->sample_size;
  if (s[1] != height || s[2] != width || s[3] != model.network->in_channels)
    throw Error("data",
                fmt::format("pictures are {}x{}x{}, the model's are {}x{}x{}: name its data "
                            "with --data",
                            s[1], s[2], s[3], height, width, model.network->in_channels));
  if (s[1] > kLargest || s[2] > kLargest)
    throw Error("data", fmt::format("pictures are {}x{}, a page can show at most {}x{}", s[1], s[2],
                                    kLargest, kLargest));
  if (s[0] < kFewest)
    throw Error("data", fmt::format("expected at least {} pictures, got {}", kFewest, s[0]));
  const nn::Conditioning& conditioning = model.conditioning();
  if (conditioning.has_table() && (data.classes == 0 || data.classes > conditioning.rows))
    throw Error("data", fmt::format("has {} classes, the model's table has {} rows", data.classes,
                                    conditioning.rows));
}

PageFiles picture_files(const data::ImageDataset& data) {
  constexpr std::int64_t kBytes =
      std::int64_t{6000} * 28 * 28;  // of all pictures, unless fewer than 100 fit
  const Shape& s = data.images.shape();
  const std::int64_t size = s[1] * s[2] * s[3];
  const std::int64_t n = std::min(s[0], std::max<std::int64_t>(100, kBytes / size));
  const std::uint8_t* pixels = data.images.data<std::uint8_t>();
  std::string labels(static_cast<std::size_t>(n), '\0');
  for (std::int64_t i = 0; data.classes > 0 && i < n; ++i)
    labels[static_cast<std::size_t>(i)] = static_cast<char>(data.labels.data<std::int64_t>()[i]);
  return {{"pictures/shape.json", io::Json({n, s[1], s[2], s[3]}).dump()},
          {"pictures/images.u8", std::string(pixels, pixels + n * size)},
          {"pictures/labels.u8", labels}};
}

// {"name", "step", "loss"}: the run's smoothed loss while training, at some hundred steps; without lines of its
// metrics.jsonl that cannot be read, such as one that is being written.
std::string run_file(const fs::path& model) {
  constexpr std::size_t kPoints = 300;
  std::vector<std::pair<std::int64_t, double>> curve;
  std::error_code ignored;
  if (const fs::path file = model / "metrics.jsonl"; fs::exists(file, ignored)) {
    const std::string text = io::read_file(file, kLargestPage);
    for (std::size_t at = 0, end; at < text.size(); at = end + 1) {
      end = std::min(text.find('\n', at), text.size());
      try {
        const io::JsonObject line(io::parse_json(text.substr(at, end - at), "metrics.jsonl"),
                                  "metrics.jsonl");
        curve.emplace_back(line.get_int("step"), line.get_number("smoothed"));
      } catch (const Error&) {
      }
    }
  }
  io::Json steps = io::Json::array(), losses = io::Json::array();
  const std::size_t every = curve.size() / kPoints + 1;
  for (std::size_t i = 0; i < curve.size(); ++i) {
    if (i % every != 0 && i + 1 != curve.size()) continue;
    steps.push_back(curve[i].first);
    losses.push_back(curve[i].second);
  }
  const fs::path folder = fs::absolute(model).lexically_normal();
  const std::string name = (folder.has_filename() ? folder : folder.parent_path()).filename();
  return io::Json({{"name", io::printable(name)}, {"step", steps}, {"loss", losses}}).dump();
}

void lesson(const LessonOptions& o) {
  const fs::path page = template_page(o.page);
  io::AtomicFile out(o.out);  // throws before any work
  const diffusion::Pipeline model = diffusion::load_pipeline(o.model);
  expect_page_can_run(o, model);
  std::optional<TrainOptions> trained;
  if (std::error_code ignored; fs::exists(fs::path(o.model) / "sfumato" / "run.json", ignored))
    trained = read_record(o.model).options;
  const data::ImageDataset data = page_dataset(o, trained, model);
  expect_fitting(data, model);
  print_notes(model.notes);
  PageFiles files = picture_files(data);
  for (const auto& [name, json] : diffusion::pipeline_config(model))
    files.emplace_back("model/" + name, json.dump());
  files.emplace_back(
      fmt::format("model/{}/{}", diffusion::network_part(model), diffusion::kWeightsFile),
      in_float16(model));
  files.emplace_back("run.json", run_file(o.model));
  const std::string text = with_data(page, files);
  out.write(text);
  out.commit();
  fmt::print("{}: {:.1f} MB; open it in a browser\n", o.out,
             static_cast<double>(text.size()) * 1e-6);
}

}  // namespace

RunSubcommand declare_lesson(CommandLine& line) {
  const auto o = std::make_shared<LessonOptions>();
  line(o->model, kModelOption);
  line(o->out, {"out", "The page, one HTML file"});
  line.required({"model", "out"});
  line(o->page, {"page", "A page that scripts/lesson built (default: build-wasm/lesson.html)"});
  line(o->data,
       {"data", "Pictures to show (default: the test split of those that the run was trained on)"});
  line.example("sfumato lesson --model runs/mnist --out mine.html");
  return [o](Device) { lesson(*o); };
}

}  // namespace sfumato::apps
