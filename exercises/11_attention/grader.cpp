#include "common/grader.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>

#include "11_attention/exercise.h"
#include "autograd/ops.h"
#include "common/pictures.h"

namespace exercises {

const Exercise kExercise = {11, "11_attention", "attention"};

namespace {

Numbers softmax_of(const Numbers& scores) {
  const double largest = *std::max_element(scores.begin(), scores.end());
  double sum = 0;
  for (const double s : scores) sum += std::exp(s - largest);
  return each(scores, [=](double s) { return std::exp(s - largest) / sum; });
}

Check check_softmax() {
  static const std::vector<Numbers> cases = {{0, 0, 0}, {1, 2, 3}, {-1, 0.5}, {1000, 1001, 999}};
  const auto with = [](auto f) {
    Numbers numbers;
    for (const Numbers& c : cases)
      for (const double p : f(c)) numbers.push_back(p);
    return numbers;
  };
  // e^s over what `sum` makes of the scores.
  const auto shares = [=](auto exponential, auto whole) {
    return with([=](const Numbers& scores) {
      return each(scores, [&](double s) { return exponential(s) / whole(scores); });
    });
  };
  const auto exp = [](double s) { return std::exp(s); };
  const auto total = [](const Numbers& scores) {
    double sum = 0;
    for (const double s : scores) sum += std::exp(s);
    return sum;
  };
  return {
      .function = "softmax",
      .quantity = "p",
      .yours = [=] { return with([](const Numbers& c) { return softmax(c); }); },
      .right = with(softmax_of),
      .at =
          [](std::size_t i) {
            for (const Numbers& c : cases) {
              if (i < c.size())
                return fmt::format("number {} of softmax({{{}}})", i, fmt::join(c, ", "));
              i -= c.size();
            }
            return std::string();
          },
      .mistakes =
          {{"overflow",
            "Right for small scores, but e^1000 is infinite. Subtract the largest score first: "
            "numerator and "
            "denominator shrink by\nthe same factor.",
            shares(exp, total)},
           {"not_divided", "Your p do not sum to 1: divide by the sum.", with([](const Numbers& c) {
              const double largest = *std::max_element(c.begin(), c.end());
              return each(c, [=](double s) { return std::exp(s - largest); });
            })},
           {"mean", "You divided by how many there are, not by their sum.",
            with([](const Numbers& c) {
              const double largest = *std::max_element(c.begin(), c.end());
              return each(c, [&](double s) {
                return std::exp(s - largest) / static_cast<double>(c.size());
              });
            })},
           {"no_exponential",
            "You took the share of the scores; e^score is asked for. (Scores can be negative.)",
            with([](const Numbers& c) {
              double sum = 0;
              for (const double s : c) sum += s;
              return each(c, [=](double s) { return s / sum; });
            })}}};
}

// ---- attention

constexpr int kTokens = 5, kChannels = 6;

struct Projections {
  Numbers q = normal_numbers(1, kTokens*kChannels), k = normal_numbers(2, kTokens*kChannels),
          v = normal_numbers(3, kTokens*kChannels);
};
const Projections kIn;

struct Wrong {
  double scale = 0;           // 0: 1/√d
  bool over_queries = false;  // softmax over i for each j
  bool k_for_v = false, q_for_k = false, own_v = false;
};

Numbers attend(int heads, const Wrong& w) {
  const int d = kChannels / heads;
  const Numbers &k = w.q_for_k ? kIn.q : kIn.k, &v = w.k_for_v ? kIn.k : kIn.v;
  const double scale = w.scale != 0 ? w.scale : 1 / std::sqrt(d);
  Numbers y(kTokens * kChannels, 0);
  for (int first = 0; first < kChannels; first += d) {
    std::vector<Numbers> p(kTokens, Numbers(kTokens, 0));
    for (int i = 0; i < kTokens; ++i)
      for (int j = 0; j < kTokens; ++j)
        for (int c = first; c < first + d; ++c)
          p[w.over_queries ? j : i][w.over_queries ? i : j] +=
              kIn.q[i * kChannels + c] * k[j * kChannels + c] * scale;
    for (Numbers& row : p) row = softmax_of(row);
    for (int i = 0; i < kTokens; ++i)
      for (int j = 0; j < kTokens; ++j)
        for (int c = first; c < first + d; ++c)
          y[i * kChannels + c] +=
              (w.over_queries ? p[j][i] : p[i][j]) * v[(w.own_v ? i : j) * kChannels + c];
  }
  return y;
}

Numbers library(int heads) {
  const auto tensor = [](const Numbers& x) {
    return sfumato::Tensor::from<double>({1, kTokens, kChannels}, std::span<const double>(x));
  };
  const auto y = sfumato::attention(tensor(kIn.q), tensor(kIn.k), tensor(kIn.v), heads).value();
  const auto values = y.values<double>();
  return {values.begin(), values.end()};
}

Numbers two(const Numbers& a, const Numbers& b) {
  Numbers both = a;
  both.insert(both.end(), b.begin(), b.end());
  return both;
}

Check check_attention() {
  const auto with = [](const Wrong& w) { return two(attend(1, w), attend(3, w)); };
  const auto scaled = [](double one, double three) {
    return two(attend(1, {.scale = one}), attend(3, {.scale = three}));
  };
  return {
      .function = "attention",
      .quantity = "y",
      .yours =
          [] {
            return two(attention(kIn.q, kIn.k, kIn.v, kTokens, kChannels, 1),
                       attention(kIn.q, kIn.k, kIn.v, kTokens, kChannels, 3));
          },
      .right = two(library(1), library(3)),
      .at =
          [](std::size_t i) {
            const std::size_t n = kTokens * kChannels, j = i % n;
            return fmt::format("token {}, channel {}, with {}", j / kChannels, j % kChannels,
                               i < n ? "1 head" : "3 heads");
          },
      .mistakes =
          {{"not_scaled",
            "The product is not divided by √d: with more channels the softmax would pick one token "
            "alone.",
            scaled(1, 1)},
           {"divided_by_d",
            "You divided by d; √d is asked for. (A sum of d random products grows as √d.)",
            scaled(1.0 / kChannels, 3.0 / kChannels)},
           {"root_of_channels",
            "Right for one head. With 3 heads d is channels / heads: divide by √d, not by "
            "√channels.",
            scaled(1 / std::sqrt(kChannels), 1 / std::sqrt(kChannels))},
           {"multiplied", "You multiplied by √d; divide by it.",
            scaled(std::sqrt(kChannels), std::sqrt(kChannels / 3.0))},
           {"transposed",
            "You weighed with what j gives i where i gives j: q of token i meets k of token j.",
            with({.over_queries = true})},
           {"q_for_k", "You multiplied q with q; the other factor is k of token j.",
            with({.q_for_k = true})},
           {"k_for_v", "You summed k; what is summed is v of token j.", with({.k_for_v = true})},
           {"own_v", "You summed v of token i itself; it should be v of token j.",
            with({.own_v = true})}}};
}

}  // namespace

void grade(Grader& grader) {
  grader.check(check_softmax());
  grader.check(check_attention());
}

void show() {
  fmt::print(
      "A number for each of 8 pixels in a row, and your attention with the pixel's own number as "
      "q, k and v, "
      "times 4:\n\n");
  const Numbers x = {1, 1, -1, -1, 1, -1, 0.2, 0};
  const Numbers sharp = each(x, [](double v) { return 4 * v; });
  const Numbers y = attention(sharp, sharp, x, 8, 1, 1);
  fmt::print(
      "  x  {:6.2f}\n  y  {:6.2f}\n\nEach has become the mean of those with which its product is "
      "largest: the 1s of 1s, the −1s of −1s,\n0.2 nearly of 1s; and 0, whose products are all 0, "
      "the mean of all.\n",
      fmt::join(x, " "), fmt::join(y, " "));
}

}  // namespace exercises
