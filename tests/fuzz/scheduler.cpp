// scheduler_config.json -> a schedule -> some steps of sampling.
#include <nlohmann/json.hpp>

#include "diffusion/pipeline.h"
#include "diffusion/sampler.h"
#include "tensor/io/json.h"
#include "tensor/parallel.h"
#include "tests/fuzz/common.h"

using namespace sfumato;

namespace {

diffusion::SchedulerConfig parse(std::string_view text) {
  const diffusion::SchedulerFile file =
      diffusion::parse_scheduler_config(io::JsonObject(io::parse_json(text, "file"), "file"));
  for (const std::string& note : file.notes) fuzz::require_printable(note);
  fuzz::require_printable(file.problem);
  return file.config;
}

}  // namespace

extern "C" int LLVMFuzzerInitialize(int*, char***) {
  set_thread_count(1);
  return 0;
}

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  fuzz::accepted([&] {
    const diffusion::SchedulerConfig config = parse(fuzz::as_text(data, size));
    const std::string written = diffusion::to_json(config).dump();
    fuzz::require(diffusion::to_json(parse(written)).dump() == written);
    if (config.num_train_timesteps > 20000) return;  // slow
    const diffusion::Schedule schedule = diffusion::make_schedule(config);
    const Tensor x = Rng(1, Purpose::noise, 0).normal({2, 3});
    const auto denoiser = [](const Tensor& xt, std::int64_t) { return xt; };
    for (const std::int64_t steps : {1, 3, 7, 16})
      for (const double eta : {0.0, 1.0})
        fuzz::accepted([&] {
          diffusion::sample(schedule, {.config = config, .steps = steps, .eta = eta}, denoiser, x);
        });
  });
  return 0;
}
