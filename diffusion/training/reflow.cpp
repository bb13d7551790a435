#include <fmt/format.h>

#include "autograd/ops.h"
#include "diffusion/data/batches.h"
#include "diffusion/generate.h"
#include "diffusion/training/support.h"
#include "diffusion/training/training.h"

namespace sfumato::diffusion {
namespace {

using namespace training;

// Rows number[0], number[1], ... of x.
Tensor rows(const Tensor& x, const Tensor& number) {
  Tensor taken(x.shape().with(0, number.size()), x.dtype());
  for (std::int64_t i = 0; i < number.size(); ++i) {
    const std::int64_t row = number.data<std::int64_t>()[i];
    taken.slice(i, i + 1).copy_from(x.slice(row, row + 1));
  }
  return taken;
}

}  // namespace

Pairs draw_pairs(const Pipeline& model, const std::vector<std::int64_t>& labels, std::int64_t steps,
                 std::uint64_t seed) {
  const GenerateOptions options{.labels = labels, .steps = steps, .seed = seed};
  // What generate() starts from.
  const Tensor eps = Rng(seed, Purpose::sample_start).normal(picture_shape(model, options));
  return {eps, data::to_signed(generate(model, options)), labels};
}

void train_reflow(Pipeline& model, const Pairs& pairs, const ReflowOptions& o, std::uint64_t seed,
                  const nn::FitOptions& options) {
  const Schedule schedule = make_schedule(model.scheduler);
  const auto n = static_cast<std::int64_t>(pairs.labels.size());
  if (n < 1 || pairs.eps.dim(0) != n || !(pairs.eps.shape() == pairs.x0.shape()))
    throw Error("train_reflow", fmt::format("{} labels for noise {} and pictures {}", n,
                                            pairs.eps.shape().str(), pairs.x0.shape().str()));
  const Tensor all_labels = Tensor::from<std::int64_t>({n}, pairs.labels);
  nn::fit(*model.params, options, [&](std::int64_t k) {
    const Tensor number =
        Rng(seed, Purpose::shuffle, static_cast<std::uint64_t>(k)).randint({o.batch}, n);
    const Tensor t =
        o.last_time_only
            ? Tensor::full({o.batch}, static_cast<double>(schedule.steps() - 1), DType::i64)
            : random_index(seed, k, o.batch, schedule.steps());
    const Tensor labels = model.conditioning().has_table() ? rows(all_labels, number) : Tensor();
    return denoising_loss(model, schedule,
                          {rows(pairs.x0, number), rows(pairs.eps, number), t, labels});
  });
}

}  // namespace sfumato::diffusion
