#include "nn/self_conditioned.h"

#include <fmt/format.h>

#include <memory>
#include <nlohmann/json.hpp>
#include <utility>

#include "autograd/ops.h"
#include "tensor/error.h"

namespace sfumato::nn {
namespace {

class SelfConditioned : public Network {
 public:
  explicit SelfConditioned(std::unique_ptr<Network> network) : inner_(std::move(network)) {
    const std::int64_t in = inner_->in_channels, out = inner_->out_channels;
    if (in % 2 != 0 || (out != in / 2 && out != in))
      throw Error(kSelfCondition,
                  fmt::format("expected a network of pictures and an estimate beside them, which "
                              "maps 2 channels to 1, or 6 to 3 (twice as many with a variance), "
                              "got one that maps {} to {}",
                              in, out));
    in_channels = in / 2;
    out_channels = out;
    size_multiple = inner_->size_multiple;
    square = inner_->square;
    sample_size = inner_->sample_size;
    conditioning = inner_->conditioning;
    takes_estimate = true;
  }

  Var operator()(const Var& x, const Tensor& t, const Tensor& labels,
                 const Mode& mode) const override {
    if (x.shape().rank() != 4 || x.dim(3) != in_channels) return (*inner_)(x, t, labels, mode);
    return (*inner_)(concat(x, Var(Tensor::zeros(x.shape(), x.kind()))), t, labels, mode);
  }

  io::Json config() const override {
    io::Json config = inner_->config();
    config[kSelfCondition] = true;
    return config;
  }

  std::unique_ptr<Network> with_rows(const Scope& scope, std::int64_t rows) const override {
    return std::make_unique<SelfConditioned>(inner_->with_rows(scope, rows));
  }

 private:
  std::unique_ptr<Network> inner_;
};

}  // namespace

BuildNetwork self_conditioned(BuildNetwork inner) {
  return [inner = std::move(inner)](const Scope& scope) {
    return std::make_unique<SelfConditioned>(inner(scope));
  };
}

BuildNetwork read_network(const io::JsonObject& config, std::vector<std::string>* notes,
                          const std::string& part_of) {
  const NetworkClass& network_class = network_class_of(config, part_of);
  if (!config.contains(kSelfCondition)) return network_class.read(config, notes);
  const bool takes_estimate = config.get_bool(kSelfCondition);
  io::Json others = config.json();
  others.erase(kSelfCondition);
  BuildNetwork network = network_class.read({std::move(others), config.source()}, notes);
  return takes_estimate ? self_conditioned(std::move(network)) : network;
}

}  // namespace sfumato::nn
