#include "common/grader.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>

#include "06_guidance/exercise.h"
#include "common/points.h"
#include "diffusion/objective.h"
#include "diffusion/schedule.h"

namespace exercises {

const Exercise kExercise = {6, "06_guidance", "guidance"};

namespace {

constexpr int kNull = 10;

Check check_hide_labels() {
  const std::vector<int> labels = {7, 0, 3, 9, 1, 5};
  const Numbers uniform = {0.05, 0.5, 0.19, 0.9, 0.2, 0};
  const double p = 0.2;
  const auto with = [=](auto hide) {
    Numbers numbers;
    for (std::size_t i = 0; i < labels.size(); ++i)
      numbers.push_back(hide(uniform[i], i) ? kNull : labels[i]);
    return numbers;
  };
  return {
      .function = "hide_labels",
      .quantity = "label",
      .yours =
          [=] {
            const std::vector<int> shown = hide_labels(labels, kNull, p, uniform);
            return Numbers(shown.begin(), shown.end());
          },
      .right = with([=](double u, std::size_t) { return u < p; }),
      .at =
          [=](std::size_t i) {
            return fmt::format("i = {}, where uniform[i] = {} and p = {}", i, uniform[i], p);
          },
      .mistakes =
          {{"inverted",
            "You hide with probability 1 − p: the comparison is the wrong way round. The network "
            "would learn to draw "
            "anything,\nand hardly what a label means.",
            with([=](double u, std::size_t) { return u >= p; })},
           {"inverted_strict",
            "The comparison is the wrong way round: you hide where the number is above p.",
            with([=](double u, std::size_t) { return u > p; })},
           {"or_equal",
            "The number is from [0, 1): it is 0 too. With p = 0 nothing may be hidden, so it is <, "
            "not <=.",
            with([=](double u, std::size_t) { return u <= p; })},
           {"never", "You hide none.", with([](double, std::size_t) { return false; })},
           {"always", "You hide all of them.", with([](double, std::size_t) { return true; })},
           {"fixed_share",
            "You hide the first labels of the list; each is to be hidden by its own random number.",
            with([=](double, std::size_t i) { return i < 2; })}}};
}

struct Case {
  double cond, uncond, w;
};
const std::vector<Case> kCases = {
    {1, 0, 1}, {1, 0, 0}, {0.6, -0.2, 2}, {-1, 0.5, 3.5}, {0.3, 0.1, 7.5}};

template <class F>
Numbers answers(F f) {
  return each(kCases, [&](const Case& c) { return f(c.cond, c.uncond, c.w); });
}

double library(double cond, double uncond, double w) {
  const auto one = [](double x) { return sfumato::Tensor::from<double>({1}, {x}); };
  return sfumato::diffusion::guided(one(cond), one(uncond), w).item();
}

std::string at_case(std::size_t i) {
  return fmt::format("ε_c = {}, ε_u = {}, w = {}", kCases[i].cond, kCases[i].uncond, kCases[i].w);
}

Check check_guided() {
  return {
      .function = "guided",
      .quantity = "ε",
      .yours = [] { return answers([](double c, double u, double w) { return guided(c, u, w); }); },
      .right = answers(library),
      .at = at_case,
      .mistakes = {
          {"papers_w",
           "Yours is ε_c + w (ε_c − ε_u), which is the paper's (1 + w) ε_c − w ε_u: the same "
           "guidance with another "
           "number, their\nw is one less. Here w counts from ε_u: w = 1 gives ε_c itself, no "
           "guidance, as in most programs.",
           answers([](double c, double u, double w) { return (1 + w) * c - w * u; })},
          {"exchanged", "ε_c and ε_u are exchanged: you lead away from the label.",
           answers([](double c, double u, double w) { return c + w * (u - c); })},
          {"difference_only",
           "ε_u is missing in front: w (ε_c − ε_u) alone is no estimate of the noise.",
           answers([](double c, double u, double w) { return w * (c - u); })},
          {"sum_of_both",
           "Yours is ε_u + w ε_c: their weights must sum to 1, or the answer has the wrong size.",
           answers([](double c, double u, double w) { return u + w * c; })},
          {"cond_only", "You return w ε_c; the answer without the label takes no part.",
           answers([](double c, double, double w) { return w * c; })},
          {"unguided", "You return ε_c: no guidance, whatever w.",
           answers([](double c, double, double) { return c; })},
          {"minus", "The sign of the difference is wrong: ε_u + w (ε_c − ε_u).",
           answers([](double c, double u, double w) { return u - w * (c - u); })}}};
}

double network(double x, int t, int label) { return 0.3 * x + 0.001 * t + std::sin(label); }

Check check_guided_answer() {
  struct Question {
    double x;
    int t, label;
    double w;
  };
  const std::vector<Question> questions = {{0.5, 900, 7, 2}, {-1, 300, 0, 3}, {0.1, 5, 4, 1}};
  const auto with = [=](auto f) { return each(questions, f); };
  const auto both = [=](auto cond, auto uncond) {
    return with([=](const Question& q) { return library(cond(q), uncond(q), q.w); });
  };
  const auto labelled = [](const Question& q) { return network(q.x, q.t, q.label); };
  const auto hidden = [](const Question& q) { return network(q.x, q.t, kNull); };
  return {.function = "guided_answer",
          .quantity = "ε",
          .yours =
              [=] {
                return with([](const Question& q) {
                  return guided_answer(network, q.x, q.t, q.label, kNull, q.w);
                });
              },
          .right = both(labelled, hidden),
          .at =
              [=](std::size_t i) {
                return fmt::format("label {}, w = {}, t = {}", questions[i].label, questions[i].w,
                                   questions[i].t);
              },
          .mistakes =
              {{"label_zero",
                "For the answer without a label you said label 0. That is a class like any other "
                "(the zeros, say): the null "
                "label is\nasked for.",
                both(labelled, [](const Question& q) { return network(q.x, q.t, 0); })},
               {"label_twice",
                "Both of your questions give the label; the second one should give the null label.",
                both(labelled, labelled)},
               {"null_twice",
                "Both of your questions give the null label; the first one should give the label.",
                both(hidden, hidden)},
               {"exchanged", "Your two answers are exchanged.", both(hidden, labelled)},
               {"other_t",
                "Your question without the label is asked at t = 0; both are about the same t.",
                both(labelled, [](const Question& q) { return network(q.x, 0, kNull); })}}};
}

// Points asked for from heap 0, whose data are two wide heaps that overlap, with guidance w.
Points sample(double w) {
  const auto schedule = sfumato::diffusion::Schedule::linear();
  Mixture all = heap(0, 0.5);
  for (std::size_t i = 1; i < kHeaps; ++i) all.push_back(heap(i, 0.5)[0]);
  Points x = normal_points(0, 1000);
  for (int k = 49; k >= 0; --k) {
    const int t = k * 20 + 19;
    const double from = schedule.alpha_bar[t], to = k > 0 ? schedule.alpha_bar[t - 20] : 1;
    const auto level = schedule.level(t);
    const Points cond = best_answer(x, level, heap(0, 0.5)), uncond = best_answer(x, level, all);
    const auto go = [&](double x_t, double c, double u) {
      const double eps = guided(c, u, w);  // yours; then DDIM's step
      return std::sqrt(to) * (x_t - std::sqrt(1 - from) * eps) / std::sqrt(from) +
             std::sqrt(1 - to) * eps;
    };
    for (std::size_t i = 0; i < x.x.size(); ++i) {
      x.x[i] = go(x.x[i], cond.x[i], uncond.x[i]);
      x.y[i] = go(x.y[i], cond.y[i], uncond.y[i]);
    }
  }
  return x;
}

}  // namespace

void grade(Grader& grader) {
  grader.check(check_hide_labels());
  grader.check(check_guided());
  grader.check(check_guided_answer());
}

void show() {
  fmt::print(
      "Five heaps again, wide ones that overlap (σ = 0.5). Asked for: the top one. With your "
      "`guided`:\n\n");
  const std::vector<double> weights = {0, 1, 3};
  std::vector<Points> seen;
  seen.reserve(weights.size());
  for (const double w : weights) seen.push_back(sample(w));
  print(seen, {"w = 0: anything", "w = 1: the label", "w = 3: guided"});
  for (std::size_t i = 0; i < seen.size(); ++i) {
    double mean_x = 0, mean_y = 0, square = 0;
    const double n = static_cast<double>(seen[i].x.size());
    for (std::size_t j = 0; j < seen[i].x.size(); ++j)
      mean_x += seen[i].x[j] / n, mean_y += seen[i].y[j] / n;
    for (std::size_t j = 0; j < seen[i].x.size(); ++j)
      square += (std::pow(seen[i].x[j] - mean_x, 2) + std::pow(seen[i].y[j] - mean_y, 2)) / (2 * n);
    fmt::print("w = {}: centre ({:+.2f}, {:+.2f}), σ = {:.2f}\n", weights[i], mean_x, mean_y,
               std::sqrt(square));
  }
  fmt::print("The heap's own centre is (0, 1.30), its σ 0.50.\n");
}

}  // namespace exercises
