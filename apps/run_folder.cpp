#include "apps/run_folder.h"

#include <fmt/format.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <nlohmann/json.hpp>

#include "apps/machine.h"
#include "tensor/io/json.h"

namespace sfumato::apps {
namespace {

namespace fs = std::filesystem;

fs::path record_path(const fs::path& dir) { return dir / "sfumato" / "run.json"; }
fs::path state_path(const fs::path& dir) { return dir / "sfumato" / "state.safetensors"; }
fs::path previous_path(const fs::path& dir) {
  return dir / "sfumato" / "state.previous.safetensors";
}

fs::path made(const fs::path& dir) {
  io::make_directories(dir);
  return dir;
}

bool is_there(const fs::path& path) {
  std::error_code ignored;
  return fs::exists(path, ignored);
}

// `to` becomes the file `from`, which stays: at any moment each of them is whole. Both are then one
// file, until AtomicFile puts another in the place of either.
void link_over(const fs::path& from, const fs::path& to) {
  io::check_locked(to);
  const fs::path link = to.parent_path() / ".sfumato-tmp-link";
  std::error_code error, ignored;
  fs::remove(link, ignored);
  fs::create_hard_link(from, link, error);
  if (!error) fs::rename(link, to, error);
  fs::remove(link, ignored);  // a rename between two names of one file leaves both
  if (!error) return;
  // A file system without hard links.
  const io::InputFile in(from);
  io::AtomicFile out(to);
  std::string buffer;
  for (std::uint64_t at = 0; at < in.size(); at += buffer.size()) {
    buffer.resize(static_cast<std::size_t>(std::min<std::uint64_t>(in.size() - at, 1 << 20)));
    in.read_at(at, buffer.data(), buffer.size());
    out.write(buffer);
  }
  out.commit();
}

io::Json record_of(const TrainOptions& options, const DataIdentity& data) {
  io::Json record = io::Json::object();
  record["format"] = 1;
  record["options"] = to_json(options);
  record["data"] = to_json(data);
  record["machine"] = describe_machine();
  return record;
}

}  // namespace

RunFolder::RunFolder(const fs::path& dir)
    : dir_(dir), lock_(std::make_unique<io::DirectoryLock>(made(dir))) {
  std::vector<fs::path> parts{".",       "scheduler", "sfumato",
                              "samples", "earlier",   "earlier/scheduler"};
  for (const std::string& part : nn::network_parts()) {
    parts.emplace_back(part);
    parts.push_back(fs::path("earlier") / part);
  }
  for (const fs::path& part : parts) {
    io::check_locked(dir / part);
    io::remove_stale_temporaries(dir / part);
  }
}

RunFolder RunFolder::create(const fs::path& dir, const TrainOptions& options,
                            const DataIdentity& data) {
  const io::Json record = record_of(options, data);  // throws before the folder is made
  RunFolder run(dir);
  if (is_there(record_path(dir)))
    throw Error(dir.string(),
                fmt::format("holds a training run already: go on with it by `sfumato train "
                            "--resume {}`, or choose another --out",
                            dir.string()));
  const std::vector<std::string> parts = nn::network_parts();
  if (is_there(dir / "model_index.json") ||
      std::any_of(parts.begin(), parts.end(), [&](auto& part) { return is_there(dir / part); }))
    throw Error(dir.string(), "holds a model already: choose another --out");
  io::make_directories(dir / "sfumato");
  io::make_directories(run.samples());
  io::write_json(record_path(dir), record);
  return run;
}

RunFolder RunFolder::open(const fs::path& dir) {
  if (!is_there(record_path(dir)))
    throw Error(dir.string(), "holds no training run (sfumato/run.json is missing)");
  return RunFolder(dir);
}

RunRecord RunFolder::record() const { return read_record(dir_); }

RunRecord read_record(const fs::path& dir) {
  const auto json = io::JsonObject::read(record_path(dir));
  if (const auto format = json.get_int("format"); format != 1)
    throw Error(json.source(), fmt::format("format: expected 1, got {}", format));
  RunRecord record{parse_train_options(json.get_object("options")), {}, "", ""};
  if (json.contains("data")) record.data = parse_data_identity(json.get_object("data"));
  if (json.contains("machine")) {
    const io::JsonObject machine = json.get_object("machine");
    record.isa = machine.get_string("isa", "");
    record.convolution = machine.get_string("convolution", "");
  }
  return record;
}

void RunFolder::update_record(const TrainOptions& options, const DataIdentity& data) const {
  const io::Json record = record_of(options, data);
  if (record != io::read_json(record_path(dir_))) io::write_json(record_path(dir_), record);
}

bool RunFolder::has_state() const {
  return is_there(state_path(dir_)) || is_there(previous_path(dir_));
}

std::optional<std::int64_t> RunFolder::previous_step() const {
  return step_of_state(previous_path(dir_));
}

void RunFolder::load_state(TrainState& state, diffusion::Pipeline& model, nn::AdamW& adam,
                           nn::Ema& ema, bool previous) const {
  const std::string dir = dir_.string();
  try {
    read_state(previous ? previous_path(dir_) : state_path(dir_), state, model, adam, ema);
  } catch (const Error& e) {
    const auto before = previous ? std::nullopt : previous_step();
    const std::string advice =
        before ? fmt::format(
                     "go on from the checkpoint before it, of step {}, with `sfumato train "
                     "--resume {} --previous`",
                     *before, dir)
               : fmt::format(
                     "a new run can begin from the model's weights: `sfumato train --init "
                     "{} --out DIR`",
                     dir);
    throw Error(dir, fmt::format("cannot go on from the checkpoint: {}; {}", e.what(), advice));
  }
  if (previous) link_over(previous_path(dir_), state_path(dir_));
}

void RunFolder::save(const TrainState& state, const diffusion::Pipeline& model,
                     const nn::AdamW& adam, const nn::Ema& ema, bool keep) const {
  diffusion::save_pipeline_weights(dir_, model, ema.average);
  if (keep) link_over(state_path(dir_), previous_path(dir_));
  write_state(state_path(dir_), state, model, adam, ema);
}

void RunFolder::keep_earlier(const diffusion::Pipeline& model, const nn::Ema& ema) const {
  const fs::path dir = dir_ / kEarlierModel;
  if (is_there(dir / "model_index.json")) return;
  io::make_directories(dir / diffusion::network_part(model));
  diffusion::save_pipeline_weights(dir, model, ema.average);
  diffusion::save_pipeline_config(dir, model);
}

void RunFolder::open_metrics(std::int64_t step) {
  const fs::path path = dir_ / "metrics.jsonl";
  std::string kept;
  if (is_there(path)) {
    const std::string text = io::read_file(path, std::uint64_t{1} << 32);
    for (std::size_t at = 0; at < text.size();) {
      const std::size_t end = text.find('\n', at);
      if (end == std::string::npos) break;  // a line cut short by a kill
      const std::string_view line(text.data() + at, end - at);
      at = end + 1;
      try {
        const io::JsonObject entry(io::parse_json(line, "metrics.jsonl"), "metrics.jsonl");
        if (entry.get_int("step") > step) break;
        curve_.push_back(
            {entry.get_number("step"), entry.get_number("loss"), entry.get_number("smoothed")});
      } catch (const Error&) {
        break;  // whatever follows a damaged line is not ours to interpret
      }
      kept.append(line).push_back('\n');
    }
    io::write_file_atomic(path, kept);
  }
  io::check_locked(path);
  metrics_.open(path, std::ios::app);
  if (!metrics_)
    throw Error(path.string(),
                fmt::format("cannot be opened for writing: {}", std::strerror(errno)));
}

void RunFolder::open_events(std::int64_t step) {
  lock_->check();
  events_.emplace(dir_, step);
}

void RunFolder::log(const Metrics& m) {
  io::Json j = io::Json::object();
  j["step"] = m.step;
  j["loss"] = m.loss;
  j["smoothed"] = m.smoothed;
  j["lr"] = m.lr;
  j["grad_norm"] = m.grad_norm;
  j["images_per_second"] = m.images_per_second;
  j["seconds"] = m.seconds;
  lock_->check();
  metrics_ << j.dump() << '\n' << std::flush;
  if (!metrics_)
    throw Error((dir_ / "metrics.jsonl").string(),
                fmt::format("cannot be written: {}", std::strerror(errno)));
  if (events_)
    events_->scalars(m.step, {{"loss", m.loss},
                              {"smoothed", m.smoothed},
                              {"lr", m.lr},
                              {"grad_norm", m.grad_norm},
                              {"images_per_second", m.images_per_second}});
  curve_.push_back({static_cast<double>(m.step), m.loss, m.smoothed});
}

void RunFolder::draw_loss_curve() const {
  write_loss_curve(dir_ / "loss.svg", "training loss", curve_);
}

}  // namespace sfumato::apps
