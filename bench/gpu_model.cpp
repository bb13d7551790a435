// What a GPU would need at least for the convolutions of a network, by what its kernels do in the emulator: products of tensor
// cores, accesses to shared memory, bytes copied from L2, and bytes that must come from memory and go there. Each divided by what
// a card does in a second; the largest binds. No time is measured: bench/gpu_kernels does that where there is a device.
//
//   cmake --preset cuda -DSFUMATO_BENCH=ON && cmake --build build-cuda --target bench_gpu_model
//   build-cuda/bench/gpu_model --config unet/config.json [--batch 128] [--precision f32|tf32|bf16] [--card h100|h200]
//                              [--ptxas build-cuda-check/build.log]
//
// With the log of nvcc's build (scripts/test_cuda nvcc) a row names the registers of its largest launch and how many blocks of
// it run at once on a multiprocessor.
#include <fmt/format.h>

#include <algorithm>
#include <functional>

#include "bench/card.h"
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
  std::string config, precision = "bf16", card = "h100", ptxas;
  std::int64_t batch = 128;
};

// What was counted while call() ran, for `factor` times the work.
struct Work {
  bench::Load load;
  double launches = 0;
  cuda::emulator::BlockSize largest = {};  // of its launches

  Work(const std::function<void()>& call, double factor) {
    cuda::emulator::take_launches();
    call();
    synchronize(kGpu);
    std::uint64_t most = 0;
    for (const cuda::emulator::Launched& launch : cuda::emulator::take_launches()) {
      load = bench::Load::of_both(load, launch,
                                  [factor](double sum, double v) { return sum + factor * v; });
      launches += 1;
      const std::uint64_t threads = launch.blocks * static_cast<std::uint64_t>(launch.size.threads);
      if (threads > most) most = threads, largest = launch.size;
    }
  }
};

template <class T>
void print_rows(const bench::ConvShape& shape, int count, std::int64_t batch,
                const bench::Card& card, const std::optional<bench::PtxasLog>& log) {
  // As few pictures as fill a few tiles.
  const std::int64_t few =
      std::min(batch, std::max<std::int64_t>(1, 512 / (shape.out * shape.out)));
  const kernels::Conv s = shape.of_batch(few);
  const double factor = static_cast<double>(batch) / static_cast<double>(few);
  bench::GpuConvolution<T> c(s);
  synchronize(kGpu);
  const struct {
    const char* name;
    std::function<void()> call;
  } kinds[] = {{"forward", [&] { c.forward(); }},
               {"input", [&] { c.input_gradient(); }},
               {"weight", [&] { c.weight_gradient(); }}};
  const std::int64_t outputs = s.n * s.oh * s.ow * s.k, inputs = s.n * s.h * s.w * s.c;
  const double bytes = factor * static_cast<double>(inputs + outputs) * sizeof(T);
  const double macs = factor * static_cast<double>(outputs * s.c * s.kh * s.kw);
  for (const auto& [name, call] : kinds) {
    Work work(call, factor);
    work.load.memory_bytes = bytes;  // what must come from there and go there
    const bench::Residence residence(work.largest, log);
    const bench::Times t = bench::times(work.load, dtype_of<T>(), card);
    const double seconds = t.longest() + work.launches * bench::kLaunch;
    const double done = work.load.products * bench::macs_of(dtype_of<T>());
    fmt::print(
        "{:3}x{:<3} {:4} -> {:4} {}x{}/{} x{:<2} {:8} {:8.1f} us {:5.0f} TFLOP/s  {:15} useful "
        "{:3.0f} %  {}{}\n",
        shape.size, shape.size, shape.c, shape.k, shape.kernel, shape.kernel, shape.stride, count,
        name, seconds * 1e6, 2e-12 * macs / seconds, t.bound(), done > 0 ? 100 * macs / done : 0,
        residence.registers
            ? fmt::format("{} registers, {} at once  ", residence.registers, residence.blocks)
            : "",
        work.load.conflicts > 0 ? "bank conflicts" : "");
  }
}

void run(const Options& o) {
  const auto& precision = diffusion::parse_row("precision", nn::Precision::all, o.precision);
  const bench::Card& card = bench::card_of(o.card);
  std::optional<bench::PtxasLog> log;
  if (!o.ptxas.empty()) log.emplace(o.ptxas);
  use_device("cuda");
  allow_tf32(kGpu, precision.tf32_products);
  for (const auto& [shape, count] : bench::convolutions_of(o.config)) {
    if (precision.dtype == DType::bf16) {
      print_rows<bf16>(shape, count, o.batch, card, log);
    } else {
      print_rows<float>(shape, count, o.batch, card, log);
    }
  }
}

}  // namespace

int main(int argc, char** argv) {
  Options o;
  bench::CommandLine line("What a GPU would need at least for the convolutions of a U-Net.");
  line.file("--config", o.config, "a diffusers unet config.json");
  line.number("--batch", o.batch, 1, 1 << 16, "pictures");
  line.text("--precision", o.precision, "f32, tf32 or bf16");
  line.text("--card", o.card, "h100 or h200");
  line.text("--ptxas", o.ptxas, "what nvcc's build printed: registers and blocks at once");
  if (const auto status = line.parse(argc, argv)) return *status;
  return bench::status_of([&] { run(o); });
}
