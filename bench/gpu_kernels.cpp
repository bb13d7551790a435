// The convolutions of a network on a GPU, forward and both gradients, each timed alone: bench/gpu_day puts them beside
// cuDNN's. Prints one JSON object, whose rows have the keys of `bench/torch_gpu convolutions`.
//
//   build-cuda-on/bench/gpu_kernels --config unet/config.json [--batch 128] [--precision f32|tf32|bf16]
#include <fmt/format.h>

#include <functional>
#include <nlohmann/json.hpp>

#include "bench/command_line.h"
#include "bench/common.h"
#include "bench/gpu_convolution.h"
#include "bench/shapes.h"
#include "diffusion/names.h"
#include "nn/precision.h"

using namespace sfumato;  // NOLINT: a program of one file

namespace {

constexpr Device kGpu = Device::cuda;

struct Options {
  std::string config, precision = "f32";
  std::int64_t batch = 128, calls = 20;
};

// Milliseconds a call, of `calls` in a row that nobody waits between: their launches cost no time of their own unless a
// call is shorter than they are.
double milliseconds(std::int64_t calls, const std::function<void()>& call) {
  call();
  std::vector<double> all;
  for (int i = 0; i < 5; ++i) {
    synchronize(kGpu);
    const double begin = bench::wall_seconds();
    for (std::int64_t k = 0; k < calls; ++k) call();
    synchronize(kGpu);
    all.push_back((bench::wall_seconds() - begin) * 1e3 / static_cast<double>(calls));
  }
  return bench::median(all);
}

template <class T>
io::Json times(const kernels::Conv& s, std::int64_t calls) {
  bench::GpuConvolution<T> c(s);
  return {{"forward_ms", milliseconds(calls, [&] { c.forward(); })},
          {"input_ms", milliseconds(calls, [&] { c.input_gradient(); })},
          {"weight_ms", milliseconds(calls, [&] { c.weight_gradient(); })}};
}

void run(const Options& o) {
  const auto& precision = diffusion::parse_row("precision", nn::Precision::all, o.precision);
  use_device("cuda");
  allow_tf32(kGpu, precision.tf32_products);
  io::Json rows = io::Json::array();
  for (const auto& [shape, count] : bench::convolutions_of(o.config)) {
    const kernels::Conv s = shape.of_batch(o.batch);
    io::Json row =
        precision.dtype == DType::bf16 ? times<bf16>(s, o.calls) : times<float>(s, o.calls);
    row.update({{"size", shape.size},
                {"c", shape.c},
                {"k", shape.k},
                {"kernel", shape.kernel},
                {"stride", shape.stride},
                {"out", shape.out},
                {"count", count}});
    rows.push_back(row);
  }
  fmt::print("{}\n", io::Json{{"rows", rows}}.dump());
}

}  // namespace

int main(int argc, char** argv) {
  Options o;
  bench::CommandLine line("Times the convolutions of a U-Net on a GPU.");
  line.file("--config", o.config, "a diffusers unet config.json");
  line.number("--batch", o.batch, 1, 1 << 16, "pictures");
  line.number("--calls", o.calls, 1, 1000, "calls in a row that are timed together");
  line.text("--precision", o.precision, "f32, tf32 or bf16");
  if (const auto status = line.parse(argc, argv)) return *status;
  return bench::status_of([&] { run(o); });
}
