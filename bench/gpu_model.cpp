// What a GPU would need at least for the convolutions of a network, by what its kernels do in the emulator: products of tensor
// cores, accesses to shared memory, bytes copied from L2, and bytes that must come from memory and go there. Each divided by what
// a card does in a second; the largest binds. No time is measured: bench/gpu_kernels does that where there is a device.
//
//   cmake --preset cuda -DSFUMATO_BENCH=ON && cmake --build build-cuda --target bench_gpu_model
//   build-cuda/bench/gpu_model --config unet/config.json [--batch 128] [--precision bf16|tf32] [--card h100|h200]
//                              [--ptxas build-cuda-check/build.log]
//
// With the log of nvcc's build (scripts/test_cuda nvcc) a row names the registers of its largest launch and how many blocks of
// it run at once on a multiprocessor; otherwise two are assumed.
#include <fmt/format.h>

#include <algorithm>
#include <functional>

#include "bench/command_line.h"
#include "bench/common.h"
#include "bench/gpu_convolution.h"
#include "bench/occupancy.h"
#include "bench/shapes.h"
#include "cuda/emulator/mma.h"
#include "cuda/runtime.h"
#include "diffusion/names.h"
#include "nn/precision.h"
#include "tensor/error.h"

using namespace sfumato;  // NOLINT: a program of one file

namespace {

constexpr Device kGpu = Device::cuda;

// What an H100 or H200 does in a second. Multiplications and additions of tensor cores: by mma.sync, about two thirds of what
// the maker says (wgmma reaches the rest). Bytes of shared memory: 128 a clock on each multiprocessor. Of L2: what copies of
// what fits into it reach.
constexpr double kMultiprocessors = 132, kClock = 1.755e9;
constexpr double kBf16Macs = 495e12 * 2 / 3, kTf32Macs = 247e12 * 2 / 3;
constexpr double kSharedBytes = kMultiprocessors * 128 * kClock, kL2Bytes = 5.5e12;
constexpr double kLaunch = 2e-6;

struct Card {
  const char* name;
  double memory_bytes;
};
constexpr Card kCards[] = {{"h100", 3.35e12}, {"h200", 4.8e12}};

struct Options {
  std::string config, precision = "bf16", card = "h100", ptxas;
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
  cuda::emulator::BlockSize largest;  // of its launches
  Work(const std::function<void()>& call, double factor) {
    const cuda::emulator::Counts before = cuda::emulator::counts();
    const std::uint64_t launches_before = cuda::launches();
    cuda::emulator::take_largest_launch();
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
    largest = cuda::emulator::take_largest_launch().size;
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

// Of one multiply_add.
template <class T>
constexpr double kMacs = 16.0 * 8 * 32 / sizeof(T);

// Of the largest launch; on a multiprocessor.
struct Residence {
  int registers = 0, blocks = 2;  // 0: not known, then two blocks are assumed
  Residence(const Work& work, const std::optional<bench::PtxasLog>& log) {
    if (!log || !work.largest.kernel) return;
    if (const auto found = log->registers(work.largest.kernel)) {
      registers = *found;
      blocks = bench::blocks_at_once(work.largest, registers);
    }
  }
  std::string text() const {
    return registers ? fmt::format("{} registers, {} at once  ", registers, blocks) : "";
  }
};

template <class T>
Times times(const Work& work, double least_bytes, const Card& card, int blocks_at_once) {
  // Where there are too few blocks, some multiprocessors have none.
  const double idle = std::max(1.0, blocks_at_once * kMultiprocessors / work.blocks);
  return {
      .tensor_cores = idle * work.products * kMacs<T> / (sizeof(T) == 2 ? kBf16Macs : kTf32Macs),
      .shared_memory = idle * (work.shared * 128 + work.sectors * 32) / kSharedBytes,
      .l2 = work.missed * 32 / kL2Bytes,
      .memory = least_bytes / card.memory_bytes};
}

template <class T>
void print_rows(const bench::ConvShape& shape, int count, std::int64_t batch, const Card& card,
                const std::optional<bench::PtxasLog>& log) {
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
    const Work work(call, factor);
    const Residence residence(work, log);
    const Times t = times<T>(work, bytes, card, residence.blocks);
    const double seconds = t.longest() + work.launches * kLaunch, done = work.products * kMacs<T>;
    fmt::print(
        "{:3}x{:<3} {:4} -> {:4} {}x{}/{} x{:<2} {:8} {:8.1f} us {:5.0f} TFLOP/s  {:15} useful "
        "{:3.0f} %  {}{}\n",
        shape.size, shape.size, shape.c, shape.k, shape.kernel, shape.kernel, shape.stride, count,
        name, seconds * 1e6, 2e-12 * macs / seconds, t.bound(), done > 0 ? 100 * macs / done : 0,
        residence.text(), work.conflicts > 0 ? "bank conflicts" : "");
  }
}

void run(const Options& o) {
  const auto& precision = diffusion::parse_row("precision", nn::Precision::all, o.precision);
  if (&precision == &nn::Precision::f32)
    throw Error("--precision",
                "expected bf16 or tf32, got f32, which tensor cores do not multiply");
  const Card& card = card_of(o.card);
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
  line.text("--precision", o.precision, "bf16 or tf32");
  line.text("--card", o.card, "h100 or h200");
  line.text("--ptxas", o.ptxas, "what nvcc's build printed: registers and blocks at once");
  if (const auto status = line.parse(argc, argv)) return *status;
  return bench::status_of([&] { run(o); });
}
