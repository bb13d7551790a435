#include "common/grader.h"

#include <fmt/format.h>

#include "13_unet/exercise.h"
#include "common/pictures.h"
#include "nn/optim.h"

namespace exercises {

const Exercise kExercise = {13, "13_unet", "a U-Net from its pieces"};

namespace {

using sfumato::Tensor;
namespace nn = sfumato::nn;

constexpr std::int64_t kD = 8;

Tensor noisy_digits(const Tensor& x0, std::uint64_t seed) {
  Tensor x = x0.clone();
  const Tensor eps = sfumato::Rng(seed, sfumato::Purpose::noise).normal(x0.shape());
  for (std::size_t i = 0; i < x.values<float>().size(); ++i)
    x.values<float>()[i] += 0.5f * eps.values<float>()[i];
  return x;
}

Tensor pictures(std::size_t first, std::size_t count) {
  static const std::vector<Picture> all = digits(512);
  Tensor x({static_cast<std::int64_t>(count), 28, 28, 1});
  for (std::size_t i = 0; i < count; ++i)
    for (std::size_t j = 0; j < 784; ++j)
      x.values<float>()[i * 784 + j] = static_cast<float>(all[(first + i) % all.size()][j]);
  return x;
}

// Some numbers of what a network of the grader's own seed answers, where forward(unet, x) runs it.
template <class F>
Numbers answer(F forward) {
  nn::Params params(3);
  const UNet unet(params, kD);
  const Var y = forward(unet, Var(noisy_digits(pictures(0, 2), 1)));
  if (y.shape() != sfumato::Shape({2, 28, 28, 1}))
    throw sfumato::Error(
        "the U-Net",
        fmt::format("gives {}; [2, 28, 28, 1] is asked for, as its input has", y.shape().str()));
  Numbers numbers;
  for (std::size_t i = 0; i < y.value().values<float>().size(); i += 97)
    numbers.push_back(y.value().values<float>()[i]);
  return numbers;
}

// The forward pass with what stands in for the three pieces that are kept, and for the code.
struct Ways {
  bool order = false, no_code = false;
  bool keep[3] = {true, true, true};  // a, b, c
};

Numbers run(const Ways& ways) {
  return answer([&](const UNet& u, const Var& x) {
    const auto beside = [&](const Var& up, const Var& kept, int which) {
      const Var second = ways.keep[which] ? kept : up;
      return ways.order ? concat(second, up) : concat(up, second);
    };
    const Var a = u.in(x), b = u.down1(a), c = u.down2(b);
    const Var d = ways.no_code ? c : u.unflatten(flatten(c));
    const Var e = u.up1(beside(d, c, 2)), f = u.up2(beside(e, b, 1));
    return u.out(u.end(beside(f, a, 0)));
  });
}

Check check_forward() {
  return {.function = "UNet",
          .quantity = "output",
          .yours = [] { return answer([](const UNet& u, const Var& x) { return u(x); }); },
          .right = run({}),
          .at =
              [](std::size_t i) {
                return fmt::format("picture {}, row {}, column {}", i * 97 / 784, i * 97 % 784 / 28,
                                   i * 97 % 28);
              },
          .mistakes = {{"order",
                        "What comes from below is to stand first, and what was kept second: "
                        "concat(d, c), not concat(c, d). (It "
                        "would\nlearn as well; the checkpoint of one does not fit the other.)",
                        run({.order = true})},
                       {"no_code",
                        "You left out flatten and unflatten: c goes straight to `up1`, twice.",
                        run({.no_code = true})},
                       {"no_skips",
                        "Nothing of the way down is used on the way up: you put each beside "
                        "itself. All that the network knows "
                        "of where\nthings are went through 2D numbers.",
                        run({.keep = {false, false, false}})},
                       {"no_skip_a", "f is put beside itself; beside f belongs a, the finest.",
                        run({.keep = {false, true, true}})},
                       {"no_skip_b", "e is put beside itself; beside e belongs b.",
                        run({.keep = {true, false, true}})},
                       {"no_skip_c", "d is put beside itself; beside d belongs c.",
                        run({.keep = {true, true, false}})}},
          .tolerance = 1e-4};
}

}  // namespace

void grade(Grader& grader) { grader.check(check_forward()); }

void show() {
  nn::Params params(0);
  const UNet unet(params, kD);
  nn::AdamW adam(params, {});
  fmt::print(
      "{} parameters. Training it to take noise of σ = 0.5 off digits, L = ‖unet(z) − x‖², 16 at a "
      "time:\n\n",
      params.count());
  constexpr std::uint64_t kSteps = 80;
  for (std::uint64_t step = 0; step < kSteps; ++step) {
    const Tensor x = pictures(16 * step % 480, 16);
    params.zero_grad();
    const Var loss = mse(unet(noisy_digits(x, 100 + step)), x);
    loss.backward();
    adam.step(4e-3, {nn::gradient_norm(params), 1});
    if (step % 20 == 0 || step + 1 == kSteps)
      fmt::print("  step {:2}: loss {:.3f}\n", step + 1, loss.value().item());
  }
  const Tensor x = pictures(500, 1), z = noisy_digits(x, 9);
  const Tensor y = unet(z).value();
  const auto picture = [](const Tensor& t) {
    return Picture(t.values<float>().begin(), t.values<float>().end());
  };
  fmt::print("\n");
  print({picture(x), picture(z), picture(y)},
        {"the picture (not trained on)", "with noise", "what your U-Net makes of it"});
}

}  // namespace exercises
