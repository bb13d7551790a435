// What a run needs to go on, in one safetensors file: weights, moving average, optimiser, counters.
// Its numbers carry a checksum (tensor/io/checksum.h); files of versions without one are read too.
#pragma once
#include <cstdint>
#include <filesystem>
#include <optional>

#include "diffusion/loss_history.h"
#include "diffusion/pipeline.h"
#include "nn/optim.h"

namespace sfumato::apps {

// Everything that changes while training, beside the network's tensors.
struct TrainState {
  std::int64_t step = 0;  // steps done
  double seconds = 0;     // spent on them
  double smoothed = 0;    // the smoothed loss
  // Of times that are drawn by loss: shares its tensors with the run's Times.
  std::optional<diffusion::LossHistory> time_losses = {};
};

// Throws Error naming the file, and changes nothing, unless the file is whole and holds what a run
// of this network can have. The history of times begins anew where the file has none.
void read_state(const std::filesystem::path& path, TrainState& state, diffusion::Pipeline& model,
                nn::AdamW& adam, nn::Ema& ema);
// Replaces the file atomically.
void write_state(const std::filesystem::path& path, const TrainState& state,
                 const diffusion::Pipeline& model, const nn::AdamW& adam, const nn::Ema& ema);
// The step of a state file, or none when it is not there or damaged.
std::optional<std::int64_t> step_of_state(const std::filesystem::path& path);

}  // namespace sfumato::apps
