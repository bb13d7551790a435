#include "diffusion/pipeline.h"

#include <fmt/format.h>

#include <algorithm>
#include <charconv>
#include <map>
#include <nlohmann/json.hpp>
#include <optional>
#include <span>

#include "diffusion/model_folder.h"
#include "nn/checkpoint.h"
#include "nn/self_conditioned.h"
#include "nn/unet.h"
#include "tensor/io/file.h"
#include "tensor/io/safetensors.h"

namespace sfumato::diffusion {
namespace {

namespace fs = std::filesystem;

// In the weights' metadata: a row, and a list in JSON.
constexpr const char* kNullLabel = "sfumato.null_label";
constexpr const char* kClassNames = "sfumato.class_names";
// Bytes of a class's name: as long as a folder's, and read back after writing replaced bytes.
constexpr std::size_t kMaxFileName = 256, kMaxClassName = 3 * kMaxFileName;

// Runs f and puts the file's name in front of what it throws.
template <class F>
auto in_file(const std::string& source, F f) {
  try {
    return f();
  } catch (const Error& e) {
    throw Error(source, e.what());
  }
}

// Entries of the weights' metadata: of the first file that has one.
const std::string* metadata(std::span<const io::SafeTensors> files, const char* key) {
  for (const io::SafeTensors& file : files)
    if (const auto it = file.metadata().find(key); it != file.metadata().end()) return &it->second;
  return nullptr;
}

std::optional<std::int64_t> read_null_label(std::span<const io::SafeTensors> files,
                                            std::int64_t rows) {
  const std::string* text = metadata(files, kNullLabel);
  if (!text) return std::nullopt;
  std::int64_t label = -1;
  const char *begin = text->data(), *end = begin + text->size();
  const auto parsed = std::from_chars(begin, end, label);
  if (parsed.ec != std::errc{} || parsed.ptr != end || label < 0 || label >= rows)
    throw Error(files[0].path().string(),
                fmt::format("metadata {}: expected a row of the class table, got {}", kNullLabel,
                            io::in_quotes(*text)));
  return label;
}

std::vector<std::string> read_class_names(std::span<const io::SafeTensors> files,
                                          const Pipeline& p) {
  const std::string* text = metadata(files, kClassNames);
  if (!text) return {};
  const io::JsonObject list(
      io::Json{{kClassNames, io::parse_json(*text, files[0].path().string())}},
      files[0].path().string() + ": metadata");
  std::vector<std::string> names = list.get_strings(kClassNames);
  if (const std::int64_t rows = p.conditioning().named_rows(); std::ssize(names) != rows)
    throw Error(list.source(), fmt::format("{}: expected {} names, one for each row of the class "
                                           "table, got {}",
                                           kClassNames, rows, names.size()));
  for (const std::string& name : names)
    if (name.size() > kMaxClassName)
      throw Error(list.source(), fmt::format("{}: expected names of at most {} bytes, got {}",
                                             kClassNames, kMaxClassName, io::in_quotes(name)));
  return names;
}

// As read_class_names wants it; rows beyond the names have none, and a null label at the end loses
// the one that it had as a class.
std::string write_class_names(const Pipeline& p) {
  std::vector<std::string> names = p.class_names;
  if (std::ssize(names) > p.conditioning().rows)
    throw Error("class names", fmt::format("there are {} of them for {} rows of the class table",
                                           names.size(), p.conditioning().rows));
  for (const std::string& name : names)
    if (name.size() > kMaxFileName)
      throw Error("class names", fmt::format("expected at most {} bytes, got {}", kMaxFileName,
                                             io::in_quotes(name)));
  names.resize(static_cast<std::size_t>(p.conditioning().named_rows()));
  // A folder's name may be no UTF-8; each byte replaced becomes three.
  return io::Json(names).dump(-1, ' ', false, io::Json::error_handler_t::replace);
}

}  // namespace

void Pipeline::expect_sampling() const {
  if (!sampling_problem.empty()) throw Error("sample", sampling_problem);
}

std::string variance_problem(const nn::Network& network, const SchedulerConfig& scheduler) {
  const std::int64_t in = network.in_channels, out = network.out_channels;
  if (scheduler.variance_type != Variance::learned_range || out == 2 * in) return "";
  return fmt::format(
      "variance_type learned_range: expected a network that maps {} channels to {}, got one that "
      "maps them to {}",
      in, 2 * in, out);
}

io::Extent read_sample_size(const io::JsonObject& config) {
  const char* key = config.contains("sample_size") ? "sample_size" : "image_size";  // before 0.1
  if (!config.contains(key)) return {};
  const io::Json& size = config.json().at(key);
  const auto hw =
      size.is_array() ? config.get_ints(key) : std::vector<std::int64_t>(2, config.get_int(key));
  if (hw.size() != 2 || std::min(hw[0], hw[1]) < 1 || std::max(hw[0], hw[1]) > 1 << 16)
    throw Error(config.source(),
                fmt::format("{}: expected a size in 1..65536 or a pair, got {}", key,
                            size.is_array() && size.size() > 4 ? "a longer list" : size.dump()));
  return {hw[0], hw[1]};
}

Pipeline make_pipeline(const nn::BuildNetwork& network, const SchedulerConfig& scheduler,
                       std::uint64_t seed, std::int64_t limit) {
  Pipeline p;
  p.scheduler = scheduler;
  p.params = std::make_unique<nn::Params>(seed, DType::f32, limit);
  p.network = network(nn::Scope(*p.params));
  p.params->flat_values();  // lays them out
  const std::string problem = terminal_noise_problem(make_schedule(scheduler));
  if (!problem.empty()) p.notes.push_back(problem);
  return p;
}

Pipeline make_pipeline(const nn::UNetConfig& unet, const SchedulerConfig& scheduler,
                       std::uint64_t seed, std::int64_t limit) {
  return make_pipeline(
      [&](const nn::Scope& scope) { return std::make_unique<nn::UNet>(scope, unet); }, scheduler,
      seed, limit);
}

Pipeline load_pipeline(const fs::path& dir, NotFinite rule) {
  ModelFolder folder = find_model(dir);
  std::vector<std::string> notes = std::move(folder.notes);
  const auto take_notes = [&](const std::vector<std::string>& more) {
    notes.insert(notes.end(), more.begin(), more.end());
  };
  const io::JsonObject config = io::JsonObject::read(folder.config);
  const io::Extent sample_size = read_sample_size(config);
  const nn::BuildNetwork network = nn::read_network(
      config, &notes, folder.pipeline.empty() ? "" : " of a " + io::in_quotes(folder.pipeline));

  SchedulerFile scheduler;
  if (folder.scheduler.empty()) {
    scheduler.schedule_known = false;
  } else {
    scheduler = parse_scheduler_config(io::JsonObject::read(folder.scheduler));
    take_notes(scheduler.notes);
  }

  std::vector<io::SafeTensors> weights;
  std::int64_t numbers = 0;
  for (const fs::path& file : find_weights(folder.config.parent_path(), notes)) {
    weights.emplace_back(file);
    for (const io::TensorEntry& e : weights.back().entries()) numbers += e.shape.size();
  }

  // The network may not be much larger than its file, a config can promise anything; but a bit, so
  // that load_parameters can say which parameter is missing or of another shape.
  const std::int64_t limit = 2 * numbers + (1 << 20);
  Pipeline p = in_file(weights[0].path().string(),
                       [&] { return make_pipeline(network, scheduler.config, 0, limit); });
  if (sample_size.height > 0) p.network->sample_size = sample_size;
  if (const auto row = read_null_label(weights, p.conditioning().rows))
    p.network->conditioning.null_label = row;
  p.class_names = read_class_names(weights, p);
  p.scheduler_found = scheduler.schedule_known;
  p.sampling_problem = scheduler.problem;
  if (const std::string what = variance_problem(*p.network, p.scheduler); !what.empty())
    p.sampling_problem = folder.scheduler.string() + ": " + what;
  if (!folder.decoder.empty())
    p.sampling_problem = fmt::format(
        "{}: the network draws latents, which the pipeline's {} decodes; sfumato has no such part",
        dir.string(), folder.decoder);
  std::vector<std::string> not_finite;
  nn::load_parameters(*p.params, weights, rule == NotFinite::note ? &not_finite : nullptr);
  constexpr std::size_t kShown = 5;
  if (not_finite.size() > kShown) {
    const std::size_t more = not_finite.size() - kShown;
    not_finite.resize(kShown);
    not_finite.push_back(fmt::format("and {} more parameters with such numbers", more));
  }
  take_notes(not_finite);
  p.notes.insert(p.notes.begin(), notes.begin(), notes.end());
  return p;
}

const nn::NetworkClass* network_class(const Pipeline& p) {
  return nn::find_network_class(p.network->config().at("_class_name").get<std::string>());
}

std::string network_part(const Pipeline& p) {
  const nn::NetworkClass* known = network_class(p);
  return known ? known->part : "unet";
}

std::vector<std::pair<std::string, io::Json>> pipeline_config(const Pipeline& p) {
  io::Json config = p.network->config();
  if (const auto [height, width] = p.network->sample_size; height > 0)
    config["sample_size"] = height == width ? io::Json(height) : io::Json::array({height, width});
  io::Json index = io::Json::object();
  const nn::NetworkClass* known = network_class(p);
  const std::string part = network_part(p);
  index["_class_name"] = known && known->pipeline ? known->pipeline : p.scheduler.sampler.pipeline;
  index["_diffusers_version"] = nn::kDiffusersVersion;
  index["scheduler"] = {"diffusers", p.scheduler.sampler.diffusers};
  index[part] = {known ? known->library : "diffusers", config.at("_class_name")};
  return {{part + "/config.json", config},
          {"scheduler/scheduler_config.json", to_json(p.scheduler)},
          {"model_index.json", index}};
}

std::map<std::string, std::string> weights_metadata(const Pipeline& p) {
  std::map<std::string, std::string> metadata{{"format", "pt"}};
  if (const auto row = p.conditioning().null_label) metadata[kNullLabel] = std::to_string(*row);
  if (!p.class_names.empty() && p.conditioning().named_rows() > 0)
    metadata[kClassNames] = write_class_names(p);
  return metadata;
}

void save_pipeline_config(const fs::path& dir, const Pipeline& p) {
  io::make_directories(dir / network_part(p));
  io::make_directories(dir / "scheduler");
  for (const auto& [name, json] : pipeline_config(p)) io::write_json(dir / name, json);
}

void save_pipeline_weights(const fs::path& dir, const Pipeline& p, const Tensor& flat) {
  nn::save_parameters(*p.params, flat, dir / network_part(p) / kWeightsFile, weights_metadata(p));
}

}  // namespace sfumato::diffusion
