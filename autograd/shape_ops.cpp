// Operations that move numbers without changing them; each one's gradient moves them back.
#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <array>
#include <memory>
#include <numeric>
#include <span>
#include <vector>

#include "autograd/ops.h"
#include "tensor/arithmetic.h"
#include "tensor/index_check.h"
#include "tensor/kernels/kernels.h"

namespace sfumato {
namespace {

using Tensors = std::vector<Tensor, memory::Allocator<Tensor>>;
using Widths = std::vector<std::int64_t, memory::Allocator<std::int64_t>>;

std::int64_t total(const Widths& widths) {
  return std::accumulate(widths.begin(), widths.end(), std::int64_t{0});
}

// Copies between a matrix and its parts, the columns of one after those of the other: column(part, its first column of
// the matrix) says what is copied.
template <class T, class Column>
void copy_parts(const Tensor& matrix, const Widths& widths, const Column& column) {
  std::vector<kernels::Columns<T>, memory::Allocator<kernels::Columns<T>>> columns;
  std::int64_t begin = 0;
  for (std::size_t i = 0; i < widths.size(); begin += widths[i++])
    if (const auto copied = column(i, begin); copied.to) columns.push_back(copied);
  const std::int64_t row = matrix.dim(-1);
  kernels::on<T>(matrix.device()).copy_columns(row ? matrix.size() / row : 0, columns);
}

// [..., a + b + ...] -> [..., a], [..., b], ..., into those that are defined.
void split(const Tensor& matrix, const Widths& widths, Tensors parts) {
  dispatch_float("split", matrix.kind(), [&]<class T>() {
    copy_parts<T>(matrix, widths, [&](std::size_t i, std::int64_t begin) {
      return kernels::Columns<T>{.cols = widths[i],
                                 .from = matrix.data<T>() + begin,
                                 .from_step = matrix.dim(-1),
                                 .to = parts[i].data_or_null<T>(),
                                 .to_step = widths[i]};
    });
  });
}

// The reverse, of `shape`; zeros for a part that is undefined.
Tensor join(const Tensors& parts, const Widths& widths, const Shape& shape, Kind kind) {
  Tensor matrix(shape, kind);
  dispatch_float("join", kind, [&]<class T>() {
    copy_parts<T>(matrix, widths, [&](std::size_t i, std::int64_t begin) {
      return kernels::Columns<T>{.cols = widths[i],
                                 .from = parts[i].data_or_null<T>(),
                                 .from_step = widths[i],
                                 .to = matrix.data<T>() + begin,
                                 .to_step = matrix.dim(-1)};
    });
  });
  return matrix;
}

}  // namespace

Var reshape(const Var& x, std::initializer_list<std::int64_t> extents) {
  const Shape from = x.shape();
  return record("reshape", x.value().reshape(extents), {x}, kNoProducts,
                [from](const Tensor& dy) { return Gradients{dy.reshape(from)}; });
}

Var permute(const Var& x, std::initializer_list<int> order) {
  Tensor y = permute(x.value(), order);  // throws unless it is a permutation
  std::array<int, Shape::kMaxRank> inverse{};
  int i = 0;
  for (int axis : order) inverse[axis] = i++;
  return record("permute", y, {x}, kNoProducts,
                [inverse, rank = y.shape().rank()](const Tensor& dy) {
                  return Gradients{permute(dy, std::span<const int>(inverse.data(), rank))};
                });
}

Var concat(const Var& a, const Var& b) {
  if (a.shape().rank() < 1 || b.shape().rank() != a.shape().rank() ||
      !(b.shape().with(-1, a.dim(-1)) == a.shape()))
    throw Error("concat", fmt::format("shapes {} and {} differ before the innermost axis",
                                      a.shape().str(), b.shape().str()));
  expect_kind("concat", "second input", b.value(), a.kind());
  const Widths widths{a.dim(-1), b.dim(-1)};
  const Shape shape = a.shape().with(-1, total(widths));
  return record("concat", join({a.value(), b.value()}, widths, shape, a.kind()), {a, b},
                kNoProducts, [widths](const Tensor& dy, const Needs& needs) {
                  Gradients g(2);
                  for (int i : {0, 1})
                    if (needs[i]) g[i] = needs.room(i, dy.dtype());
                  split(dy, widths, {g[0], g[1]});
                  return g;
                });
}

// What lies one after the other are the columns of a matrix of one row.
Var concat_rows(std::initializer_list<Var> parts) {
  const char* op = "concat_rows";
  if (parts.size() == 0) throw Error(op, "nothing to put together");
  const Var& first = *parts.begin();
  if (first.shape().rank() < 1) throw Error(op, "expected at least one axis");
  Tensors values;
  Widths sizes;
  std::int64_t rows = 0;
  for (const Var& part : parts) {
    expect_shape(op, "part", part.value(), first.shape().with(0, part.dim(0)));
    expect_kind(op, "part", part.value(), first.kind());
    values.push_back(part.value());
    sizes.push_back(part.value().size());
    rows += part.dim(0);
  }
  const Tensor y = join(values, sizes, {total(sizes)}, first.kind());
  Var joined = record(op, y.reshape(first.shape().with(0, rows)), parts, kNoProducts,
                      [sizes](const Tensor& dy, const Needs& needs) {
                        const int count = static_cast<int>(sizes.size());
                        Gradients g(count);
                        Tensors rooms;
                        for (int i = 0; i < count; ++i)
                          rooms.push_back(g[i] = needs.room(i, dy.dtype()));
                        split(dy.reshape({dy.size()}), sizes, rooms);
                        return g;
                      });
  // The gradient of parameters is not rounded on its way through here.
  for (const Var& part : parts)
    if (part.requires_grad() && joined.requires_grad()) joined.node()->kind = part.node()->kind;
  return joined;
}

// The gradients of the parts arrive one by one, and all of them together are x's: a node without elements waits for them.
Vars split_last(const Var& x, std::span<const std::int64_t> widths) {
  const Widths w(widths.begin(), widths.end());
  const Shape shape = x.shape();
  const bool is_negative = std::any_of(w.begin(), w.end(), [](std::int64_t a) { return a < 0; });
  if (shape.rank() < 1 || is_negative || total(w) != shape[-1])
    throw Error("split_last", fmt::format("{} does not fall into parts of {}", shape.str(),
                                          fmt::join(widths, ", ")));
  const Kind kind = x.kind();
  const auto arrived = std::allocate_shared<Tensors>(memory::Allocator<Tensors>(), w.size());
  const Var all = record("split_last", Tensor({0}, kind), {x}, kNoProducts,
                         [=](const Tensor&) { return Gradients{join(*arrived, w, shape, kind)}; });
  Tensors parts;
  for (const std::int64_t width : w) parts.emplace_back(shape.with(-1, width), kind);
  split(x.value(), w, parts);
  Vars vars;
  for (const Tensor& part : parts)
    vars.push_back(record("split_last", part, {all}, kNoProducts,
                          [arrived, i = vars.size()](const Tensor& dy) {
                            (*arrived)[i] = dy;
                            return Gradients{Tensor({0}, dy.kind())};
                          }));
  return vars;
}

Var slice_last(const Var& x, std::int64_t begin, std::int64_t end) {
  if (x.shape().rank() < 1 || begin < 0 || begin > end || end > x.dim(-1))
    throw Error("slice_last",
                fmt::format("[{}, {}) is out of range for {}", begin, end, x.shape().str()));
  const Widths widths{begin, end - begin, x.dim(-1) - end};
  const Shape from = x.shape();
  const Tensor y(from.with(-1, end - begin), x.kind());
  split(x.value(), widths, {Tensor(), y, Tensor()});
  return record("slice_last", y, {x}, kNoProducts, [=](const Tensor& dy) {
    return Gradients{join({Tensor(), dy, Tensor()}, widths, from, dy.kind())};
  });
}

namespace {

// Row i of y is row index[i] of the table.
template <class T>
struct Gather {
  std::int64_t rows, width;
  const T* table;
  const std::int64_t* index;
  T* y;

  struct Row {
    const T* from;
    T* to;
    constexpr void operator()(std::int64_t j) const { to[j] = from[j]; }
  };
  constexpr Row operator()(std::int64_t i) const {
    return {table + bound_index(index[i], rows) * width, y + i * width};
  }
};

// The adjoint: row k of the table's gradient is the sum of the rows i of dy with index[i] = k, in their order. One
// call computes kColumns numbers of a row, so that the indices are read once for them.
template <class T>
struct GatherAdjoint {
  static constexpr std::int64_t kColumns = 4;
  std::int64_t n, width;
  const T* dy;
  const std::int64_t* index;
  Wide<T>* dtable;

  constexpr std::int64_t blocks() const { return (width + kColumns - 1) / kColumns; }
  constexpr void operator()(std::int64_t block) const {
    const std::int64_t row = block / blocks(), first = block % blocks() * kColumns;
    const std::int64_t columns = std::min(kColumns, width - first);
    Wide<T> sums[kColumns] = {};
    for (std::int64_t i = 0; i < n; ++i)
      if (index[i] == row)
        for (std::int64_t j = 0; j < columns; ++j) sums[j] += dy[i * width + first + j];
    for (std::int64_t j = 0; j < columns; ++j) dtable[row * width + first + j] = sums[j];
  }
};

}  // namespace

// y_i = table[index_i];  dtable[k] = Σ_{i: index_i = k} dy_i
Var embedding(const Var& table, const Tensor& index) {
  expect_rank("embedding", "table", table.value(), 2);
  expect_rank("embedding", "index", index, 1);
  const std::int64_t rows = table.dim(0), width = table.dim(1), n = index.dim(0);
  expect_indices("embedding", "index", index, rows);
  return dispatch_float("embedding", table.kind(), [&]<class T>() {
    Tensor y({n, width}, table.kind());
    for_each_row(
        y.device(), n, width,
        Gather<T>{rows, width, table.value().data<T>(), index.data<std::int64_t>(), y.data<T>()});
    return record("embedding", y, {table}, kNoProducts, [=](const Tensor& dy, const Needs& needs) {
      Tensor dtable = needs.room(0, dtype_of<Wide<T>>());
      const GatherAdjoint<T> sums{n, width, dy.data<T>(), index.data<std::int64_t>(),
                                  dtable.data<Wide<T>>()};
      for_each(dy.device(), rows * sums.blocks(), sums);
      return Gradients{dtable};
    });
  });
}

}  // namespace sfumato
