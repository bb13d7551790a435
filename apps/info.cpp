// `sfumato info`: the machine and the program; or a network as a table.
#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <functional>
#include <map>
#include <memory>
#include <nlohmann/json.hpp>

#include "apps/command_line.h"
#include "apps/machine.h"
#include "apps/notes.h"
#include "autograd/var.h"
#include "diffusion/pipeline.h"

namespace sfumato::apps {
namespace {

struct InfoOptions {
  std::string model;
  bool json = false;
};

struct LayerRow {
  std::string layer, output;
  std::int64_t parameters = 0;
  double flop = 0;
};

// Watches one forward pass and writes down the operations that compute: those with parameters, and
// attention.
class Watch : public Observer {
 public:
  explicit Watch(const nn::Params& params) {
    for (const nn::Params::Entry& p : params.entries())
      known_[p.var.value().raw()] = {p.name.substr(0, p.name.rfind('.')), p.var.value().size()};
  }

  void see(const char* op, std::initializer_list<Var> inputs, const Tensor& y,
           double flop) override {
    LayerRow row{.layer = op, .output = y.shape().str(), .flop = flop};
    bool only_parameters = true;
    for (const Var& v : inputs) {
      if (!v.defined()) continue;
      const auto it = known_.find(v.value().raw());
      if (it == known_.end()) {
        only_parameters = false;
        continue;
      }
      if (row.parameters == 0) {
        row.layer = it->second.layer;
        if (v.value().size() > it->second.count) row.layer += ", ...";  // nn::JoinedParam
      }
      row.parameters += v.value().size();
      if (it->second.put_together) known_.erase(it);
    }
    if (only_parameters && row.parameters > 0 && row.parameters == y.size()) {
      // Parameters put together, for the operation that uses them as one.
      known_[y.raw()] = {row.layer, row.parameters, true};
    } else if (row.parameters > 0 || row.flop > 0) {
      rows.push_back(row);
    }
  }

  std::vector<LayerRow> rows;

 private:
  struct Known {
    std::string layer;
    std::int64_t count;
    bool put_together = false;
  };
  std::map<const void*, Known> known_;
};

// Height and width of the picture that the table is for: what the network was made for, unless that
// is not known or would take gigabytes.
std::array<std::int64_t, 2> shown_size(const diffusion::Pipeline& model,
                                       std::vector<std::string>& notes) {
  constexpr std::int64_t kUnknown = 32;
  constexpr std::int64_t kMostNumbers = std::int64_t{1} << 26;  // of one layer's output, 256 MiB
  const std::int64_t m = model.network->size_multiple;
  const auto [height, width] = model.network->sample_size;
  // A size that the levels cannot halve is shown rounded up.
  const auto rounded = [m](std::int64_t extent) { return (extent + m - 1) / m * m; };
  if (height == 0) {
    const std::int64_t side = rounded(kUnknown);
    notes.push_back(fmt::format("the config has no sample_size: shown for {0}x{0}", side));
    return {side, side};
  }
  std::int64_t h = rounded(height), w = rounded(width);
  std::int64_t channels = 1;  // of the widest convolution
  for (const nn::Params::Entry& p : model.params->entries())
    if (p.var.shape().rank() == 4) channels = std::max(channels, p.var.shape()[0]);
  while (h * w > kMostNumbers / channels && std::max(h, w) > m) {
    (h > w ? h : w) = rounded(std::max(h, w) / 2);
  }
  if (h < height || w < width)
    notes.push_back(fmt::format("sample_size {}x{} would take gigabytes: shown for {}x{}", height,
                                width, h, w));
  return {h, w};
}

std::vector<LayerRow> table(const diffusion::Pipeline& model, std::vector<std::string>& notes) {
  const nn::Network& network = *model.network;
  NoGrad no_grad;
  Watch watch(*model.params);
  const auto [h, w] = shown_size(model, notes);
  network(Tensor::zeros({1, h, w, network.in_channels}), Tensor::zeros({1}, DType::i64),
          network.conditioning.zeros(1));
  return watch.rows;
}

void print_schedule(const diffusion::Pipeline& model) {
  if (!model.sampling_problem.empty() && !model.scheduler_found) {
    fmt::print("schedule not supported\n");
    return;
  }
  const diffusion::SchedulerConfig& s = model.scheduler;
  fmt::print("schedule {}, {} timesteps, predicts {}\n",
             s.trained_betas.empty() ? s.beta_schedule.diffusers : "trained_betas",
             s.num_train_timesteps, s.prediction_type.diffusers);
}

void print_classes(const diffusion::Pipeline& model) {
  if (model.class_names.empty()) return;
  fmt::print("classes:");
  for (std::size_t k = 0; k < model.class_names.size(); ++k)
    if (const std::string& name = model.class_names[k]; !name.empty())
      fmt::print(" {}={}", k, io::in_quotes(name));
  fmt::print("\n");
}

void info(const InfoOptions& o, Device device) {
  if (o.model.empty()) {
    io::Json machine = describe_machine();
    machine["device"] = name(device);
    if (o.json) {
      fmt::print("{}\n", machine.dump(2));
      return;
    }
    fmt::print(
        "sfumato {} ({})\nCPU: {}, {} core(s), {} thread(s) in use\ninstruction set: {} (of:",
        kVersion, machine["compiler"].get<std::string>(), machine["cpu"].get<std::string>(),
        machine["cores"].get<int>(), machine["threads"].get<int>(),
        machine["isa"].get<std::string>());
    for (const auto& i : machine["isas"]) fmt::print(" {}", i.get<std::string>());
    fmt::print(")\ndevice: {}\n", name(device));
    return;
  }
  const diffusion::Pipeline model = diffusion::load_pipeline(o.model, diffusion::NotFinite::note);
  std::vector<std::string> notes = model.notes;
  if (!model.sampling_problem.empty())
    notes.push_back("pictures cannot be sampled: " + model.sampling_problem);
  const std::vector<LayerRow> rows = table(model, notes);
  print_notes(notes);
  double flop = 0;
  for (const LayerRow& r : rows) flop += r.flop;
  if (o.json) {
    io::Json j = io::Json::object();
    j["parameters"] = model.params->count();
    j["flop"] = flop;
    if (!model.class_names.empty()) j["class_names"] = model.class_names;
    j["layers"] = io::Json::array();
    for (const LayerRow& r : rows)
      j["layers"].push_back({{"layer", r.layer},
                             {"output", r.output},
                             {"parameters", r.parameters},
                             {"flop", r.flop}});
    fmt::print("{}\n", j.dump(2));
    return;
  }
  fmt::print("{:<44} {:<20} {:>12} {:>12}\n", "layer", "output [N,H,W,C]", "parameters", "MFLOP");
  for (const LayerRow& r : rows)
    fmt::print("{:<44} {:<20} {:>12} {:>12.2f}\n", r.layer, r.output, r.parameters, r.flop * 1e-6);
  fmt::print("{:<44} {:<20} {:>12} {:>12.2f}\n", "total, one picture forward", "",
             model.params->count(), flop * 1e-6);
  print_schedule(model);
  print_classes(model);
}

}  // namespace

RunSubcommand declare_info(CommandLine& line) {
  const auto o = std::make_shared<InfoOptions>();
  line(o->model, {"model", "Show this model's layers instead of the machine"});
  line(o->json, {"json", "As JSON"});
  return [o](Device device) { info(*o, device); };
}

}  // namespace sfumato::apps
