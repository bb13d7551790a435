// Matrix products of a batch, each matrix with the one of its number.
#include "autograd/ops.h"
#include "tensor/kernels/kernels.h"

namespace sfumato {
namespace {

struct Batch {
  std::int64_t count, m, n, k;
  double flop() const {
    return 2 * static_cast<double>(count) * static_cast<double>(m) * static_cast<double>(n) *
           static_cast<double>(k);
  }
};

Batch batch_of(const Tensor& a, const Tensor& b) {
  expect_rank("bmm", "left factor", a, 3);
  expect_rank("bmm", "right factor", b, 3);
  expect_shape("bmm", "right factor", b, {a.dim(0), a.dim(2), b.dim(2)});
  expect_kind("bmm", "right factor", b, a.kind());
  return {.count = a.dim(0), .m = a.dim(1), .n = b.dim(2), .k = a.dim(2)};
}

// c = a b of each pair, `first` being that of number 0.
template <class T>
void multiply(Device device, std::int64_t count, const kernels::Gemm<T>& first) {
  const std::int64_t m = first.m, n = first.n, k = first.k;
  for (std::int64_t i = 0; i < count; ++i) {
    kernels::Gemm<T> pair = first;
    pair.a += i * m * k;
    pair.b += i * k * n;
    pair.c += i * m * n;
    kernels::on<T>(device).gemm(pair);
  }
}

}  // namespace

// C = A B,  dA = dC Bᵀ,  dB = Aᵀ dC
Var bmm(const Var& a, const Var& b) {
  const Tensor av = a.value(), bv = b.value();
  const Batch s = batch_of(av, bv);
  return dispatch_float("bmm", av.kind(), [&]<class T>() {
    Tensor c({s.count, s.m, s.n}, av.kind());
    multiply<T>(
        c.device(), s.count,
        {.m = s.m, .n = s.n, .k = s.k, .a = av.data<T>(), .b = bv.data<T>(), .c = c.data<T>()});
    return record("bmm", c, {a, b}, s.flop(), [=](const Tensor& dc, const Needs& needs) {
      Gradients g(2);
      if (needs[0]) {
        g[0] = needs.room(0, dtype_of<T>());
        multiply<T>(dc.device(), s.count,
                    {.m = s.m,
                     .n = s.k,
                     .k = s.n,
                     .transpose_b = true,
                     .a = dc.data<T>(),
                     .b = bv.data<T>(),
                     .c = g[0].data<T>()});
      }
      if (needs[1]) {
        g[1] = needs.room(1, dtype_of<T>());
        multiply<T>(dc.device(), s.count,
                    {.m = s.k,
                     .n = s.n,
                     .k = s.m,
                     .transpose_a = true,
                     .a = av.data<T>(),
                     .b = dc.data<T>(),
                     .c = g[1].data<T>()});
      }
      return g;
    });
  });
}

}  // namespace sfumato
