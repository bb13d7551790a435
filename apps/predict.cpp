// `sfumato predict`: the bare network on tensors in a file, for interchange with other tools.
// Images cross this border as PyTorch has them, [N,C,H,W].
#include <fmt/format.h>

#include <functional>
#include <memory>
#include <optional>
#include <string>

#include "apps/command_line.h"
#include "apps/notes.h"
#include "autograd/ops.h"
#include "diffusion/pipeline.h"
#include "nn/precision.h"
#include "tensor/io/safetensors.h"
#include "tensor/io/text.h"

namespace sfumato::apps {
namespace {

struct PredictOptions {
  std::string model, in, out;
  bool grad = false;
  std::optional<nn::Precision> precision = nn::Precision::f32;
};

Tensor read_images(const io::SafeTensors& file, const char* name, std::int64_t channels,
                   bool or_twice = false) {
  Tensor x = file.tensor(name);
  expect_dtype(file.path().c_str(), name, x, DType::f32);
  expect_rank(file.path().c_str(), name, x, 4);
  if (x.size() == 0)
    throw Error(file.path().string(),
                fmt::format("{} has shape {}: it holds no picture", name, x.shape().str()));
  if (x.dim(1) != channels && !(or_twice && x.dim(1) == 2 * channels))
    throw Error(file.path().string(),
                fmt::format("{} has shape {}, expected [N, {}{}, H, W]", name, x.shape().str(),
                            channels, or_twice ? fmt::format(" or {}", 2 * channels) : ""));
  return permute(x, {0, 2, 3, 1});
}

void predict(const PredictOptions& o, Device device) {
  const diffusion::Pipeline model = diffusion::load_pipeline(o.model);
  nn::use(*model.params, device, *o.precision);
  print_notes(model.notes);
  const io::SafeTensors in(o.in);
  const std::string source = in.path().string();
  for (const std::string& name : in.names())
    if (name != "sample" && name != "timestep" && name != "class_labels" && name != "target")
      throw Error(
          source,
          fmt::format(
              "tensor {} is not known here; expected sample, timestep, class_labels, target",
              io::in_quotes(name)));
  const Tensor x =
      read_images(in, "sample", model.network->in_channels, model.network->takes_estimate);
  const std::int64_t n = x.dim(0);
  Tensor t = in.tensor("timestep");
  if (t.size() == 1 && n != 1)
    t = Tensor::full({n}, t.item(), t.dtype());  // one for all, as in diffusers
  if (t.size() == 1 && t.shape().rank() == 0) t = t.reshape({1});
  expect_shape(source.c_str(), "timestep", t, {n});
  if (t.dtype() != DType::i64 && t.dtype() != DType::f32)
    throw Error(source, fmt::format("timestep is {}, expected i64 or f32", name(t.dtype())));
  const Tensor labels = in.contains("class_labels") ? in.tensor("class_labels") : Tensor();

  const auto network = [&] {
    try {
      return (*model.network)(x.to(device), t.to(device),
                              labels.defined() ? labels.to(device) : labels);
    } catch (const Error& e) {  // sizes or labels that it cannot take
      throw Error(source, e.what());
    }
  };

  std::vector<std::pair<std::string, Tensor>> out;
  if (!o.grad) {
    NoGrad no_grad;
    out.emplace_back("sample", permute(network().value(), {0, 3, 1, 2}));
  } else {
    const Tensor target = read_images(in, "target", model.network->out_channels);
    model.params->zero_grad();
    const Var y = network();
    if (target.shape() != y.shape())
      throw Error(source,
                  fmt::format("target is for {} pictures of {}x{}, sample holds {} of {}x{}",
                              target.dim(0), target.dim(1), target.dim(2), n, x.dim(1), x.dim(2)));
    const Var loss = mse(y, target.to(device));
    loss.backward();
    out.emplace_back("sample", permute(y.value(), {0, 3, 1, 2}));
    out.emplace_back("loss", loss.value());
    for (const nn::Params::Entry& p : model.params->entries())
      out.emplace_back("grad." + p.name, p.var.grad());
  }
  for (auto& [name, tensor] : out) tensor = tensor.to(Device::cpu);
  io::write_safetensors(o.out, out);
}

}  // namespace

RunSubcommand declare_predict(CommandLine& line) {
  const auto o = std::make_shared<PredictOptions>();
  line(o->model, kModelOption);
  line(o->in, {"in",
               "safetensors with sample [N,C,H,W], timestep [N], optionally class_labels [N], "
               "target"});
  line(o->out, {"out", "safetensors to write: sample; with --grad also loss and grad.<parameter>"});
  line(o->grad, {"grad", "Also the mean squared error against `target` and its gradients"});
  line(o->precision, kPrecisionOption, Choices<nn::Precision>(nn::Precision::all));
  line.required({"model", "in", "out"});
  return [o](Device device) { predict(*o, device); };
}

}  // namespace sfumato::apps
