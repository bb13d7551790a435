// One training step of a U-Net, timed: noise, forward, loss, backward, clipping, AdamW, EMA, on
// random pictures. Or, with --inference, one network evaluation as a sampler makes it.
//
//   build/bench/step --config unet/config.json [--batch 64] [--steps 10] [--threads T] [--json]
#include <fmt/format.h>

#include <CLI/CLI.hpp>
#include <nlohmann/json.hpp>
#include <optional>

#include "autograd/fixed_weights.h"
#include "autograd/flops.h"
#include "autograd/ops.h"
#include "bench/common.h"
#include "diffusion/forward.h"
#include "diffusion/objective.h"
#include "diffusion/pipeline.h"
#include "diffusion/scheduler_config.h"
#include "nn/optim.h"
#include "nn/unet.h"
#include "tensor/io/json.h"
#include "tensor/memory.h"

using namespace sfumato;  // NOLINT: a program of one file

namespace {

struct Options {
  std::string config, device = "cpu";
  std::int64_t batch = 64, steps = 10;
  int threads = 0;
  bool json = false, inference = false, recompute = false;
};

struct Input {
  Tensor x0, t, eps, labels;
};

Input random_input(const nn::UNet& unet, io::Extent size, std::int64_t batch, std::uint64_t k) {
  const Shape images{batch, size.height, size.width, unet.in_channels};
  Input in;
  in.x0 = Rng(0, Purpose::general, k).normal(images);
  in.t = Rng(0, Purpose::timestep, k).randint({batch}, 1000);
  in.eps = Rng(0, Purpose::noise, k).normal(images);
  if (unet.conditioning.has_table())
    in.labels = Rng(0, Purpose::label_dropout, k).randint({batch}, unet.conditioning.rows);
  return in;
}

void run(const Options& o) {
  if (o.device != "cpu") throw Error("step", "--device: expected cpu, got '" + o.device + "'");
  if (o.threads > 0) set_thread_count(o.threads);
  const double begin = bench::wall_seconds();
  const io::JsonObject json = io::JsonObject::read(o.config);
  const io::Extent size = diffusion::read_sample_size(json);
  const nn::UNetConfig config = nn::parse_unet_config(json);
  if (config.in_channels != config.out_channels)
    throw Error("step", "the network's output must have as many channels as its input");
  nn::Params params(1);
  const nn::UNet unet(params, config);
  params.flat_values();
  nn::AdamW adam(params, {.weight_decay = 0.01});
  nn::Ema ema(params, 0.999);
  const diffusion::Schedule schedule = diffusion::make_schedule(diffusion::SchedulerConfig{});

  std::optional<FixedWeights> fixed_weights;
  if (o.inference) fixed_weights.emplace();  // as the samplers do
  const auto step = [&](std::uint64_t k) {
    const Input in = random_input(unet, size, o.batch, k);
    if (o.inference) {
      NoGrad no_grad;
      return unet(in.x0, in.t, in.labels).value().data<float>()[0];
    }
    const Tensor xt = diffusion::q_sample(schedule, in.x0, in.t, in.eps);
    params.zero_grad();
    const Var loss = mse(
        unet(xt, in.t, in.labels, {.training = true, .step = k, .recompute = o.recompute}), in.eps);
    loss.backward();
    adam.step(1e-4, nn::clip_scale(nn::gradient_norm(params), 1.0), &ema);
    return loss.value().data<float>()[0];
  };

  // The first step fills the allocator.
  step(0);
  const double first = bench::wall_seconds() - begin;
  double flop = 0;
  {
    const NoGrad no_grad;
    const Input one = random_input(unet, size, 1, 0);
    FlopCounter counter;
    unet(one.x0, one.t, one.labels);
    flop = counter.total * static_cast<double>(o.batch) * (o.inference ? 1 : 3);
  }
  const std::uint64_t allocations = memory::stats().system_allocations;
  std::vector<double> ms, shares;
  double before = bench::probe();
  if (!o.json)
    fmt::print(
        "{} x batch {}, {}, {} threads: {:.2f} GFLOP a step, peak {:.0f} GFLOP/s, first step after "
        "{:.2f} s\n",
        o.config, o.batch, name(isa()), thread_count(), flop * 1e-9, before * 1e-9, first);
  for (std::int64_t k = 1; k <= o.steps; ++k) {
    const double start = bench::wall_seconds();
    step(static_cast<std::uint64_t>(k));
    const double seconds = bench::wall_seconds() - start, after = bench::probe();
    ms.push_back(seconds * 1e3);
    shares.push_back(flop / seconds / (0.5 * (before + after)));
    before = after;
    if (!o.json)
      fmt::print("step {:3}  {:8.2f} ms  {:5.1f} % of peak\n", k, ms.back(), 100 * shares.back());
  }
  const std::uint64_t grown = memory::stats().system_allocations - allocations;
  if (o.json) {
    const io::Json j = {
        {"config", o.config},
        {"batch", o.batch},
        {"threads", thread_count()},
        {"device", o.device},
        {"isa", name(isa())},
        {"inference", o.inference},
        {"parameters", params.count()},
        {"flop", flop},
        {"peak_flops", before},
        {"ms", ms},
        {"median_ms", bench::median(ms)},
        {"share_of_peak", bench::median(shares)},
        {"first_step_s", first},
        {"allocations_after_first_step", grown},
        {"peak_rss_mb", bench::peak_rss_mb()},
        {"tensors_peak_mb", static_cast<double>(memory::stats().bytes_peak) * 1e-6}};
    fmt::print("{}\n", j.dump(2));
  } else {
    fmt::print(
        "median {:.2f} ms, {:.1f} pictures/s, {:.1f} % of peak; memory: {:.0f} MB resident at "
        "most, {:.0f} MB of tensors; {} allocations after the first step\n",
        bench::median(ms), static_cast<double>(o.batch) / bench::median(ms) * 1e3,
        100 * bench::median(shares), bench::peak_rss_mb(),
        static_cast<double>(memory::stats().bytes_peak) * 1e-6, grown);
  }
}

}  // namespace

int main(int argc, char** argv) {
  Options o;
  CLI::App app("Times training steps of a U-Net on random pictures.");
  app.add_option("--config", o.config, "a diffusers unet config.json")
      ->required()
      ->check(CLI::ExistingFile);
  app.add_option("--batch", o.batch, "pictures a step")
      ->check(CLI::Range(1, 1 << 16))
      ->capture_default_str();
  app.add_option("--steps", o.steps, "steps timed, after one that is not")
      ->check(CLI::Range(1, 1 << 20))
      ->capture_default_str();
  app.add_option("--threads", o.threads, "threads (default: the cores)")
      ->check(CLI::Range(1, 1024));
  app.add_option("--device", o.device, "cpu")->capture_default_str();
  app.add_flag("--inference", o.inference, "time the forward pass alone, as a sampler runs it");
  app.add_flag("--recompute", o.recompute,
               "compute the insides of blocks twice instead of keeping them");
  app.add_flag("--json", o.json, "print one JSON object");
  CLI11_PARSE(app, argc, argv);
  try {
    run(o);
  } catch (const std::exception& e) {
    fmt::print(stderr, "{}\n", e.what());
    return 1;
  }
  return 0;
}
