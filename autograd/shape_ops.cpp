// Operations that move numbers without changing them; each one's gradient moves them back.
#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <numeric>
#include <vector>

#include "autograd/ops.h"
#include "tensor/arithmetic.h"
#include "tensor/index_check.h"
#include "tensor/kernels/kernels.h"

namespace sfumato {
namespace {

// Copies columns between two row-major matrices: to[r, to_col + j] = from[r, from_col + j].
void copy_columns(const Tensor& from, std::int64_t from_cols, std::int64_t from_col, Tensor& to,
                  std::int64_t to_cols, std::int64_t to_col, std::int64_t cols) {
  const std::int64_t rows = from_cols ? from.size() / from_cols : 0;
  dispatch_float("copy", from.kind(), [&]<class T>() {
    kernels::on<T>(from.device())
        .copy_rows(rows, cols, from.data<T>() + from_col, from_cols, to.data<T>() + to_col,
                   to_cols);
  });
}

Tensor columns(const Tensor& x, std::int64_t begin, std::int64_t end) {
  Tensor y(x.shape().with(-1, end - begin), x.kind());
  copy_columns(x, x.dim(-1), begin, y, end - begin, 0, end - begin);
  return y;
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
  const std::int64_t ca = a.dim(-1), cb = b.dim(-1);
  Tensor y(a.shape().with(-1, ca + cb), a.kind());
  copy_columns(a.value(), ca, 0, y, ca + cb, 0, ca);
  copy_columns(b.value(), cb, 0, y, ca + cb, ca, cb);
  return record("concat", y, {a, b}, kNoProducts, [ca, cb](const Tensor& dy, const Needs& needs) {
    Gradients g(2);
    if (needs[0]) g[0] = columns(dy, 0, ca);
    if (needs[1]) g[1] = columns(dy, ca, ca + cb);
    return g;
  });
}

namespace {

constexpr int kMostParts = 8;  // of a launch

// Rows of several arrays, one after the other.
struct Parts {
  int count = 0;
  std::int64_t rows = 0, width = 0;
  std::int64_t begin[kMostParts] = {};  // rows before those of a part

  void add(std::int64_t of_part) { begin[count++] = rows, rows += of_part; }
  constexpr int of(std::int64_t row) const {
    int k = count - 1;
    while (begin[k] > row) --k;
    return k;
  }
};

using Rows = std::vector<std::int64_t, memory::Allocator<std::int64_t>>;  // of each part

// f(parts, number of the first one, rows before it) for some parts after the other.
template <class F>
void for_some_parts(const Rows& rows, std::int64_t width, const F& f) {
  const int count = static_cast<int>(rows.size());
  std::int64_t before = 0;
  for (int first = 0; first < count; first += kMostParts) {
    Parts parts;
    parts.width = width;
    for (int k = first; k < std::min(first + kMostParts, count); ++k) parts.add(rows[k]);
    f(parts, first, before);
    before += parts.rows;
  }
}

template <class T>
struct CopyRow {
  const T* from;
  T* to;  // null: nowhere
  constexpr void operator()(std::int64_t j) const {
    if (to) to[j] = from[j];
  }
};

template <class T>
struct JoinRows {
  Parts parts;
  const T* from[kMostParts];
  T* to;
  constexpr CopyRow<T> operator()(std::int64_t row) const {
    const int k = parts.of(row);
    return {from[k] + (row - parts.begin[k]) * parts.width, to + row * parts.width};
  }
};

template <class T>
struct SplitRows {
  Parts parts;
  const T* from;
  T* to[kMostParts];  // null: not wanted
  constexpr CopyRow<T> operator()(std::int64_t row) const {
    const int k = parts.of(row);
    return {from + row * parts.width,
            to[k] ? to[k] + (row - parts.begin[k]) * parts.width : nullptr};
  }
};

// The gradients of the parts that need one.
Gradients split_rows(const Tensor& dy, const Needs& needs, const Rows& rows, std::int64_t width) {
  Gradients g(static_cast<int>(rows.size()));
  dispatch_float("concat_rows", dy.kind(), [&]<class T>() {
    for_some_parts(rows, width, [&](const Parts& some, int first, std::int64_t before) {
      SplitRows<T> split{some, dy.data<T>() + before * width, {}};
      for (int k = 0; k < some.count; ++k) {
        g[first + k] = needs.room(first + k, dy.dtype());
        if (needs[first + k]) split.to[k] = g[first + k].template data<T>();
      }
      for_each_row(dy.device(), some.rows, width, split);
    });
  });
  return g;
}

}  // namespace

Var concat_rows(std::initializer_list<Var> parts) {
  const char* op = "concat_rows";
  if (parts.size() == 0) throw Error(op, "nothing to put together");
  const Var& first = *parts.begin();
  if (first.shape().rank() < 1) throw Error(op, "expected at least one axis");
  Rows rows;
  for (const Var& part : parts) {
    expect_shape(op, "part", part.value(), first.shape().with(0, part.dim(0)));
    expect_kind(op, "part", part.value(), first.kind());
    rows.push_back(part.dim(0));
  }
  const std::int64_t all = std::accumulate(rows.begin(), rows.end(), std::int64_t{0});
  Tensor y(first.shape().with(0, all), first.kind());
  const std::int64_t width = all ? y.size() / all : 0;
  return dispatch_float(op, y.kind(), [&]<class T>() {
    for_some_parts(rows, width, [&](const Parts& some, int k, std::int64_t before) {
      JoinRows<T> join{some, {}, y.data<T>() + before * width};
      std::transform(parts.begin() + k, parts.begin() + k + some.count, join.from,
                     [](const Var& part) { return part.value().data<T>(); });
      for_each_row(y.device(), some.rows, width, join);
    });
    Var joined = record(op, y, parts, kNoProducts, [=](const Tensor& dy, const Needs& needs) {
      return split_rows(dy, needs, rows, width);
    });
    // The gradient of parameters is not rounded on its way through here.
    for (const Var& part : parts)
      if (part.requires_grad() && joined.requires_grad()) joined.node()->kind = part.node()->kind;
    return joined;
  });
}

Var slice_last(const Var& x, std::int64_t begin, std::int64_t end) {
  if (x.shape().rank() < 1 || begin < 0 || begin > end || end > x.dim(-1))
    throw Error("slice_last",
                fmt::format("[{}, {}) is out of range for {}", begin, end, x.shape().str()));
  const Shape from = x.shape();
  return record("slice_last", columns(x.value(), begin, end), {x}, kNoProducts,
                [=](const Tensor& dy) {
                  Tensor dx = Tensor::zeros(from, dy.kind());
                  copy_columns(dy, end - begin, 0, dx, from[-1], begin, end - begin);
                  return Gradients{dx};
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
