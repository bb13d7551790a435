// unet/config.json -> a network -> forward and back.
#include <nlohmann/json.hpp>

#include "autograd/ops.h"
#include "diffusion/pipeline.h"
#include "tensor/io/json.h"
#include "tensor/parallel.h"
#include "tests/fuzz/common.h"

using namespace sfumato;

namespace {

nn::UNetConfig parse(std::string_view text) {
  return nn::parse_unet_config(io::JsonObject(io::parse_json(text, "file"), "file"));
}

}  // namespace

extern "C" int LLVMFuzzerInitialize(int*, char***) {
  set_thread_count(1);
  return 0;
}

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  fuzz::accepted([&] {
    const nn::UNetConfig config = parse(fuzz::as_text(data, size));
    const std::string written = nn::to_json(config).dump();
    fuzz::require(nn::to_json(parse(written)).dump() == written);
    const diffusion::Pipeline model = diffusion::make_pipeline(config, {}, 0, 60000);
    const std::int64_t side = config.size_multiple();
    if (side > 16 || config.in_channels > 64 || config.out_channels > 64) return;  // slow
    const Tensor x = Rng(1, Purpose::noise, 0).normal({1, side, 2 * side, config.in_channels});
    model.params->zero_grad();
    const Var y =
        (*model.network)(x, Tensor::full({1}, 7, DType::i64), model.conditioning().zeros(1));
    mse(y, Tensor::zeros(y.shape())).backward();
  });
  return 0;
}
