#include "diffusion/pipeline.h"

#include <fmt/format.h>

#include <charconv>
#include <nlohmann/json.hpp>
#include <span>

#include "diffusion/model_folder.h"
#include "nn/checkpoint.h"
#include "tensor/io/file.h"
#include "tensor/io/safetensors.h"

namespace sfumato::diffusion {
namespace {

namespace fs = std::filesystem;

constexpr const char* kWeights = "diffusion_pytorch_model.safetensors";
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

// Rows that can have a name: all but a null label at the end.
std::size_t named_rows(const Pipeline& p) {
  const std::int64_t rows =
      p.unet_config.class_embed == nn::ClassEmbed::table ? p.unet_config.num_class_embeds : 0;
  return static_cast<std::size_t>(rows - (rows > 0 && p.null_label == rows - 1 ? 1 : 0));
}

std::vector<std::string> read_class_names(std::span<const io::SafeTensors> files,
                                          const Pipeline& p) {
  const std::string* text = metadata(files, kClassNames);
  if (!text) return {};
  const io::JsonObject list(
      io::Json{{kClassNames, io::parse_json(*text, files[0].path().string())}},
      files[0].path().string() + ": metadata");
  std::vector<std::string> names = list.get_strings(kClassNames);
  if (names.size() != named_rows(p))
    throw Error(list.source(), fmt::format("{}: expected {} names, one for each row of the class "
                                           "table, got {}",
                                           kClassNames, named_rows(p), names.size()));
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
  if (static_cast<std::int64_t>(names.size()) > p.unet_config.num_class_embeds)
    throw Error("class names", fmt::format("there are {} of them for {} rows of the class table",
                                           names.size(), p.unet_config.num_class_embeds));
  for (const std::string& name : names)
    if (name.size() > kMaxFileName)
      throw Error("class names", fmt::format("expected at most {} bytes, got {}", kMaxFileName,
                                             io::in_quotes(name)));
  names.resize(named_rows(p));
  // A folder's name may be no UTF-8; each byte replaced becomes three.
  return io::Json(names).dump(-1, ' ', false, io::Json::error_handler_t::replace);
}

}  // namespace

std::int64_t Pipeline::classes() const {
  if (unet_config.class_embed != nn::ClassEmbed::table) return 0;
  return unet_config.num_class_embeds - (null_label ? 1 : 0);
}

void Pipeline::expect_sampling() const {
  if (!sampling_problem.empty()) throw Error("sample", sampling_problem);
}

Pipeline make_pipeline(const nn::UNetConfig& unet, const SchedulerConfig& scheduler,
                       std::optional<std::int64_t> null_label, std::uint64_t seed,
                       std::int64_t limit) {
  Pipeline p;
  p.unet_config = unet;
  p.scheduler = scheduler;
  p.null_label = null_label;
  p.params = std::make_unique<nn::Params>(seed, DType::f32, limit);
  p.unet = std::make_unique<nn::UNet>(nn::Scope(*p.params), unet);
  p.params->flat_values();  // lays them out
  const std::string problem = terminal_noise_problem(make_schedule(scheduler));
  if (!problem.empty()) p.notes.push_back(problem);
  return p;
}

Pipeline load_pipeline(const fs::path& dir, NotFinite rule) {
  ModelFolder folder = find_model(dir);
  std::vector<std::string> notes = std::move(folder.notes);
  const auto take_notes = [&](const std::vector<std::string>& more) {
    notes.insert(notes.end(), more.begin(), more.end());
  };
  const io::JsonObject unet_json = io::JsonObject::read(folder.config);
  nn::expect_unet_class(unet_json,
                        folder.pipeline.empty() ? "" : " of a " + io::in_quotes(folder.pipeline));
  const nn::UNetConfig unet = nn::parse_unet_config(unet_json, &notes);

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
  const std::optional<std::int64_t> null_label = read_null_label(weights, unet.num_class_embeds);

  // The network may not be much larger than its file, a config can promise anything; but a bit, so
  // that load_parameters can say which parameter is missing or of another shape.
  const std::int64_t limit = 2 * numbers + (1 << 20);
  Pipeline p = in_file(weights[0].path().string(),
                       [&] { return make_pipeline(unet, scheduler.config, null_label, 0, limit); });
  p.class_names = read_class_names(weights, p);
  p.scheduler_found = scheduler.schedule_known;
  p.sampling_problem = scheduler.problem;
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

void save_pipeline_config(const fs::path& dir, const Pipeline& p) {
  io::make_directories(dir / "unet");
  io::make_directories(dir / "scheduler");
  io::write_json(dir / "unet" / "config.json", nn::to_json(p.unet_config));
  io::write_json(dir / "scheduler" / "scheduler_config.json", to_json(p.scheduler));
  io::Json index;
  index["_class_name"] = p.scheduler.method == Method::ddim ? "DDIMPipeline" : "DDPMPipeline";
  index["_diffusers_version"] = nn::kDiffusersVersion;
  index["scheduler"] = {"diffusers", diffusers_name(p.scheduler.method)};
  index["unet"] = {"diffusers", "UNet2DModel"};
  io::write_json(dir / "model_index.json", index);
}

void save_pipeline_weights(const fs::path& dir, const Pipeline& p, const Tensor& flat) {
  std::map<std::string, std::string> metadata{{"format", "pt"}};
  if (p.null_label) metadata[kNullLabel] = std::to_string(*p.null_label);
  if (!p.class_names.empty() && named_rows(p) > 0) metadata[kClassNames] = write_class_names(p);
  nn::save_parameters(*p.params, flat, dir / "unet" / kWeights, metadata);
}

}  // namespace sfumato::diffusion
