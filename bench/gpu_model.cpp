// What a GPU would need at least for the convolutions of a network, by what its kernels do in the emulator: products of tensor
// cores, accesses to shared memory, bytes copied from L2, and bytes that must come from memory and go there. Each divided by what
// a card does in a second; the largest binds. No time is measured: bench/gpu_kernels does that where there is a device.
//
//   cmake --preset cuda -DSFUMATO_BENCH=ON && cmake --build build-cuda --target bench_gpu_model
//   build-cuda/bench/gpu_model --config unet/config.json [--batch 128] [--precision bf16|tf32] [--card h100|h200]
#include <fmt/format.h>

#include <algorithm>
#include <functional>

#include "bench/command_line.h"
#include "bench/common.h"
#include "bench/shapes.h"
#include "cuda/emulator/mma.h"
#include "cuda/runtime.h"
#include "diffusion/names.h"
#include "nn/precision.h"
#include "tensor/error.h"
#include "tensor/rng.h"

using namespace sfumato;  // NOLINT: a program of one file

namespace {

constexpr Device kGpu = Device::cuda;

// Per second. Tensor cores: what the maker says, for mma.sync about two thirds of it (wgmma reaches the rest). Shared memory: 128
// bytes a clock on each multiprocessor. L2: what copies of what fits into it reach.
struct Card {
  const char* name;
  double bf16_macs, tf32_macs, shared_bytes, l2_bytes, memory_bytes;
};
constexpr double kMultiprocessors = 132, kClock = 1.755e9;
constexpr Card kCards[] = {
    {"h100", 495e12 * 2 / 3, 247e12 * 2 / 3, kMultiprocessors * 128 * kClock, 5.5e12, 3.35e12},
    {"h200", 495e12 * 2 / 3, 247e12 * 2 / 3, kMultiprocessors * 128 * kClock, 5.5e12, 4.8e12},
};
constexpr double kLaunch = 2e-6, kBlocksAtOnce = 2 * kMultiprocessors;

struct Options {
  std::string config, precision = "bf16", card = "h100";
  std::int64_t batch = 128;
};

const Card& card_of(const std::string& name) {
  for (const Card& card : kCards)
    if (card.name == name) return card;
  throw Error("--card", "expected h100 or h200, got '" + name + "'");
}

// What was counted while call() ran, for `factor` times the work.
struct Work {
  double products, shared, conflicts, sectors, missed, blocks, launches;
  Work(const std::function<void()>& call, double factor) {
    const cuda::emulator::Counts before = cuda::emulator::counts();
    const std::uint64_t launches_before = cuda::launches();
    call();
    synchronize(kGpu);
    const cuda::emulator::Counts after = cuda::emulator::counts();
    products = factor * static_cast<double>(after.products - before.products);
    shared = factor * static_cast<double>(after.shared_accesses - before.shared_accesses);
    conflicts = factor * static_cast<double>(after.conflicts - before.conflicts);
    sectors = factor * static_cast<double>(after.sectors - before.sectors);
    missed = factor * static_cast<double>(after.missed - before.missed);
    blocks = factor * static_cast<double>(after.blocks - before.blocks);
    launches = static_cast<double>(cuda::launches() - launches_before);
  }
};

struct Times {
  double tensor_cores, shared_memory, l2, memory;
  double longest() const { return std::max({tensor_cores, shared_memory, l2, memory}); }
  const char* bound() const {
    if (longest() == 0) return "nothing counted";
    return longest() == tensor_cores    ? "tensor cores"
           : longest() == shared_memory ? "shared memory"
           : longest() == l2            ? "L2"
                                        : "memory";
  }
};

template <class T>
Times times(const Work& work, double least_bytes, const Card& card) {
  constexpr bool kBf16 = sizeof(T) == 2;
  // Where there are too few blocks, some multiprocessors have none.
  const double idle = std::max(1.0, kBlocksAtOnce / work.blocks);
  return {.tensor_cores = idle * work.products * (kBf16 ? 2048 : 1024) /
                          (kBf16 ? card.bf16_macs : card.tf32_macs),
          .shared_memory = idle * (work.shared * 128 + work.sectors * 32) / card.shared_bytes,
          .l2 = work.missed * 32 / card.l2_bytes,
          .memory = least_bytes / card.memory_bytes};
}

template <class T>
void print_row(const bench::ConvShape& shape, int count, const Options& o) {
  // As few pictures as fill a few tiles.
  const std::int64_t few =
      std::min(o.batch, std::max<std::int64_t>(1, 512 / (shape.out * shape.out)));
  const kernels::Conv s = shape.of_batch(few);
  const double factor = static_cast<double>(o.batch) / static_cast<double>(few);
  const auto draw = [](const Shape& of, std::uint64_t stream) {
    return Rng(0, Purpose::general, stream, kGpu).normal(of).to(dtype_of<T>());
  };
  const Tensor x = draw({s.n, s.h, s.w, s.c}, 0), w = draw({s.k, s.c, s.kh, s.kw}, 1);
  const Tensor dy = draw({s.n, s.oh, s.ow, s.k}, 2);
  Tensor y(dy.shape(), dy.kind()), dx(x.shape(), x.kind());
  Tensor dw(w.shape(), {dtype_of<Wide<T>>(), kGpu});
  synchronize(kGpu);
  const kernels::Kernels<T>& gpu = kernels::on<T>(kGpu);
  const kernels::ConvInput<T> in{.x = x.data<T>()};
  const struct {
    const char* name;
    std::function<void()> call;
  } kinds[] = {
      {"forward", [&] { gpu.conv_forward(s, in, w.data<T>(), {.y = y.data<T>()}, nullptr); }},
      {"input", [&] { gpu.conv_backward(s, in, dy.data<T>(), w.data<T>(), {.dx = dx.data<T>()}); }},
      {"weight",
       [&] { gpu.conv_backward(s, in, dy.data<T>(), w.data<T>(), {.dw = dw.data<Wide<T>>()}); }}};
  const double bytes =
      factor * static_cast<double>((x.size() + y.size()) * static_cast<std::int64_t>(sizeof(T)));
  const double macs = factor * static_cast<double>(y.size() * s.c * s.kh * s.kw);
  for (const auto& [name, call] : kinds) {
    const Work work(call, factor);
    const Times t = times<T>(work, bytes, card_of(o.card));
    const double done = work.products * (sizeof(T) == 2 ? 2048 : 1024);
    fmt::print(
        "{:3}x{:<3} {:4} -> {:4} {}x{}/{} x{:<2} {:8} {:8.1f} us {:5.0f} TFLOP/s  {:15} useful "
        "{:3.0f} %  {}\n",
        shape.size, shape.size, shape.c, shape.k, shape.kernel, shape.kernel, shape.stride, count,
        name, (t.longest() + work.launches * kLaunch) * 1e6,
        2e-12 * macs / (t.longest() + work.launches * kLaunch), t.bound(),
        done > 0 ? 100 * macs / done : 0, work.conflicts > 0 ? "bank conflicts" : "");
  }
}

void run(const Options& o) {
  const auto& precision = diffusion::parse_row("precision", nn::Precision::all, o.precision);
  if (&precision == &nn::Precision::f32)
    throw Error("--precision",
                "expected bf16 or tf32, got f32, which tensor cores do not multiply");
  use_device("cuda");
  allow_tf32(kGpu, precision.tf32_products);
  for (const auto& [shape, count] : bench::convolutions_of(o.config)) {
    if (precision.dtype == DType::bf16) {
      print_row<bf16>(shape, count, o);
    } else {
      print_row<float>(shape, count, o);
    }
  }
}

}  // namespace

int main(int argc, char** argv) {
  Options o;
  bench::CommandLine line("What a GPU would need at least for the convolutions of a U-Net.");
  line.file("--config", o.config, "a diffusers unet config.json");
  line.number("--batch", o.batch, 1, 1 << 16, "pictures");
  line.text("--precision", o.precision, "bf16 or tf32");
  line.text("--card", o.card, "h100 or h200");
  if (const auto status = line.parse(argc, argv)) return *status;
  return bench::status_of([&] { run(o); });
}
