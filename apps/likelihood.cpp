#include "apps/likelihood.h"

#include <algorithm>
#include <cmath>
#include <utility>

#include "diffusion/data/batches.h"
#include "diffusion/likelihood.h"
#include "diffusion/reverse_variance.h"

namespace sfumato::apps {
namespace {

constexpr std::int64_t kBatch = 50;

// sum += share · bound, term by term.
void add(std::optional<diffusion::VariationalBound>& sum, diffusion::VariationalBound bound,
         double share) {
  bound.prior *= share, bound.last_step *= share;
  for (auto& term : bound.between) term.bits *= share;
  if (!sum) {
    sum = std::move(bound);
    return;
  }
  sum->prior += bound.prior, sum->last_step += bound.last_step;
  for (std::size_t i = 0; i < bound.between.size(); ++i)
    sum->between[i].bits += bound.between[i].bits;
}

}  // namespace

BitsPerDim bits_per_dim(const diffusion::Pipeline& model, const data::ImageDataset& data,
                        std::int64_t count, std::uint64_t seed) {
  const diffusion::Schedule schedule = diffusion::make_schedule(model.scheduler);
  const diffusion::Prediction& prediction = model.scheduler.prediction_type;
  const Device device = model.params->kind().device;
  const bool bounded = *model.scheduler.beta_schedule.path == diffusion::Path::variance_preserving;
  BitsPerDim result{.pictures = std::min(count, data.images.dim(0))};
  const std::int64_t numbers = data.images.size() / data.images.dim(0);
  double sum = 0, squares = 0;
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
    add(result.bound,
        diffusion::variational_bound(
            schedule, prediction,
            [&](const Tensor& x, double t) { return network(Var(x), t).value(); }, x0,
            {.seed = seed, .stride = kBoundStride}),
        static_cast<double>(end - begin) / static_cast<double>(result.pictures));
  }
  const auto n = static_cast<double>(result.pictures);
  result.flow = sum / n;
  result.flow_error = std::sqrt(std::max(0.0, squares / n - result.flow * result.flow) / n);
  return result;
}

}  // namespace sfumato::apps
