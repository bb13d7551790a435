#include "diffusion/coupling.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <limits>
#include <map>

#include "diffusion/expect.h"
#include "tensor/error.h"

namespace sfumato::diffusion {
namespace {

// ‖x0_i − ε_j‖² for all i and j, less what no order changes: −2 x0_i · ε_j.
std::vector<std::int64_t> least_squares_order(const Tensor& x0, const Tensor& eps) {
  const std::int64_t n = x0.dim(0), d = x0.dim(1);
  std::vector<double> cost;
  dispatch_float("coupling", x0.dtype(), [&]<class T>() {
    for (std::int64_t i = 0; i < n; ++i)
      for (std::int64_t j = 0; j < n; ++j) {
        const T *x = x0.data<T>() + i * d, *e = eps.data<T>() + j * d;
        double dot = 0;
        for (std::int64_t k = 0; k < d; ++k)
          dot += static_cast<double>(x[k]) * static_cast<double>(e[k]);
        cost.push_back(-2 * dot);
      }
  });
  return assignment(cost, n);
}

// The numbers of the pictures of each label.
std::vector<std::vector<std::int64_t>> groups(const Tensor& labels, std::int64_t n) {
  std::map<std::int64_t, std::vector<std::int64_t>> by_label;
  for (std::int64_t i = 0; i < n; ++i)
    by_label[labels.defined() ? labels.data<std::int64_t>()[i] : 0].push_back(i);
  std::vector<std::vector<std::int64_t>> result;
  result.reserve(by_label.size());
  for (const auto& [label, rows] : by_label) result.push_back(rows);
  return result;
}

}  // namespace

const Coupling Coupling::independent = {.name = "independent", .help = "any noise for any picture"};

// Minibatch optimal transport (Tong 2023, "Improving and generalizing flow-based generative models with minibatch optimal
// transport", section 3.2.3; Pooladian 2023): the batch's noises go to the pictures so that Σ ‖x_0 − ε‖² is smallest. The
// straight lines from one to the other cross less, and the flow needs fewer steps.
const Coupling Coupling::optimal_transport = {
    .name = "ot",
    .help = "the noises of a batch go to the nearest pictures of the same label, all together",
    .order = least_squares_order,
};

void expect_coupling(const Coupling& coupling, Device device) {
  if (coupling.order && is_recorded(device))
    throw Error("coupling",
                fmt::format("{} is computed on the CPU: expected --device cpu", coupling.name));
}

Tensor coupled(const Coupling& coupling, const Tensor& x0, const Tensor& eps,
               const Tensor& labels) {
  expect_alike("coupling", {"x0", x0}, {"eps", eps});
  expect_coupling(coupling, x0.device());
  if (!coupling.order) return eps;
  const std::int64_t n = x0.dim(0), d = n ? x0.size() / n : 0;
  const Tensor pictures = x0.reshape({n, d}), noises = eps.reshape({n, d});
  Tensor result(eps.shape(), eps.kind());
  for (const std::vector<std::int64_t>& rows : groups(labels, n)) {
    const auto size = static_cast<std::int64_t>(rows.size());
    Tensor x({size, d}, x0.kind()), e({size, d}, eps.kind());
    for (std::int64_t i = 0; i < size; ++i) {
      const std::int64_t row = rows[static_cast<std::size_t>(i)];
      x.slice(i, i + 1).copy_from(pictures.slice(row, row + 1));
      e.slice(i, i + 1).copy_from(noises.slice(row, row + 1));
    }
    const std::vector<std::int64_t> order = coupling.order(x, e);
    for (std::size_t i = 0; i < rows.size(); ++i)
      result.slice(rows[i], rows[i] + 1).reshape({1, d}).copy_from(e.slice(order[i], order[i] + 1));
  }
  return result;
}

std::vector<std::int64_t> assignment(const std::vector<double>& cost, std::int64_t n) {
  if (n < 0 || static_cast<std::int64_t>(cost.size()) != n * n ||
      !std::all_of(cost.begin(), cost.end(), [](double c) { return std::isfinite(c); }))
    throw Error("assignment",
                fmt::format("expected {0} x {0} finite costs, got {1}", n, cost.size()));
  // Columns are numbered from 1; column 0 holds the row that looks for one. Prices u of rows and v of columns keep
  // cost − u − v at 0 for what is assigned and at 0 or more elsewhere.
  const auto size = static_cast<std::size_t>(n);
  std::vector<double> u(size + 1), v(size + 1);
  std::vector<std::size_t> row_of(size + 1, 0), from(size + 1, 0);  // rows from 1; 0: none
  for (std::size_t row = 1; row <= size; ++row) {
    std::vector<double> least(size + 1, std::numeric_limits<double>::infinity());
    std::vector<bool> reached(size + 1, false);
    std::size_t column = 0;
    row_of[0] = row;
    do {  // Dijkstra's algorithm, to the nearest column that is free
      reached[column] = true;
      const std::size_t i = row_of[column];
      std::size_t next = 0;
      for (std::size_t j = 1; j <= size; ++j) {
        if (reached[j]) continue;
        const double reduced = cost[(i - 1) * size + j - 1] - u[i] - v[j];
        if (reduced < least[j]) least[j] = reduced, from[j] = column;
        if (next == 0 || least[j] < least[next]) next = j;
      }
      const double step = least[next];
      for (std::size_t j = 0; j <= size; ++j) {
        if (reached[j])
          u[row_of[j]] += step, v[j] -= step;
        else
          least[j] -= step;
      }
      column = next;
    } while (row_of[column] != 0);
    for (; column != 0; column = from[column]) row_of[column] = row_of[from[column]];
  }
  std::vector<std::int64_t> order(size);
  for (std::size_t j = 1; j <= size; ++j) order[row_of[j] - 1] = static_cast<std::int64_t>(j) - 1;
  return order;
}

}  // namespace sfumato::diffusion
