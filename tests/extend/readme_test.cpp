// The training loop of README.md.
#include <gtest/gtest.h>

#include "sfumato.h"

namespace {

using namespace sfumato;

// Grey squares of 8 x 8, brighter for class 1.
data::ImageDataset squares() {
  const std::int64_t n = 64;
  data::ImageDataset data;
  data.images = Tensor::full({n, 8, 8, 1}, 64, DType::u8);
  data.labels = Tensor::zeros({n}, DType::i64);
  for (std::int64_t i = 1; i < n; i += 2) {
    data.labels.data<std::int64_t>()[i] = 1;
    data.images.slice(i, i + 1).copy_from(Tensor::full({1, 8, 8, 1}, 200, DType::u8));
  }
  data.classes = 2;
  return data;
}

TEST(Readme, Training) {
  const data::ImageDataset data = squares();
  double first = 0, last = 0;
  auto print_loss = [&](std::uint64_t step, double loss) { (step == 0 ? first : last) = loss; };

  const std::uint64_t steps = 20, seed = 0;
  const std::int64_t n = 16;  // a batch
  const auto schedule = diffusion::Schedule::cosine(1000);
  const data::Batches batches(data.images, data.labels, n, seed);
  nn::Params params(seed);
  const nn::UNet unet(params, nn::preset("tiny", 1, data.classes));
  nn::AdamW adam(params, {});
  for (std::uint64_t k = 0; k < steps; ++k) {
    const auto [x0, label] = batches.at(k);                                           // in [-1, 1]
    const Tensor t = Rng(seed, Purpose::timestep, k).randint({n}, schedule.steps());  // U{0..T-1}
    const Tensor eps = Rng(seed, Purpose::noise, k).normal(x0.shape());  // ε ~ N(0, I)
    const Tensor xt = diffusion::q_sample(schedule, x0, t, eps);  // x_t = √ᾱ_t x_0 + √(1-ᾱ_t) ε
    params.zero_grad();
    const Var loss = mse(unet(xt, t, label), eps);  // L = ‖ε - ε_θ(x_t, t)‖²
    loss.backward();
    adam.step(/*lr=*/2e-3, {nn::gradient_norm(params), 1});
    print_loss(k, loss.value().item());
  }
  EXPECT_LT(last, first);
}

}  // namespace
