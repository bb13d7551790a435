#include "apps/lesson/bridge.h"

#include <algorithm>
#include <cmath>
#include <numbers>

#include "diffusion/data/batches.h"
#include "tensor/io/file.h"
#include "tensor/io/json.h"

namespace sfumato::lesson {
namespace {

Json call(const Json& request) {
  const auto name = request.at("call").get<std::string>();
  for (const auto& functions : {forward_functions(), model_functions(), plane_functions(),
                                live_functions(), bound_functions(), notation_functions()})
    for (const Function& f : functions)
      if (f.name == name) return f.call(request);
  throw Error("lesson", "no function " + name);
}

Pictures read_pictures() {
  constexpr std::uint64_t kMost = std::uint64_t{1} << 26;
  const Json extents = io::read_json("pictures/shape.json");
  const std::string bytes = io::read_file("pictures/images.u8", kMost);
  const std::string classes = io::read_file("pictures/labels.u8", kMost);
  Pictures p;
  p.images = Tensor({extents.at(0), extents.at(1), extents.at(2), extents.at(3)}, DType::u8);
  p.labels = Tensor({extents.at(0)}, DType::i64);
  if (bytes.size() != p.images.bytes() ||
      static_cast<std::int64_t>(classes.size()) != p.labels.size())
    throw Error("pictures", "expected as many bytes as shape.json says");
  std::copy(bytes.begin(), bytes.end(), p.images.data<std::uint8_t>());
  std::transform(classes.begin(), classes.end(), p.labels.data<std::int64_t>(),
                 [](char c) { return static_cast<std::uint8_t>(c); });
  return p;
}

}  // namespace

std::string answer(const std::string& request) {
  Json reply = Json::object();
  try {
    reply["result"] = call(Json::parse(request));
  } catch (const std::exception& e) {
    reply["error"] = e.what();
  }
  return reply.dump();
}

const diffusion::Pipeline& model() {
  static const diffusion::Pipeline pipeline = diffusion::load_pipeline("model");
  return pipeline;
}

const diffusion::Schedule& schedule() {
  static const diffusion::Schedule s = diffusion::make_schedule(model().scheduler);
  return s;
}

Tensor network(const Tensor& xt, const Tensor& t, const Tensor& labels) {
  NoGrad no_grad;
  return (*model().network)(xt, t, labels).value();
}

const Pictures& pictures() {
  static const Pictures p = read_pictures();
  return p;
}

diffusion::Schedule schedule_of(const Json& args) {
  if (!args.contains("schedule")) return schedule();
  diffusion::SchedulerConfig config = diffusion::default_scheduler(
      diffusion::Prediction::eps,
      diffusion::parse_beta_schedule(args["schedule"].get<std::string>()),
      args.value("steps", 1000));
  return diffusion::make_schedule(config);
}

Tensor picture_of(const Json& args) {
  const Shape& shape = pictures().images.shape();
  if (!args.contains("pixels")) {
    const std::int64_t i = args.value("picture", std::int64_t{0}) % shape[0];
    return data::to_signed(pictures().images.slice(i, i + 1));
  }
  const auto bytes = args["pixels"].get<std::vector<std::uint8_t>>();
  return data::to_signed(Tensor::from<std::uint8_t>(shape.with(0, 1), bytes));
}

Tensor times(std::int64_t n, std::int64_t t) {
  return Tensor::full({n}, static_cast<double>(t), DType::i64);
}

Json numbers(const Tensor& x) { return x.values<float>(); }

Json pixels(const Tensor& x) { return data::to_bytes(x).values<std::uint8_t>(); }

Moments moments(const Tensor& x) {
  double sum = 0, squares = 0;
  for (const float v : x.values<float>()) sum += v;
  const double n = static_cast<double>(x.size()), mean = sum / n;
  for (const float v : x.values<float>()) squares += (v - mean) * (v - mean);
  return {mean, squares / n};
}

Json histogram(const Tensor& x, double range, int bins) {
  std::vector<double> shares(static_cast<std::size_t>(bins));
  const double width = 2 * range / bins, share = 1 / (width * static_cast<double>(x.size()));
  for (const float v : x.values<float>()) {
    const auto bin = static_cast<int>(std::floor((v + range) / width));
    shares[static_cast<std::size_t>(std::clamp(bin, 0, bins - 1))] += share;
  }
  return shares;
}

Json density(double sigma, double range, int bins) {
  std::vector<double> p;
  for (int i = 0; i < bins; ++i) {
    const double z = (-range + (i + 0.5) * 2 * range / bins) / sigma;
    p.push_back(std::exp(-z * z / 2) / (sigma * std::sqrt(2 * std::numbers::pi)));
  }
  return p;
}

}  // namespace sfumato::lesson
