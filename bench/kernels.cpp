// Speed of the CPU kernels, for the layers of a U-Net on 28x28 images.
//
//   build/bench/kernels [reference|generic|avx2|avx512] [batch]
//
// SFUMATO_THREADS=1 gives CPU time instead of wall time.
//
// Convolutions and matrix products are given as GFLOP/s and as a share of what the machine's
// multiply-adds reach at that moment: a probe runs before and after every measurement, so that a
// machine shared with others still gives honest shares. Medians.
#include "tensor/kernels/kernels.h"

#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <ctime>
#include <functional>
#include <string>
#include <vector>

#include "bench/common.h"
#include "tensor/kernels/isa.h"
#include "tensor/parallel.h"

using namespace sfumato;           // NOLINT: a program of one file
using namespace sfumato::kernels;  // NOLINT

using bench::Floats;
using bench::numbers;

namespace {

// On one thread, the time that this thread ran: then it does not matter what else the machine does.
double now() {
  if (thread_count() == 1) return static_cast<double>(std::clock()) / CLOCKS_PER_SEC;
  return bench::wall_seconds();
}

// GFLOP/s of all threads right now.
double probe() { return bench::probe(now) * 1e-9; }

struct Speed {
  double ms, share;  // share of the probe, given the operations of one call
};

Speed measure(double operations, const std::function<void()>& call) {
  call();
  double begin = now();
  call();
  const int repeat = std::clamp(static_cast<int>(0.01 / (now() - begin)), 1, 1000);
  std::vector<double> ms, shares;
  double before = probe();
  const double started = now();
  while (ms.size() < 5 || (now() - started < 0.3 && ms.size() < 60)) {
    begin = now();
    for (int i = 0; i < repeat; ++i) call();
    const double seconds = (now() - begin) / repeat, after = probe();
    ms.push_back(seconds * 1e3);
    shares.push_back(operations / seconds * 1e-9 / (0.5 * (before + after)));
    before = after;
  }
  return {bench::median(ms), bench::median(shares)};
}

void print(const char* what, double operations, const Speed& s) {
  std::printf("  %-8s %7.3f ms %6.0f GF/s %4.0f%%", what, s.ms, operations / s.ms * 1e-6,
              100 * s.share);
}

void bench_conv(index n, index size, index c, index k, index kernel, index stride) {
  const index pad = kernel / 2, out = (size + 2 * pad - kernel) / stride + 1;
  const Conv s{.n = n,
               .h = size,
               .w = size,
               .c = c,
               .oh = out,
               .ow = out,
               .k = k,
               .kh = kernel,
               .kw = kernel,
               .stride = stride,
               .pad_top = pad,
               .pad_left = pad};
  const auto x = numbers(n * size * size * c), w = numbers(k * c * kernel * kernel);
  const auto bias = numbers(k), dy = numbers(n * out * out * k);
  Floats y(dy.size()), dx(x.size()), dw(w.size()), db(bias.size());
  const double operations = 2.0 * static_cast<double>(n * out * out * k * c * kernel * kernel);
  std::printf("%3ld x %2ldx%-2ld %3ld->%-3ld %ldx%ld/%ld", n, size, size, c, k, kernel, kernel,
              stride);
  print("fwd", operations, measure(operations, [&] {
          table<float>().conv_forward(s, {.x = x.data()}, w.data(),
                                      {.y = y.data(), .bias = bias.data()}, nullptr);
        }));
  print("data", operations, measure(operations, [&] {
          table<float>().conv_backward(s, {.x = x.data()}, dy.data(), w.data(), {.dx = dx.data()});
        }));
  print("weights", operations, measure(operations, [&] {
          table<float>().conv_backward(s, {.x = x.data()}, dy.data(), w.data(),
                                       {.dw = dw.data(), .db = db.data()});
        }));
  std::printf("\n");
  std::fflush(stdout);
}

void bench_gemm(index m, index n, index k, bool ta, bool tb) {
  const auto a = numbers(m * k), b = numbers(k * n);
  Floats c(static_cast<std::size_t>(m * n));
  const double operations = 2.0 * static_cast<double>(m * n * k);
  std::printf("gemm %5ld x %4ld x %5ld %s%s      ", m, n, k, ta ? "T" : "N", tb ? "T" : "N");
  print("", operations, measure(operations, [&] {
          table<float>().gemm({.m = m,
                               .n = n,
                               .k = k,
                               .transpose_a = ta,
                               .transpose_b = tb,
                               .a = a.data(),
                               .b = b.data(),
                               .c = c.data()});
        }));
  std::printf("\n");
}

void bench_norm(index n, index hw, index c, index groups) {
  const GroupNorm s{.n = n, .hw = hw, .c = c, .groups = groups, .eps = 1e-5, .silu = true};
  const auto x = numbers(n * hw * c), dy = numbers(n * hw * c), gamma = numbers(c),
             beta = numbers(c);
  Floats y(x.size()), dx(x.size()), mean(n * groups), rstd(n * groups), dgamma(c), dbeta(c);
  const Speed forward = measure(0, [&] {
    table<float>().group_norm_forward({.norm = s,
                                       .x = x.data(),
                                       .gamma = gamma.data(),
                                       .beta = beta.data(),
                                       .y = y.data(),
                                       .mean = mean.data(),
                                       .rstd = rstd.data()});
  });
  const Speed backward = measure(0, [&] {
    table<float>().group_norm_backward({.norm = s,
                                        .x = x.data(),
                                        .gamma = gamma.data(),
                                        .beta = beta.data(),
                                        .mean = mean.data(),
                                        .rstd = rstd.data(),
                                        .dy = dy.data(),
                                        .dx = dx.data(),
                                        .dgamma = dgamma.data(),
                                        .dbeta = dbeta.data()});
  });
  const double bytes = static_cast<double>(x.size()) * sizeof(float);
  std::printf(
      "group_norm+silu %3ld x %4ld x %3ld  fwd %7.3f ms %5.1f GB/s  bwd %7.3f ms %5.1f GB/s\n", n,
      hw, c, forward.ms, 2 * bytes / forward.ms * 1e-6, backward.ms,
      3 * bytes / backward.ms * 1e-6);
}

void bench_attention(index n, index t, index heads, index d) {
  const Attention s{.n = n,
                    .tq = t,
                    .tk = t,
                    .heads = heads,
                    .d = d,
                    .scale = 0.35,
                    .q_row = heads * d,
                    .kv_row = heads * d};
  const auto q = numbers(n * t * heads * d), k = q, v = q, dout = q;
  Floats out(q.size()), lse(n * heads * t), dq(q.size()), dk(q.size()), dv(q.size());
  const double pairs = static_cast<double>(n * heads * t * t);
  const Speed forward = measure(4 * pairs * static_cast<double>(d), [&] {
    table<float>().attention_forward({.attention = s,
                                      .q = q.data(),
                                      .k = k.data(),
                                      .v = v.data(),
                                      .out = out.data(),
                                      .lse = lse.data()});
  });
  const Speed backward = measure(10 * pairs * static_cast<double>(d), [&] {
    table<float>().attention_backward({.attention = s,
                                       .q = q.data(),
                                       .k = k.data(),
                                       .v = v.data(),
                                       .out = out.data(),
                                       .lse = lse.data(),
                                       .dout = dout.data(),
                                       .dq = dq.data(),
                                       .dk = dk.data(),
                                       .dv = dv.data()});
  });
  std::printf(
      "attention %3ld x %3ld, %ld heads of %2ld  fwd %7.3f ms (%2.0f%% of peak, %.2f ns/pair)  "
      "bwd %7.3f ms (%2.0f%%, %.2f ns/pair)\n",
      n, t, heads, d, forward.ms, 100 * forward.share, forward.ms * 1e6 / pairs, backward.ms,
      100 * backward.share, backward.ms * 1e6 / pairs);
}

void bench_silu(index n) {
  const auto x = numbers(n), dy = numbers(n);
  Floats y(x.size());
  const Speed forward = measure(0, [&] { table<float>().silu_forward(n, x.data(), y.data()); });
  const Speed backward =
      measure(0, [&] { table<float>().silu_backward(n, x.data(), dy.data(), y.data()); });
  const double bytes = static_cast<double>(n) * sizeof(float);
  std::printf("silu %ld  fwd %7.3f ms %5.1f GB/s  bwd %7.3f ms %5.1f GB/s\n", n, forward.ms,
              2 * bytes / forward.ms * 1e-6, backward.ms, 3 * bytes / backward.ms * 1e-6);
}

}  // namespace

int main(int argc, char** argv) {
  std::vector<index> batches = {32, 64};
  for (int i = 1; i < argc; ++i) {
    const std::string argument = argv[i];
    bool known = false;
    for (const Isa each : available_isas()) {
      if (argument == name(each)) set_isa(each), known = true;
    }
    if (!known) batches = {std::atol(argv[i])};
  }
  std::printf("%s, %d threads, probe %.0f GFLOP/s\n", name(isa()), thread_count(), probe());
  for (const index n : batches) {
    // U-Net [32, 64, 64] and [16, 32, 32].
    bench_conv(n, 28, 1, 32, 3, 1);
    bench_conv(n, 28, 32, 32, 3, 1);
    bench_conv(n, 28, 64, 32, 3, 1);
    bench_conv(n, 28, 32, 32, 3, 2);
    bench_conv(n, 14, 32, 64, 3, 1);
    bench_conv(n, 14, 64, 64, 3, 1);
    bench_conv(n, 14, 128, 64, 3, 1);
    bench_conv(n, 14, 64, 64, 3, 2);
    bench_conv(n, 7, 64, 64, 3, 1);
    bench_conv(n, 7, 128, 64, 3, 1);
    bench_conv(n, 28, 32, 1, 3, 1);
    bench_conv(n, 28, 64, 32, 1, 1);
    bench_conv(n, 14, 128, 64, 1, 1);
    bench_conv(n, 28, 16, 16, 3, 1);
    bench_conv(n, 28, 32, 16, 3, 1);
    bench_conv(n, 14, 32, 32, 3, 1);
    bench_conv(n, 7, 32, 32, 3, 1);
    bench_conv(n, 28, 33, 33, 3, 1);
    bench_conv(n, 28, 128, 128, 3, 1);
  }
  bench_conv(1, 28, 32, 32, 3, 1);
  bench_conv(1, 7, 64, 64, 3, 1);
  const index n = batches.back();
  bench_gemm(n * 196, 192, 64, false, true);
  bench_gemm(n * 196, 64, 192, false, false);
  bench_gemm(192, 64, n * 196, true, false);
  bench_gemm(n, 256, 128, false, true);
  bench_gemm(1000, 1000, 1000, false, false);
  bench_gemm(1000, 1000, 1000, true, true);
  bench_norm(n, 784, 32, 8);
  bench_norm(n, 784, 64, 32);
  bench_norm(n, 196, 64, 32);
  bench_norm(n, 49, 64, 32);
  bench_attention(n, 196, 8, 8);
  bench_attention(n, 49, 8, 8);
  bench_attention(n, 196, 1, 64);
  bench_attention(n, 196, 2, 32);
  bench_silu(n * 784 * 32);
}
