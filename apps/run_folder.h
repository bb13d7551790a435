// The folder of one training run: a valid diffusers pipeline folder from the first moment on, and
// beside it what resuming needs.
//
//   DIR/model_index.json, unet/ (or another part), scheduler/     the model (diffusion/pipeline.h)
//   DIR/sfumato/run.json                        options, identity of the data, version, machine
//   DIR/sfumato/state.safetensors               weights, EMA, optimiser, step: one file, replaced
//                                               atomically, so it is whole at any moment
//   DIR/sfumato/state.previous.safetensors      the one before, from which training went well
//   DIR/earlier/                                the model when a quarter of the training was done, for `sample --guide earlier`
//   DIR/metrics.jsonl, loss.svg, samples/       what one looks at
#pragma once
#include <filesystem>
#include <fstream>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "apps/chart.h"
#include "apps/event_file.h"
#include "apps/identity.h"
#include "apps/state_file.h"
#include "apps/train_options.h"
#include "tensor/io/lock.h"

namespace sfumato::apps {

struct Metrics {
  std::int64_t step;
  double loss, smoothed, lr, grad_norm, images_per_second, seconds;
};

// What run.json says.
struct RunRecord {
  TrainOptions options;
  std::optional<DataIdentity> data;  // none in records of old versions
  std::string isa, convolution;      // of the last process; empty where an old version says none
};

// In a run's folder: the model of an earlier step.
inline constexpr const char* kEarlierModel = "earlier";

// Of the run in `dir`, which may be training meanwhile. Throws Error when there is none.
RunRecord read_record(const std::filesystem::path& dir);

class RunFolder {
 public:
  // A new run: creates the folder, locks it, records what it is. Throws Error when it holds a run
  // or a model already.
  static RunFolder create(const std::filesystem::path& dir, const TrainOptions& options,
                          const DataIdentity& data);
  // An existing one: locks it. Throws Error when it holds no run.
  static RunFolder open(const std::filesystem::path& dir);

  const std::filesystem::path& dir() const { return dir_; }
  // Empty, or what the lock has to say (tensor/io/lock.h).
  const std::string& note() const { return lock_->note(); }
  std::filesystem::path samples() const { return dir_ / "samples"; }

  RunRecord record() const;
  // Puts these options, these data and this machine into the record.
  void update_record(const TrainOptions& options, const DataIdentity& data) const;

  bool has_state() const;
  // The newest checkpoint; or, with `previous`, the one before it, which then becomes the newest.
  // The message of an Error names what there is to go on from instead.
  void load_state(TrainState& state, diffusion::Pipeline& model, nn::AdamW& adam, nn::Ema& ema,
                  bool previous = false) const;
  // The step of the checkpoint before the newest, or none when there is no whole one.
  std::optional<std::int64_t> previous_step() const;
  // The model's weights (the EMA), then the resuming state: killed in between, both are whole, and
  // beside a state there is always a model. With `keep`, the state that is replaced becomes the
  // previous one.
  void save(const TrainState& state, const diffusion::Pipeline& model, const nn::AdamW& adam,
            const nn::Ema& ema, bool keep) const;

  // The moving average as a model of its own, unless there is one already.
  void keep_earlier(const diffusion::Pipeline& model, const nn::Ema& ema) const;

  // Drops what an earlier process logged beyond `step`, and continues from there.
  void open_metrics(std::int64_t step);
  // From now on log() also writes TensorBoard's events.
  void open_events(std::int64_t step);
  void log(const Metrics& metrics);
  void draw_loss_curve() const;

 private:
  explicit RunFolder(const std::filesystem::path& dir);

  std::filesystem::path dir_;
  std::unique_ptr<io::DirectoryLock> lock_;
  std::ofstream metrics_;
  std::optional<EventFile> events_;
  std::vector<CurvePoint> curve_;
};

}  // namespace sfumato::apps
