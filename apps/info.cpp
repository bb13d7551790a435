// `sfumato info`: the machine and the program; or a network as a table.
#include <fmt/format.h>

#include <map>
#include <nlohmann/json.hpp>

#include "apps/machine.h"
#include "apps/options.h"
#include "autograd/flops.h"
#include "diffusion/pipeline.h"

namespace sfumato::apps {
namespace {

struct Row {
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

  void see(const char* op, std::initializer_list<Var> inputs, const Tensor& y) override {
    Row row{op, y.shape().str()};
    for (const Var& v : inputs) {
      if (!v.defined()) continue;
      const auto it = known_.find(v.value().raw());
      if (it == known_.end()) continue;
      if (row.parameters == 0) row.layer = it->second.layer;
      row.parameters += it->second.count;
      if (it->second.put_together) known_.erase(it);
    }
    row.flop = flops(op, inputs, y);
    if (op == std::string_view("concat_rows") && row.parameters > 0) {
      // Parameters on the way to the operation that uses them as one.
      known_[y.raw()] = {row.layer, row.parameters, true};
    } else if (row.parameters > 0 || row.flop > 0) {
      rows.push_back(row);
    }
  }

  std::vector<Row> rows;

 private:
  struct Known {
    std::string layer;
    std::int64_t count;
    bool put_together = false;
  };
  std::map<const void*, Known> known_;
};

std::vector<Row> table(const diffusion::Pipeline& model) {
  const nn::UNetConfig& c = model.unet_config;
  NoGrad no_grad;
  Watch watch(*model.params);
  Tensor labels;
  if (c.class_embed == nn::ClassEmbed::table) labels = Tensor::zeros({1}, DType::i64);
  if (c.class_embed == nn::ClassEmbed::timestep) labels = Tensor::zeros({1});
  if (c.class_embed == nn::ClassEmbed::identity) labels = Tensor::zeros({1, c.temb_dim()});
  const std::int64_t m = c.size_multiple();
  // A size that the levels cannot halve is shown rounded up.
  const Tensor x = Tensor::zeros(
      {1, (c.sample_height + m - 1) / m * m, (c.sample_width + m - 1) / m * m, c.in_channels});
  (*model.unet)(x, Tensor::zeros({1}, DType::i64), labels);
  return watch.rows;
}

}  // namespace

void info(const InfoOptions& o) {
  if (o.model.empty()) {
    const io::Json machine = describe_machine();
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
    fmt::print(")\ndevices: cpu\n");
    return;
  }
  const diffusion::Pipeline model = diffusion::load_pipeline(o.model);
  const std::vector<Row> rows = table(model);
  double flop = 0;
  for (const Row& r : rows) flop += r.flop;
  if (o.json) {
    io::Json j;
    j["parameters"] = model.params->count();
    j["flop"] = flop;
    j["layers"] = io::Json::array();
    for (const Row& r : rows)
      j["layers"].push_back({{"layer", r.layer},
                             {"output", r.output},
                             {"parameters", r.parameters},
                             {"flop", r.flop}});
    fmt::print("{}\n", j.dump(2));
    return;
  }
  fmt::print("{:<44} {:<20} {:>12} {:>12}\n", "layer", "output [N,H,W,C]", "parameters", "MFLOP");
  for (const Row& r : rows)
    fmt::print("{:<44} {:<20} {:>12} {:>12.2f}\n", r.layer, r.output, r.parameters, r.flop * 1e-6);
  fmt::print("{:<44} {:<20} {:>12} {:>12.2f}\n", "total, one picture forward", "",
             model.params->count(), flop * 1e-6);
  fmt::print("schedule {}, {} timesteps, predicts {}\n",
             diffusion::diffusers_name(model.scheduler.beta_schedule),
             model.scheduler.num_train_timesteps,
             diffusion::diffusers_name(model.scheduler.prediction_type));
}

}  // namespace sfumato::apps
