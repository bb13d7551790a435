#include "common/grader.h"

#include <fmt/format.h>

#include <algorithm>
#include <chrono>
#include <cmath>

#include "10_convolution/exercise.h"
#include "10_convolution/peak.h"
#include "autograd/ops.h"
#include "common/pictures.h"

namespace exercises {

const Exercise kExercise = {10, "10_convolution", "convolution, three times"};

namespace {

using Convolution = void (*)(const float*, const float*, float*, const Sizes&);
using Floats = std::vector<float>;

Floats floats(std::uint64_t seed, std::size_t n) {
  const Numbers numbers = normal_numbers(seed, n);
  return {numbers.begin(), numbers.end()};
}

// A picture with its border of zeros, and filters.
struct Data {
  Sizes s;
  Floats x, w;
  explicit Data(const Sizes& sizes)
      : s(sizes),
        x(floats(1, static_cast<std::size_t>((s.height + 2) * (s.width + 2) * s.in))),
        w(floats(2, static_cast<std::size_t>(9 * s.in * s.out))) {
    for (int i = 0; i < s.height + 2; ++i)
      for (int j = 0; j < s.width + 2; ++j)
        if (i == 0 || j == 0 || i > s.height || j > s.width)
          std::fill_n(&x[static_cast<std::size_t>((i * (s.width + 2) + j) * s.in)], s.in, 0.0f);
  }
  double flop() const { return 2.0 * 9 * s.height * s.width * s.in * s.out; }
};

Floats run(Convolution convolution, const Data& d) {
  Floats y(static_cast<std::size_t>(d.s.height * d.s.width * d.s.out),
           7.0f);  // nothing is promised about it
  convolution(d.x.data(), d.w.data(), y.data(), d.s);
  return y;
}

const Data& small() {
  static const Data data({4, 8, 3, 16});
  return data;
}

// The library's: pictures [N,H,W,C], filters [out,in,3,3].
Floats library(const Data& d) {
  const Sizes& s = d.s;
  sfumato::Tensor w({s.out, s.in, 3, 3});
  for (int ab = 0; ab < 9; ++ab)
    for (int c = 0; c < s.in; ++c)
      for (int o = 0; o < s.out; ++o)
        w.values<float>()[static_cast<std::size_t>((o * s.in + c) * 9 + ab)] =
            d.w[static_cast<std::size_t>((ab * s.in + c) * s.out + o)];
  const auto x = sfumato::Tensor::from<float>({1, s.height + 2, s.width + 2, s.in},
                                              std::span<const float>(d.x));
  const auto y = conv2d(x, w, {}, {}).value();
  const auto values = y.values<float>();
  return {values.begin(), values.end()};
}

// The sums with other indices: at(i, j, a, b) says which pixel of x, and of which weight a and b.
template <class F>
Numbers wrong(F at) {
  const Data& d = small();
  Numbers y;
  for (int i = 0; i < d.s.height; ++i)
    for (int j = 0; j < d.s.width; ++j)
      for (int o = 0; o < d.s.out; ++o) {
        double sum = 0;
        for (int a = 0; a < 3; ++a)
          for (int b = 0; b < 3; ++b)
            for (int c = 0; c < d.s.in; ++c) {
              const auto [pixel, weight] = at(i, j, a, b);
              sum += double{d.x.at(static_cast<std::size_t>(pixel * d.s.in + c))} *
                     d.w.at(static_cast<std::size_t>((weight * d.s.in + c) * d.s.out + o));
            }
        y.push_back(sum);
      }
  return y;
}

std::vector<Mistake> mistakes() {
  const int row = small().s.width + 2;
  using Pair = std::pair<int, int>;
  return {
      {"flipped",
       "Your filter is turned by half a turn: x(i + a, j + b) meets w(a, b) here. (Mathematicians "
       "turn it; "
       "networks do not.)",
       wrong([=](int i, int j, int a, int b) {
         return Pair{(i + a) * row + j + b, 8 - (3 * a + b)};
       })},
      {"transposed", "a and b are exchanged, in your filter or in x: a counts rows, b columns.",
       wrong([=](int i, int j, int a, int b) {
         return Pair{(i + a) * row + j + b, 3 * b + a};
       })},
      {"row_without_border", "A row of x has width + 2 pixels: the border's two are there too.",
       wrong([=](int i, int j, int a, int b) {
         return Pair{(i + a) * (row - 2) + j + b, 3 * a + b};
       })},
      {"first_pixel_only", "All your pixels of a block are its first one: p is missing.",
       wrong([=](int i, int j, int a, int b) {
         return Pair{(i + a) * row + j / 4 * 4 + b, 3 * a + b};
       })},
      {"center_only", "Your pixel is x(i, j), the same for all a and b.",
       wrong([=](int i, int j, int a, int b) {
         return Pair{i * row + j, 3 * a + b};
       })}};
}

Check check(const char* function, Convolution convolution) {
  const Floats right = library(small());
  return {.function = function,
          .quantity = "y",
          .yours =
              [=] {
                const Floats y = run(convolution, small());
                return Numbers(y.begin(), y.end());
              },
          .right = Numbers(right.begin(), right.end()),
          .at =
              [](std::size_t n) {
                const auto i = static_cast<int>(n);
                const Sizes& s = small().s;
                return fmt::format("row {}, column {}, channel {}", i / s.out / s.width,
                                   i / s.out % s.width, i % s.out);
              },
          .mistakes = mistakes(),
          .tolerance = 1e-3};
}

// Seconds of the fastest of some runs.
template <class F>
double seconds(F f) {
  double best = 1e9;
  for (int i = 0; i < 12; ++i) {
    const auto begin = std::chrono::steady_clock::now();
    f();
    best = std::min(
        best, std::chrono::duration<double>(std::chrono::steady_clock::now() - begin).count());
  }
  return best;
}

const Data& large() {
  static const Data data({28, 28, 32, 32});
  return data;
}

double speed(Convolution convolution) {  // in flop/s
  Floats y(static_cast<std::size_t>(large().s.height * large().s.width * large().s.out));
  return large().flop() /
         seconds([&] { convolution(large().x.data(), large().w.data(), y.data(), large().s); });
}

std::optional<Fault> faster(Convolution convolution, Convolution before, double times) {
  for (const double v : run(convolution, small()))
    if (v == 7.0f) return Fault{"not_written", "Some elements of y are not written."};
  const double gain = speed(convolution) / speed(before);
  if (gain >= times) return {};
  return Fault{
      "slow",
      fmt::format(
          "It is {:.1f} times as fast as the one before; {} times is asked for. (If something else "
          "runs on this\ncomputer, try again.)",
          gain, times)};
}

}  // namespace

void grade(Grader& grader) {
  grader.check(check("conv_naive", conv_naive));
  grader.check(check("conv_blocked", conv_blocked));
  grader.check(check("conv_vectorised", conv_vectorised));
  grader.check("conv_vectorised: its speed", [] { return faster(conv_vectorised, conv_naive, 3); });
}

void show() {
  float total = 0;  // printed nowhere, but used: or nothing would be computed
  const double peak = 160.0 * 100000 / seconds([&] { total += multiply_adds(100000); });
  if (std::isnan(total)) return;
  fmt::print(
      "28 x 28 pixels, 32 to 32 channels, one thread. The peak is {:.1f} Gflop/s: multiply-adds on "
      "vectors of 8 and\n"
      "nothing else.\n\n",
      peak * 1e-9);
  struct Rung {
    const char* name;
    Convolution convolution;
  };
  for (const auto& [name, convolution] : {Rung{"naive", conv_naive}, Rung{"blocked", conv_blocked},
                                          Rung{"vectorised", conv_vectorised}}) {
    const double flops = speed(convolution);
    fmt::print("  {:<11} {:6.1f} Gflop/s  {:3.0f} %  {}\n", name, flops * 1e-9, 100 * flops / peak,
               std::string(static_cast<std::size_t>(50 * std::min(1.0, flops / peak)), '#'));
  }
}

}  // namespace exercises
