#include "diffusion/eval/kid.h"

#include <algorithm>

#include "tensor/parallel.h"

namespace sfumato::eval {
namespace {

constexpr std::int64_t kRowsATask = 32;

double kernel(double product, double width) {
  const double base = product / width + 1;
  return base * base * base;
}

// Σ_i over the rows of a of terms(i, k(a_i, b_·)), which are as many as `terms` writes; added in the order of the rows.
template <class Terms>
std::vector<double> sum_over_rows(const Features& a, const Features& b, std::size_t count,
                                  const Terms& terms) {
  const std::int64_t tasks = (a.count() + kRowsATask - 1) / kRowsATask;
  std::vector<std::vector<double>> sums(static_cast<std::size_t>(tasks),
                                        std::vector<double>(count));
  parallel_for(tasks, [&](std::int64_t task) {
    std::vector<double> k;
    const std::int64_t end = std::min(a.count(), (task + 1) * kRowsATask);
    for (std::int64_t i = task * kRowsATask; i < end; ++i) {
      b.products(a.row(i), k);
      for (double& product : k) product = kernel(product, static_cast<double>(a.width()));
      terms(i, k, sums[static_cast<std::size_t>(task)]);
    }
  });
  std::vector<double> total(count);
  for (const std::vector<double>& sum : sums)
    for (std::size_t r = 0; r < count; ++r) total[r] += sum[r];
  return total;
}

double pairs(double n) { return n * (n - 1); }

}  // namespace

Kid::Kid(const Tensor& real) : real_("kid", real, 2) {
  const auto others = [&](std::int64_t i, const std::vector<double>& k, std::vector<double>& sum) {
    for (std::int64_t j = 0; j < real_.count(); ++j)
      if (j != i) sum[0] += k[static_cast<std::size_t>(j)];
  };
  within_ = sum_over_rows(real_, real_, 1, others)[0] / pairs(static_cast<double>(real_.count()));
}

// Row 0 of the weights is the set itself, the others resamples. Where a picture is drawn w times, w² pairs are of it with
// itself, and w of these of a draw with itself, which do not count.
Estimate Kid::operator()(const Tensor& features, std::int64_t resamples) const {
  const Features x("kid", features, 2);
  expect_same_width("kid", x, real_);
  const auto n = static_cast<std::size_t>(x.count()),
             sets = static_cast<std::size_t>(resamples) + 1;
  std::vector<double> weights(n * sets, 1);  // [n, sets]
  for (std::size_t r = 1; r < sets; ++r) {
    const Weights w = resample_weights(x.count(), static_cast<std::int64_t>(r));
    for (std::size_t i = 0; i < n; ++i) weights[i * sets + r] = w[i];
  }
  const auto own = [&](std::int64_t row, const std::vector<double>& k, std::vector<double>& sum) {
    const auto i = static_cast<std::size_t>(row);
    std::vector<double> weighted(sets, -k[i]);
    for (std::size_t j = 0; j < n; ++j)
      for (std::size_t r = 0; r < sets; ++r) weighted[r] += k[j] * weights[j * sets + r];
    for (std::size_t r = 0; r < sets; ++r) sum[r] += weights[i * sets + r] * weighted[r];
  };
  const auto cross = [&](std::int64_t row, const std::vector<double>& k, std::vector<double>& sum) {
    double all = 0;
    for (const double value : k) all += value;
    for (std::size_t r = 0; r < sets; ++r)
      sum[r] += weights[static_cast<std::size_t>(row) * sets + r] * all;
  };
  const std::vector<double> a = sum_over_rows(x, x, sets, own),
                            b = sum_over_rows(x, real_, sets, cross);
  const double count = static_cast<double>(n), mixed = count * static_cast<double>(real_.count());
  std::vector<double> distances(sets);
  for (std::size_t r = 0; r < sets; ++r)
    distances[r] = a[r] / pairs(count) + within_ - 2 * b[r] / mixed;
  return around(distances[0], {distances.begin() + 1, distances.end()});
}

}  // namespace sfumato::eval
