// A model's folder -> two steps of sampling. Parts: unet/config.json, scheduler_config.json,
// model_index.json, then the weights.
#include "diffusion/pipeline.h"

#include "diffusion/generate.h"
#include "tensor/parallel.h"
#include "tests/fuzz/common.h"

using namespace sfumato;

extern "C" int LLVMFuzzerInitialize(int*, char***) {
  set_thread_count(1);
  for (const char* part : {"model/unet", "model/scheduler"})
    std::filesystem::create_directories(fuzz::scratch() / part);
  return 0;
}

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  std::string_view rest = fuzz::as_text(data, size);
  fuzz::put("model/unet/config.json", fuzz::next_part(rest));
  fuzz::put("model/scheduler/scheduler_config.json", fuzz::next_part(rest));
  fuzz::put("model/model_index.json", fuzz::next_part(rest));
  fuzz::put("model/unet/diffusion_pytorch_model.safetensors", rest);
  fuzz::accepted([&] {
    const diffusion::Pipeline model = diffusion::load_pipeline(fuzz::scratch() / "model");
    for (const std::string& note : model.notes) fuzz::require_printable(note);
    fuzz::require_printable(model.sampling_problem);
    if (model.network->sample_size.height * model.network->sample_size.width > 1024 ||
        model.params->count() > 200000)
      return;  // slow
    diffusion::GenerateOptions options;
    options.labels = {0, std::max<std::int64_t>(model.conditioning().rows - 1, 0)};
    options.steps = 2;
    const Tensor pictures = diffusion::generate(model, options);
    fuzz::require(pictures.dim(0) == 2);
    fuzz::read_all(pictures);
  });
  return 0;
}
