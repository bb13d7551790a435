// A new layer in one file: squeeze-and-excitation (Hu 2018), which lets a network weigh its
// channels by what the whole picture looks like. Run with --check to put it through the conformance
// kit, without to train a small denoiser that uses it.
#include <cmath>
#include <cstdio>
#include <cstring>
#include <exception>

#include "sfumato.h"

using namespace sfumato;

// s = σ(W₂ silu(W₁ mean_hw(x))),  y = x s                                    [Hu 2018, eq. 2-4]
// [N,H,W,C] -> [N,H,W,C]. No gradient is written here: it follows from the operations used.
struct SqueezeExcite {
  nn::Linear squeeze, excite;

  SqueezeExcite(const nn::Scope& s, std::int64_t channels, std::int64_t hidden)
      : squeeze(s / "squeeze", channels, hidden), excite(s / "excite", hidden, channels) {}

  Var operator()(const Var& x) const {
    const std::int64_t n = x.dim(0), h = x.dim(1), w = x.dim(2), c = x.dim(3);
    const Var mean = sum_to(x, {n, 1, 1, c}) * (1.0 / static_cast<double>(h * w));  // [N,1,1,C]
    return x * sigmoid(excite(silu(squeeze(mean))));
  }
};

// Three convolutions with the new layer between them.
struct Denoiser {
  nn::Conv2d in, middle, out;
  SqueezeExcite attention;
  nn::Linear time;

  explicit Denoiser(const nn::Scope& s)
      : in(s / "in", 1, 16, 3, Conv2dOptions::padded(1)),
        middle(s / "middle", 16, 16, 3, Conv2dOptions::padded(1)),
        out(s / "out", 16, 1, 3, Conv2dOptions::padded(1)),
        attention(s / "attention", 16, 4),
        time(s / "time", 16, 16) {}

  Var operator()(const Var& x, const Tensor& t) const {
    const Var temb = time(Var(nn::sinusoidal_embedding(t, 16, true, 0)));  // [N,16]
    Var h = silu(in(x) + reshape(temb, {x.dim(0), 1, 1, 16}));
    return out(silu(attention(middle(h))));
  }
};

// Bars of random place and direction, 12x12 in [-1, 1]: enough to have something to denoise.
Tensor bars(std::int64_t n, std::uint64_t step) {
  Tensor x = Tensor::full({n, 12, 12, 1}, -1);
  const Tensor draw = Rng(1, Purpose::general, step).randint({n}, 24);
  for (std::int64_t i = 0; i < n; ++i) {
    const std::int64_t place = draw.data<std::int64_t>()[i] / 2;
    const bool vertical = draw.data<std::int64_t>()[i] % 2;
    for (std::int64_t k = 0; k < 12; ++k)
      x.data<float>()[i * 144 + (vertical ? k * 12 + place : place * 12 + k)] = 1;
  }
  return x;
}

double train() {
  nn::Params params(/*seed=*/0);
  const Denoiser denoiser(params);
  nn::AdamW adam(params, {});
  const auto schedule = diffusion::Schedule::cosine(1000);
  double first = 0, last = 0;
  for (std::uint64_t step = 0; step < 300; ++step) {
    const Tensor x0 = bars(16, step);
    const Tensor t = Rng(2, Purpose::timestep, step).randint({16}, schedule.steps());
    const Tensor eps = Rng(2, Purpose::noise, step).normal(x0.shape());
    const Tensor xt = diffusion::q_sample(schedule, x0, t, eps);
    params.zero_grad();
    const Var loss = mse(denoiser(xt, t), eps);  // L = ‖ε - ε_θ(x_t, t)‖²
    loss.backward();
    adam.step(5e-3, {nn::gradient_norm(params), 1});
    if (step < 20) first += loss.value().item() / 20;
    if (step >= 280) last += loss.value().item() / 20;
  }
  std::printf("loss %.3f -> %.3f\n", first, last);
  return last / first;
}

int main(int argc, char** argv) {
  try {
    if (argc > 1 && std::strcmp(argv[1], "--check") == 0) {
      nn::check_layer({.name = "squeeze_excite",
                       .make = [](const nn::Scope& s) { return SqueezeExcite(s, 6, 3); },
                       .input = {2, 5, 4, 6},
                       .output = {2, 5, 4, 6}});
      std::puts("squeeze_excite conforms");
      return 0;
    }
    return train() < 0.5 ? 0 : 1;
  } catch (const std::exception& e) {
    std::fprintf(stderr, "%s\n", e.what());
    return 1;
  }
}
