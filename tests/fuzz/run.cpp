// A run's folder from somebody else. Parts: sfumato/run.json, metrics.jsonl, then the state.
#include <nlohmann/json.hpp>

#include "apps/run_folder.h"
#include "tensor/parallel.h"
#include "tests/fuzz/common.h"

using namespace sfumato;

namespace {

// The network of the seeds' states.
diffusion::Pipeline make_model() {
  nn::UNetConfig config;
  config.block_out_channels = {4};
  config.layers_per_block = 1;
  config.down_attention = config.up_attention = {false};
  config.mid_block = false;
  config.norm_num_groups = 4;
  config.in_channels = config.out_channels = 1;
  return diffusion::make_pipeline(config, {}, 0);
}

}  // namespace

extern "C" int LLVMFuzzerInitialize(int*, char***) {
  set_thread_count(1);
  std::filesystem::create_directories(fuzz::scratch() / "run/sfumato");
  return 0;
}

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  std::string_view rest = fuzz::as_text(data, size);
  fuzz::put("run/sfumato/run.json", fuzz::next_part(rest));
  fuzz::put("run/metrics.jsonl", fuzz::next_part(rest));
  fuzz::put("run/sfumato/state.safetensors", rest);
  fuzz::put("run/sfumato/state.previous.safetensors", rest);
  static diffusion::Pipeline model = make_model();
  static nn::AdamW adam(*model.params, {});
  static nn::Ema ema(*model.params, 0.9);
  fuzz::accepted([&] {
    apps::RunFolder folder = apps::RunFolder::open(fuzz::scratch() / "run");
    fuzz::accepted([&] { folder.record(); });
    folder.previous_step();
    apps::TrainState state;
    const bool loaded = fuzz::accepted([&] { folder.load_state(state, model, adam, ema); });
    if (loaded) fuzz::require(state.step >= 0 && state.step <= std::int64_t{1} << 40);
    folder.open_metrics(state.step);
    folder.log({state.step + 1, 0.5, 0.5, 1e-3, 1, 100, 1.5});
    folder.draw_loss_curve();
    if (loaded) folder.save(state, model, adam, ema, true);
  });
  return 0;
}
