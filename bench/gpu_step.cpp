// What a GPU would need at least for a training step of a U-Net, kernel by kernel, by what they do in the emulator: every
// load and store, products of tensor cores, blocks. A step of few pictures and one of twice as many are counted, and each launch
// of a larger batch lies on the line through both. No time is measured, and none is known of arithmetic and of latency.
//
//   cmake --preset cuda-counts && cmake --build --preset cuda-counts
//   build-cuda-counts/bench/gpu_step --config unet/config.json [--batch 128] [--few 4] [--precision f32|tf32|bf16]
//                                    [--card h100|h200] [--ptxas build-cuda-check/build.log] [--launches]
#include <fmt/format.h>

#include <algorithm>
#include <map>
#include <vector>

#include "bench/card.h"
#include "bench/command_line.h"
#include "bench/common.h"
#include "bench/network.h"
#include "diffusion/names.h"
#include "tensor/backend.h"

using namespace sfumato;  // NOLINT: a program of one file

namespace {

using cuda::emulator::Launched;

struct Options {
  std::string config, precision = "bf16", card = "h100", ptxas;
  std::int64_t batch = 128, few = 4;
  bool launches = false;
};

// Of a step that is not the first, which allocates.
std::vector<Launched> launches_of_step(const Options& o, const nn::Precision& precision,
                                       std::int64_t batch) {
  bench::Network network(io::JsonObject::read(o.config), Device::cuda, precision);
  for (std::int64_t k = 0; k < 2; ++k) {
    const Tensor rates = network.rates().to(Device::cuda);
    const Tensor number = Tensor::from<std::int64_t>({}, {k}).to(Device::cuda);
    synchronize(Device::cuda);
    cuda::emulator::take_launches();
    network.update(rates, network.gradient(number, batch, false)[0]);
    synchronize(Device::cuda);
  }
  return cuda::emulator::take_launches();
}

// "Forward<bf16, MmaTile<bf16, 64>>".
std::string short_name(const char* kernel) {
  std::string name = bench::demangled(kernel);
  for (const std::string left_out :
       {"sfumato::", "(anonymous namespace)::", "cuda::", "with_gpu::"})
    for (std::size_t at; (at = name.find(left_out)) != std::string::npos;)
      name.erase(at, left_out.size());
  return name;
}

struct Row {
  int launches = 0;
  bench::Times times = {};
  double seconds = 0, conflicts = 0;
  int registers = 0;

  void add(const bench::Load& load, const bench::Times& t, int kernel_registers) {
    ++launches;
    seconds += t.longest() + bench::kLaunch;
    times.tensor_cores += t.tensor_cores, times.l1 += t.l1, times.l2 += t.l2,
        times.memory += t.memory;
    conflicts += load.conflicts;
    registers = kernel_registers;
  }
  void print(const std::string& name) const {
    fmt::print(
        "{:8.1f} us {:4} launches  tensor cores {:7.1f}  L1 {:7.1f}  L2 {:7.1f}  memory {:7.1f}  "
        "{}{}  {}\n",
        seconds * 1e6, launches, times.tensor_cores * 1e6, times.l1 * 1e6, times.l2 * 1e6,
        times.memory * 1e6, registers ? fmt::format("{:3} registers", registers) : "",
        conflicts > 0 ? fmt::format("  {:.2g} conflicts", conflicts) : "", name);
  }
};

void run(const Options& o) {
  if (!cuda::emulator::kCountsAccesses)
    throw Error(
        "gpu_step",
        "this build does not count loads and stores; expected one of the preset cuda-counts");
  const auto& precision = diffusion::parse_row("precision", nn::Precision::all, o.precision);
  const bench::Card& card = bench::card_of(o.card);
  std::optional<bench::PtxasLog> log;
  if (!o.ptxas.empty()) log.emplace(o.ptxas);
  use_device("cuda");
  const std::vector<Launched> few = launches_of_step(o, precision, o.few),
                              more = launches_of_step(o, precision, 2 * o.few);
  if (few.size() != more.size())
    throw Error("gpu_step",
                fmt::format("expected as many launches with {} pictures as with {}, got {} and {}",
                            o.few, 2 * o.few, few.size(), more.size()));
  const double steps = static_cast<double>(o.batch - o.few) / static_cast<double>(o.few);
  std::map<std::string, Row> rows;
  Row all;
  for (std::size_t i = 0; i < few.size(); ++i) {
    const bench::Load load = bench::Load::of_both(
        few[i], more[i], [steps](double a, double b) { return a + steps * (b - a); });
    const bench::Residence residence(few[i].size, log);
    const bench::Times t = bench::times(load, precision.dtype, card);
    const std::string name = short_name(few[i].size.kernel);
    rows[name].add(load, t, residence.registers);
    all.add(load, t, 0);
    if (o.launches) {
      Row one;
      one.add(load, t, residence.registers);
      one.print(fmt::format("{} of {:.0f} blocks", name, load.blocks));
    }
  }
  std::vector<std::pair<std::string, Row>> sorted(rows.begin(), rows.end());
  std::sort(sorted.begin(), sorted.end(),
            [](const auto& a, const auto& b) { return a.second.seconds > b.second.seconds; });
  for (const auto& [name, row] : sorted) row.print(name);
  all.print("all");
}

}  // namespace

int main(int argc, char** argv) {
  Options o;
  bench::CommandLine line("What a GPU would need at least for a training step of a U-Net.");
  line.file("--config", o.config, "a diffusers unet config.json");
  line.number("--batch", o.batch, 1, 1 << 16, "pictures a step");
  line.number("--few", o.few, 1, 1 << 10, "pictures of the smaller step that is counted");
  line.text("--precision", o.precision, "f32, tf32 or bf16");
  line.text("--card", o.card, "h100 or h200");
  line.text("--ptxas", o.ptxas, "what nvcc's build printed: registers and blocks at once");
  line.flag("--launches", o.launches, "each launch, too");
  if (const auto status = line.parse(argc, argv)) return *status;
  return bench::status_of([&] { run(o); });
}
