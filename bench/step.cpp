// One training step of a U-Net, timed: noise, forward, loss, backward, clipping, AdamW, EMA, on
// random pictures. Or, with --inference, one network evaluation as a sampler makes it.
//
//   build/bench/step --config unet/config.json [--batch 64] [--steps 10] [--threads T] [--json]
//   build-cuda-on/bench/step --config FILE --device cuda [--precision f32|tf32|bf16] [--eager]
#include <fmt/format.h>

#include <nlohmann/json.hpp>
#include <optional>

#include "autograd/fixed_weights.h"
#include "bench/command_line.h"
#include "bench/common.h"
#include "bench/network.h"
#include "diffusion/names.h"
#include "tensor/backend.h"
#include "tensor/memory.h"
#include "tensor/recorded.h"

using namespace sfumato;  // NOLINT: a program of one file

namespace {

struct Options {
  std::string config, device = "cpu", precision = "f32";
  std::int64_t batch = 64, steps = 10;
  std::int64_t threads = 0;  // the cores
  bool json = false, inference = false, recompute = false, eager = false;
};

struct Result {
  std::int64_t parameters;
  double flop, first_s,
      peak;  // of a step; until the first step was done; FLOP/s after the last one
  std::vector<double> ms, shares;  // of each step: its time, its share of the peak beside it
  std::uint64_t allocations;       // by the system, after the first step
  std::uint64_t launches;          // of the first step, on a GPU
};

std::uint64_t launches(Device device) {
  return device == Device::cpu ? 0 : backend(device).launches();
}

// Step k from the start to the end: recorded, or not if `eager`.
class Steps {
 public:
  Steps(const Options& o, bench::Network& network, Device device)
      : o_(o),
        network_(network),
        device_(device),
        evaluate_([this](std::span<const Tensor> in) {
          return o_.inference ? network_.infer(in[0], o_.batch)
                              : network_.gradient(in[0], o_.batch, o_.recompute);
        }),
        update_([this](std::span<const Tensor> in) -> std::vector<Tensor> {
          network_.update(in[0], in[1]);
          return {};
        }),
        evaluation_(device, evaluate_),
        update_step_(device, update_) {}

  void operator()(std::int64_t k) {
    const Tensor number = Tensor::from<std::int64_t>({}, {k});
    const std::vector<Tensor> out = call(evaluation_, evaluate_, {number});
    if (!o_.inference) call(update_step_, update_, {network_.rates(), out[0]});
    synchronize(device_);
  }

 private:
  std::vector<Tensor> call(Recorded& recorded, const Recorded::Function& f,
                           std::vector<Tensor> inputs) const {
    if (!o_.eager) return recorded(inputs);
    for (Tensor& input : inputs) input = input.to(device_);
    return f(inputs);
  }

  const Options& o_;
  bench::Network& network_;
  Device device_;
  Recorded::Function evaluate_, update_;
  Recorded evaluation_, update_step_;
};

void print_step(const Result& r) {
  fmt::print("step {:3}  {:8.2f} ms  {:5.1f} % of peak\n", r.ms.size(), r.ms.back(),
             100 * r.shares.back());
}

Result measure(const Options& o, Device device) {
  const double begin = bench::wall_seconds();
  bench::Network network(io::JsonObject::read(o.config), device,
                         diffusion::parse_row("precision", nn::Precision::all, o.precision));
  std::optional<FixedWeights> fixed_weights;
  if (o.inference) fixed_weights.emplace();  // as the samplers do
  Steps step(o, network, device);
  Result r{};
  step(0);  // fills the allocator
  r.launches = launches(device);
  r.first_s = bench::wall_seconds() - begin;
  r.parameters = network.parameters();
  r.flop = network.flop() * static_cast<double>(o.batch) * (o.inference ? 1 : 3);
  const std::uint64_t allocations = memory::stats().system_allocations;
  r.peak = bench::probe();
  if (!o.json)
    fmt::print(
        "{} x batch {}, {}, {} threads: {:.2f} GFLOP a step, peak {:.0f} GFLOP/s, first step after "
        "{:.2f} s\n",
        o.config, o.batch, name(isa()), thread_count(), r.flop * 1e-9, r.peak * 1e-9, r.first_s);
  for (std::int64_t k = 1; k <= o.steps; ++k) {
    const double start = bench::wall_seconds(), before = r.peak;
    step(k);
    const double seconds = bench::wall_seconds() - start;
    r.peak = bench::probe();
    r.ms.push_back(seconds * 1e3);
    r.shares.push_back(r.flop / seconds / (0.5 * (before + r.peak)));
    if (!o.json) print_step(r);
  }
  r.allocations = memory::stats().system_allocations - allocations;
  return r;
}

void print_json(const Options& o, const Result& r) {
  const io::Json j = {{"config", o.config},
                      {"batch", o.batch},
                      {"threads", thread_count()},
                      {"device", o.device},
                      {"precision", o.precision},
                      {"isa", name(isa())},
                      {"inference", o.inference},
                      {"parameters", r.parameters},
                      {"launches", r.launches},
                      {"flop", r.flop},
                      {"peak_flops", r.peak},
                      {"ms", r.ms},
                      {"median_ms", bench::median(r.ms)},
                      {"share_of_peak", bench::median(r.shares)},
                      {"first_step_s", r.first_s},
                      {"allocations_after_first_step", r.allocations},
                      {"peak_rss_mb", bench::peak_rss_mb()},
                      {"tensors_peak_mb", static_cast<double>(memory::stats().bytes_peak) * 1e-6}};
  fmt::print("{}\n", j.dump(2));
}

void print_medians(const Options& o, const Result& r) {
  fmt::print(
      "median {:.2f} ms, {:.1f} pictures/s, {:.1f} % of peak; memory: {:.0f} MB resident at "
      "most, {:.0f} MB of tensors; {} allocations after the first step\n",
      bench::median(r.ms), static_cast<double>(o.batch) / bench::median(r.ms) * 1e3,
      100 * bench::median(r.shares), bench::peak_rss_mb(),
      static_cast<double>(memory::stats().bytes_peak) * 1e-6, r.allocations);
}

void run(const Options& o) {
  if (o.threads > 0) set_thread_count(static_cast<int>(o.threads));
  const Result r = measure(o, use_device(o.device));
  if (o.json)
    print_json(o, r);
  else
    print_medians(o, r);
}

}  // namespace

int main(int argc, char** argv) {
  Options o;
  bench::CommandLine line("Times training steps of a U-Net on random pictures.");
  line.file("--config", o.config, "a diffusers unet config.json");
  line.number("--batch", o.batch, 1, 1 << 16, "pictures a step");
  line.number("--steps", o.steps, 1, 1 << 20, "steps timed, after one that is not");
  line.number("--threads", o.threads, 1, 1024, "threads (default: the cores)");
  line.text("--device", o.device, "cpu, cuda, cuda:N or auto");
  line.text("--precision", o.precision, "f32; on a GPU also tf32 or bf16");
  line.flag("--eager", o.eager, "on a GPU: start every kernel anew instead of replaying a record");
  line.flag("--inference", o.inference, "time the forward pass alone, as a sampler runs it");
  line.flag("--recompute", o.recompute,
            "compute the insides of blocks twice instead of keeping them");
  line.flag("--json", o.json, "print one JSON object");
  if (const auto status = line.parse(argc, argv)) return *status;
  return bench::status_of([&] { run(o); });
}
