// The folder of one training run: a valid diffusers pipeline folder from the first moment on, and
// beside it what resuming needs.
//
//   DIR/model_index.json, unet/, scheduler/     the model (diffusion/pipeline.h)
//   DIR/sfumato/run.json                        configuration, seed, version, machine
//   DIR/sfumato/state.safetensors               weights, EMA, optimiser, step: one file, replaced
//                                               atomically, so it is whole at any moment
//   DIR/metrics.jsonl, loss.svg, samples/       what one looks at
#pragma once
#include <filesystem>
#include <fstream>
#include <memory>
#include <string>
#include <vector>

#include "apps/chart.h"
#include "apps/options.h"
#include "diffusion/pipeline.h"
#include "nn/optim.h"
#include "tensor/io/file.h"

namespace sfumato::apps {

// Everything that changes while training.
struct TrainState {
  std::int64_t step = 0;  // steps done
  double seconds = 0;     // spent on them
  double smoothed = 0;    // the smoothed loss
};

struct Metrics {
  std::int64_t step;
  double loss, smoothed, lr, grad_norm, images_per_second, seconds;
};

class RunFolder {
 public:
  // A new run: creates the folder, locks it, records the options. Throws Error when it holds a run
  // or a model already.
  static RunFolder create(const std::filesystem::path& dir, const TrainOptions& options);
  // An existing one: locks it. Throws Error when it holds no run.
  static RunFolder open(const std::filesystem::path& dir);

  const std::filesystem::path& dir() const { return dir_; }
  std::filesystem::path samples() const { return dir_ / "samples"; }
  TrainOptions options() const;

  bool has_state() const;
  void load_state(TrainState& state, diffusion::Pipeline& model, nn::AdamW& adam,
                  nn::Ema& ema) const;
  // The model's weights (the EMA), then the resuming state: killed in between, both are whole, and
  // beside a state there is always a model.
  void save(const TrainState& state, const diffusion::Pipeline& model, const nn::AdamW& adam,
            const nn::Ema& ema) const;

  // Drops what an earlier process logged beyond `step`, and continues from there.
  void open_metrics(std::int64_t step);
  void log(const Metrics& metrics);
  void draw_loss_curve() const;

 private:
  explicit RunFolder(const std::filesystem::path& dir);

  std::filesystem::path dir_;
  std::unique_ptr<io::DirectoryLock> lock_;
  std::ofstream metrics_;
  std::vector<CurvePoint> curve_;
};

}  // namespace sfumato::apps
