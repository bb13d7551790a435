#include "apps/likelihood.h"

#include <algorithm>
#include <cmath>
#include <limits>

#include "diffusion/bound.h"
#include "diffusion/data/batches.h"
#include "diffusion/likelihood.h"
#include "diffusion/reverse_variance.h"

namespace sfumato::apps {
namespace {

constexpr std::int64_t kBatch = 50;
constexpr std::int64_t kBoundStride = 10;  // the bound takes one timestep in ten

}  // namespace

BitsPerDim bits_per_dim(const diffusion::Pipeline& model, const data::ImageDataset& data,
                        std::int64_t count, std::uint64_t seed) {
  const diffusion::Schedule schedule = diffusion::make_schedule(model.scheduler);
  const diffusion::Prediction& prediction = model.scheduler.prediction_type;
  const Device device = model.params->kind().device;
  const bool bounded = *model.scheduler.beta_schedule.path == diffusion::Path::variance_preserving;
  BitsPerDim result{.pictures = std::min(count, data.images.dim(0))};
  const std::int64_t numbers = data.images.size() / data.images.dim(0);
  double sum = 0, squares = 0, bound = 0;
  for (std::int64_t begin = 0; begin < result.pictures; begin += kBatch) {
    const std::int64_t end = std::min(result.pictures, begin + kBatch);
    const Tensor x0 = data::to_signed(data.images.slice(begin, end)).to(device);
    Tensor labels;
    if (model.conditioning().classes() > 0) labels = data.labels.slice(begin, end).to(device);
    const diffusion::DifferentiableDenoiser network = [&](const Var& x, double t) {
      return (*model.network)(x, Tensor::full({x.dim(0)}, t, {DType::f32, device}), labels);
    };
    const diffusion::DifferentiableDenoiser answer = [&](const Var& x, double t) {
      return diffusion::answer_in(network(x, t), x.dim(-1));
    };
    const Tensor dequantised = diffusion::dequantised(x0, seed + static_cast<std::uint64_t>(begin));
    for (const double log_p :
         diffusion::log_likelihood(schedule, prediction, answer, dequantised,
                                   {.seed = seed + static_cast<std::uint64_t>(begin)})) {
      const double bits = diffusion::bits_per_number(log_p, numbers);
      sum += bits, squares += bits * bits;
    }
    model.params->zero_grad();
    if (!bounded) continue;
    const NoGrad no_grad;
    bound += static_cast<double>(end - begin) *
             diffusion::variational_bound(
                 schedule, prediction,
                 [&](const Tensor& x, double t) { return network(Var(x), t).value(); }, x0,
                 {.seed = seed, .stride = kBoundStride})
                 .total();
  }
  const auto n = static_cast<double>(result.pictures);
  result.flow = sum / n;
  result.flow_error = std::sqrt(std::max(0.0, squares / n - result.flow * result.flow) / n);
  result.bound = bounded ? bound / n : std::numeric_limits<double>::quiet_NaN();
  return result;
}

}  // namespace sfumato::apps
