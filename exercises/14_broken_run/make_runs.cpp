// Makes the runs of exercise 14: the same small training on points in the plane, each with one mistake planted.
//   cmake --build build --target make_broken_runs && build/exercises/make_broken_runs FOLDER
#include <fmt/format.h>

#include <cmath>
#include <cstdio>
#include <memory>
#include <string>
#include <vector>

#include "common/points.h"
#include "diffusion/forward.h"
#include "nn/layers.h"
#include "nn/optim.h"
#include "tensor/error.h"

using namespace sfumato;
using namespace sfumato::diffusion;  // for its formulas of tensors
using exercises::Points;

namespace {

struct Plan {
  const char* file;
  double lr = 2e-3;
  std::int64_t T = 1000;
  bool two_noises = false, time_not_told = false, not_zeroed = false, noise_in_last_step = false;
};

constexpr Plan kPlans[] = {{.file = "a"},
                           {.file = "b", .two_noises = true},
                           {.file = "c", .noise_in_last_step = true},
                           {.file = "d", .lr = 0.5},
                           {.file = "e", .T = 20},
                           {.file = "f", .not_zeroed = true},
                           {.file = "g", .time_not_told = true}};

// ε_θ(x, t) for points.
struct Network {
  nn::Linear in, time, middle, out;
  explicit Network(const nn::Scope& s)
      : in(s / "in", 2, 64),
        time(s / "time", 32, 64),
        middle(s / "middle", 64, 64),
        out(s / "out", 64, 2) {}
  Var operator()(const Tensor& x, const Tensor& t) const {
    const Var h = silu(in(x) + time(nn::sinusoidal_embedding(t, 32, true, 0)));
    return out(silu(middle(h)));
  }
};

constexpr std::int64_t kBatch = 256, kSteps = 2000, kPoints = 500;

Tensor data(std::uint64_t step) {
  Tensor x = Rng(1, Purpose::general, step).normal({kBatch, 2});
  const Tensor which =
      Rng(2, Purpose::general, step).randint({kBatch}, 10);  // 0 .. 5: heap 0; 6 .. 9: the others
  const exercises::Mixture heaps = exercises::heaps();
  for (std::int64_t i = 0; i < kBatch; ++i)
    for (std::size_t d = 0; d < 2; ++d) {
      const auto& heap = heaps[static_cast<std::size_t>(
          std::max<std::int64_t>(0, which.data<std::int64_t>()[i] - 5))];
      float& v = x.data<float>()[2 * i + static_cast<std::int64_t>(d)];
      v = static_cast<float>(heap.mean[d] + std::sqrt(heap.covariance[d]) * v);
    }
  return x;
}

Tensor told(const Plan& plan, const Tensor& t) {
  return plan.time_not_told ? Tensor::zeros(t.shape(), DType::i64) : t;
}

void train(const Plan& plan, const diffusion::Schedule& schedule, nn::Params& params,
           const Network& network, std::FILE* file) {
  nn::AdamW adam(params, {});
  double loss_sum = 0, norm_sum = 0;
  params.zero_grad();
  for (std::uint64_t step = 0; step < kSteps; ++step) {
    const Tensor x0 = data(step),
                 t = Rng(3, Purpose::timestep, step).randint({kBatch}, schedule.steps());
    const Tensor eps = Rng(4, Purpose::noise, step).normal(x0.shape());
    const Tensor target = plan.two_noises ? Rng(5, Purpose::noise, step).normal(x0.shape()) : eps;
    const Tensor xt = diffusion::q_sample(schedule, x0, t, eps);
    if (!plan.not_zeroed) params.zero_grad();
    const Var loss = mse(network(xt, told(plan, t)), target);
    loss.backward();
    loss_sum += loss.value().item();
    norm_sum += nn::gradient_norm(params).item();
    adam.step(plan.lr);
    if ((step + 1) % 100 == 0) {
      fmt::print(file, "{:5} {:9.4f} {:14.3f}\n", step + 1, loss_sum / 100, norm_sum / 100);
      loss_sum = norm_sum = 0;
    }
  }
}

// DDPM's sampling, all T steps.
Points sample(const Plan& plan, const diffusion::Schedule& schedule, const Network& network) {
  NoGrad no_grad;
  Tensor x = Rng(6, Purpose::sample_start).normal({kPoints, 2});
  for (std::int64_t step = schedule.steps() - 1; step >= 0; --step) {
    const Tensor t = Tensor::full({kPoints}, static_cast<double>(step), DType::i64);
    const Tensor eps = network(x, told(plan, t)).value();
    const auto level = schedule.level(step), before = schedule.level(step - 1);
    const auto q = posterior_weights(before, level);
    // The last step's mistake is as large as the first step's noise.
    const double sigma = step == 0 && plan.noise_in_last_step ? std::sqrt(schedule.beta.back())
                                                              : std::sqrt(q.variance);
    const Tensor x0 = 1 / level.signal() * x - level.noise() / level.signal() * eps;
    const Tensor z =
        Rng(7, Purpose::sample_step, static_cast<std::uint64_t>(step)).normal(x.shape());
    const Tensor mean = q.x0 * x0 + q.xt * x;
    x = 1.0 * mean + sigma * z;
  }
  Points points;
  for (std::int64_t i = 0; i < kPoints; ++i) {
    points.x.push_back(x.data<float>()[2 * i]);
    points.y.push_back(x.data<float>()[2 * i + 1]);
  }
  return points;
}

// What is seen of the points: how many are in each heap, and how wide the heaps are.
void describe(const Points& points, std::FILE* file) {
  const exercises::Mixture heaps = exercises::heaps();
  std::vector<int> count(heaps.size(), 0);
  double squares = 0;
  int inside = 0;
  for (std::size_t i = 0; i < points.x.size(); ++i)
    for (std::size_t h = 0; h < heaps.size(); ++h) {
      const double far = std::hypot(points.x[i] - heaps[h].mean[0], points.y[i] - heaps[h].mean[1]);
      if (far < 0.6) ++count[h], ++inside, squares += far * far / 2;
    }
  fmt::print(file, "\n{} points drawn\n  in each heap (within 0.6): {:3}", kPoints,
             fmt::join(count, " "));
  if (inside > 0) fmt::print(file, "   their sigma: {:.3f}", std::sqrt(squares / inside));
  fmt::print(file, "\n  in the data, of 500:       300  50  50  50  50   their sigma: 0.100\n");
}

void make(const Plan& plan, const std::string& folder) {
  const auto schedule = diffusion::Schedule::linear(plan.T);
  nn::Params params(0);
  const Network network(params);
  const std::string path = folder + "/" + plan.file + ".txt";
  const std::unique_ptr<std::FILE, int (*)(std::FILE*)> file(std::fopen(path.c_str(), "w"),
                                                             std::fclose);
  if (!file) throw Error("make_broken_runs", path + " cannot be written");
  fmt::print(
      file.get(),
      "T = {}, alpha_bar at the end = {:.5f}, learning rate {}\n\n step      loss  gradient norm\n",
      schedule.steps(), schedule.alpha_bar.back(), plan.lr);
  train(plan, schedule, params, network, file.get());
  describe(sample(plan, schedule, network), file.get());
}

}  // namespace

int main(int argc, char** argv) {
  try {
    if (argc != 2) throw Error("make_broken_runs", "expected one folder to write to");
    for (const Plan& plan : kPlans) make(plan, argv[1]);
    return 0;
  } catch (const std::exception& e) {
    fmt::print(stderr, "{}\n", e.what());
    return 1;
  }
}
