#include "common/grader.h"

#include <fmt/format.h>

#include <cmath>

#include "03_loss/exercise.h"
#include "common/pictures.h"
#include "diffusion/objective.h"
#include "diffusion/schedule.h"

namespace exercises {

const Exercise kExercise = {3, "03_loss", "what the network learns"};

namespace {

using ::Picture;
using sfumato::diffusion::Schedule;

Check check_mean_squared_error() {
  const std::vector<std::pair<Picture, Picture>> cases = {{{1, 2, 3}, {1, 2, 5}},
                                                          {{0, 0}, {3, 4}},
                                                          {{0.5, -0.5, 0.25, 1}, {-0.5, 0.5, 0, 2}},
                                                          {{2}, {1.5}}};
  // f of the sum of term(a − b) and of the count.
  const auto with = [=](auto term, auto f) {
    return each(cases, [&](const auto& c) {
      double sum = 0;
      for (std::size_t i = 0; i < c.first.size(); ++i) sum += term(c.first[i] - c.second[i]);
      return f(sum, static_cast<double>(c.first.size()));
    });
  };
  const auto squared = [](double d) { return d * d; };
  const auto mean = [](double sum, double n) { return sum / n; };
  return {
      .function = "mean_squared_error",
      .quantity = "error",
      .yours =
          [=] {
            return each(cases, [](const auto& c) { return mean_squared_error(c.first, c.second); });
          },
      .right = with(squared, mean),
      .at = [](std::size_t i) { return fmt::format("pair {} of the grader's", i + 1); },
      .mistakes = {{"sum", "Yours is the sum of the squares; divide it by the number of pixels.",
                    with(squared, [](double sum, double) { return sum; })},
                   {"absolute",
                    "You took |a − b|; its square is asked for. (With |a − b| the network would "
                    "learn a median, "
                    "not a mean.)",
                    with([](double d) { return std::abs(d); }, mean)},
                   {"no_square", "You forgot the square: differences of both signs cancel.",
                    with([](double d) { return d; }, mean)},
                   {"root", "You took the root of the mean. It is not asked for.",
                    with(squared, [](double sum, double n) { return std::sqrt(sum / n); })},
                   {"root_of_sum",
                    "You took the root of the sum: that is the distance, not the mean square.",
                    with(squared, [](double sum, double) { return std::sqrt(sum); })},
                   {"half", "You halved it. Some books do; here the mean is asked for.",
                    with(squared, [](double sum, double n) { return sum / n / 2; })}}};
}

// ---- the loss: with random numbers that are the same for every candidate

constexpr std::size_t kPixels = 6, kDraws = 12;
const Picture kX0 = {1, -1, 0.5, -0.5, 0.25, 0};

// The random numbers of draw number `draw`, which begin anew for each candidate.
Random random_of(std::size_t draw) {
  auto calls = std::make_shared<std::uint64_t>(0);
  return {.integer =
              [draw](int n) {
                return static_cast<int>((draw * 7919 + 400) % static_cast<std::size_t>(n));
              },
          .normals = [draw,
                      calls](std::size_t n) { return normal_numbers(100 * draw + (*calls)++, n); }};
}

Picture answer(const Picture& x_t, int t) {
  Picture said;
  for (const double x : x_t) said.push_back(0.4 * x + 0.0003 * t);
  return said;
}

double mse(const Picture& a, const Picture& b) {
  double sum = 0;
  for (std::size_t i = 0; i < a.size(); ++i) sum += (a[i] - b[i]) * (a[i] - b[i]);
  return sum / static_cast<double>(a.size());
}

Picture noisy(const Picture& x0, double a, const Picture& eps, bool root = true) {
  Picture x_t;
  for (std::size_t i = 0; i < x0.size(); ++i)
    x_t.push_back(root ? std::sqrt(a) * x0[i] + std::sqrt(1 - a) * eps[i]
                       : a * x0[i] + (1 - a) * eps[i]);
  return x_t;
}

// The losses of some draws, by f(ᾱ, random).
template <class F>
Numbers losses(F f) {
  const Schedule schedule = Schedule::linear();
  Numbers numbers;
  for (std::size_t draw = 0; draw < kDraws; ++draw)
    numbers.push_back(f(schedule.alpha_bar, random_of(draw)));
  return numbers;
}

using AlphaBar = std::vector<double>;

// The losses where the answer is compared with f(x_0, x_t, ε).
template <class F>
Numbers target(F f) {
  return losses([f](const AlphaBar& a, const Random& random) {
    const int t = random.integer(1000);
    const Picture eps = random.normals(kPixels), x_t = noisy(kX0, a[t], eps);
    return mse(answer(x_t, t), f(kX0, x_t, eps));
  });
}

// Those with another t in ᾱ_t, and in what the network is told.
template <class F, class G>
Numbers time(F in_alpha, G told) {
  return losses([=](const AlphaBar& a, const Random& random) {
    const int t = random.integer(1000);
    const Picture eps = random.normals(kPixels);
    return mse(answer(noisy(kX0, a[in_alpha(t)], eps), told(t)), eps);
  });
}

std::vector<Mistake> mistakes_of_loss() {
  const auto same = [](int t) { return t; };
  return {{"two_noises",
           "You drew the noise twice: once for x_t, and again for the comparison. Call "
           "random.normals once and keep it:\n"
           "the network cannot guess a noise that is not in its picture.",
           losses([](const AlphaBar& a, const Random& random) {
             const int t = random.integer(1000);
             const Picture x_t = noisy(kX0, a[t], random.normals(kPixels));
             return mse(answer(x_t, t), random.normals(kPixels));
           })},
          {"target_x0",
           "You compared the answer with the picture x_0. The network is asked for the noise.",
           target([](const Picture& x0, const Picture&, const Picture&) { return x0; })},
          {"target_xt",
           "You compared the answer with x_t, which the network was shown. It is asked for the "
           "noise in it.",
           target([](const Picture&, const Picture& x_t, const Picture&) { return x_t; })},
          {"no_root", "Your x_t has ᾱ and 1 − ᾱ where q_sample has their square roots.",
           losses([](const AlphaBar& a, const Random& random) {
             const int t = random.integer(1000);
             const Picture eps = random.normals(kPixels);
             return mse(answer(noisy(kX0, a[t], eps, false), t), eps);
           })},
          {"network_sees_x0", "You showed the network the clean picture x_0; it is to see x_t.",
           losses([](const AlphaBar&, const Random& random) {
             const int t = random.integer(1000);
             return mse(answer(kX0, t), random.normals(kPixels));
           })},
          {"network_sees_noise", "You showed the network the noise itself; it is to see x_t.",
           losses([](const AlphaBar&, const Random& random) {
             const int t = random.integer(1000);
             const Picture eps = random.normals(kPixels);
             return mse(answer(eps, t), eps);
           })},
          {"alpha_bar_before", "You used ᾱ_{t−1} in x_t, but told the network t.",
           time([](int t) { return t > 0 ? t - 1 : 0; }, same)},
          {"told_next_t", "You told the network another t than the one in ᾱ_t: t + 1.",
           time(same, [](int t) { return t + 1; })},
          {"told_zero", "You told the network t = 0, always.", time(same, [](int) { return 0; })},
          {"alpha_bar_of_0", "Your x_t has ᾱ_0, always: the index is t.",
           time([](int) { return 0; }, same)},
          {"last_t_never",
           "Your t is never T − 1: random.integer(n) gives 0 .. n−1 already, so n is T.",
           losses([](const AlphaBar& a, const Random& random) {
             const int t = random.integer(999);
             const Picture eps = random.normals(kPixels);
             return mse(answer(noisy(kX0, a[t], eps), t), eps);
           })}};
}

Check check_loss() {
  return {.function = "loss",
          .quantity = "loss",
          .yours =
              [] {
                return losses(
                    [](const AlphaBar& a, const Random& r) { return loss(kX0, a, answer, r); });
              },
          .right = losses([](const AlphaBar& a, const Random& random) {
            const int t = random.integer(1000);
            const Picture eps = random.normals(kPixels);
            return mse(answer(noisy(kX0, a[t], eps), t), eps);
          }),
          .at =
              [](std::size_t i) {
                return fmt::format("draw {} (t = {})", i + 1, random_of(i).integer(1000));
              },
          .mistakes = mistakes_of_loss()};
}

Check check_picture_from_noise() {
  struct Case {
    double x, a, eps;
  };
  const std::vector<Case> cases = {
      {0.3, 0.9, 0.5}, {-1.2, 0.5, 1}, {0.8, 0.1, -0.7}, {0.2, 0.04, 0.1}};
  const auto with = [=](auto f) {
    return each(cases, [&](const Case& c) { return f(c.x, c.a, c.eps); });
  };
  return {
      .function = "picture_from_noise",
      .quantity = "x_0",
      .yours =
          [=] {
            return with([](double x, double a, double e) {
              return picture_from_noise({x, x}, a, {e, e}).at(1);
            });
          },
      .right = with(
          [](double x, double a, double e) { return (x - std::sqrt(1 - a) * e) / std::sqrt(a); }),
      .at =
          [=](std::size_t i) {
            return fmt::format("x_t = {}, ᾱ = {}, ε = {}", cases[i].x, cases[i].a, cases[i].eps);
          },
      .mistakes = {{"not_divided",
                    "You subtracted the noise, but what is left is √ᾱ x_0: divide by √ᾱ.",
                    with([](double x, double a, double e) { return x - std::sqrt(1 - a) * e; })},
                   {"noise_not_scaled", "You subtracted ε; in x_t there is √(1−ᾱ) ε.",
                    with([](double x, double a, double e) { return (x - e) / std::sqrt(a); })},
                   {"plus", "The noise is subtracted, not added.",
                    with([](double x, double a, double e) {
                      return (x + std::sqrt(1 - a) * e) / std::sqrt(a);
                    })},
                   {"no_root", "There are ᾱ and 1 − ᾱ where their square roots should be.",
                    with([](double x, double a, double e) { return (x - (1 - a) * e) / a; })},
                   {"brackets",
                    "Only the noise is divided by √ᾱ: brackets around the difference are missing.",
                    with([](double x, double a, double e) {
                      return x - std::sqrt(1 - a) * e / std::sqrt(a);
                    })},
                   {"multiplied", "You multiplied by √ᾱ; divide by it.",
                    with([](double x, double a, double e) {
                      return (x - std::sqrt(1 - a) * e) * std::sqrt(a);
                    })}}};
}

}  // namespace

void grade(Grader& grader) {
  grader.check(check_mean_squared_error());
  grader.check(check_loss());
  grader.check(check_picture_from_noise());
}

void show() {
  const Schedule schedule = Schedule::linear();
  const Picture digit = digits(3)[2];
  int draw = 0;
  const Random random = {
      .integer = [&](int n) { return (draw * 389) % n; },
      .normals =
          [&](std::size_t n) { return normal_numbers(static_cast<std::uint64_t>(draw++), n); }};
  double mean = 0;
  const auto zero = [](const Picture& x, int) { return Picture(x.size(), 0); };
  for (int i = 0; i < 200; ++i) mean += loss(digit, schedule.alpha_bar, zero, random) / 200;
  fmt::print(
      "A network that always answers 0 has the loss {:.3f}: the variance of the noise. Training "
      "begins there.\n\n",
      mean);
  fmt::print(
      "Now a network that is nearly right: its answer is off by 0.1 ~ N(0, 0.1²) a pixel, at any "
      "t.\n"
      "What your picture_from_noise makes of its answer:\n\n");
  std::vector<Picture> seen = {digit};
  std::vector<std::string> captions = {"the picture"};
  for (const int t : {100, 500, 800}) {
    const double a = schedule.alpha_bar[t];
    const Picture eps = normal_numbers(1, digit.size()), off = normal_numbers(2, digit.size());
    Picture said = eps;
    for (std::size_t i = 0; i < said.size(); ++i) said[i] += 0.1 * off[i];
    seen.push_back(picture_from_noise(noisy(digit, a, eps), a, said));
    captions.push_back(fmt::format("t = {}: off by {:.2f}", t, 0.1 * std::sqrt((1 - a) / a)));
  }
  print(seen, captions);
  fmt::print(
      "Its loss is 0.01 at each t. At large t that is not enough to see the picture: x_0 is the "
      "answer's error\n"
      "times √(1−ᾱ)/√ᾱ away. So pictures are not drawn in one step (exercise 4).\n");
}

}  // namespace exercises
