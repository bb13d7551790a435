// Every kernel by plain loops, straight from its formula: chapter one. Here stands what the other
// sets compute, and what they are tested against (tests/kernels); SFUMATO_ISA=reference runs a whole
// program on it. Sums are taken in double and rounded to T once, at the end. Nothing is fast.
#pragma once
#include <algorithm>
#include <cmath>
#include <limits>
#include <numeric>
#include <vector>

#include "tensor/kernels/kernels.h"
#include "tensor/kernels/reference_gemm.h"

namespace sfumato::kernels::reference {

// ---- group normalisation

// f(i, c) for the elements i of one group of image b, c being their channel.
template <class F>
void for_group(const GroupNorm& s, index b, index group, const F& f) {
  const index per_group = s.c / s.groups;
  for (index pixel = b * s.hw; pixel < (b + 1) * s.hw; ++pixel)
    for (index c = group * per_group; c < (group + 1) * per_group; ++c) f(pixel * s.c + c, c);
}

// mean = Σ x / m,  var = Σ (x - mean)² / m,  rstd = 1 / √(var + eps),  y = gamma (x - mean) rstd + beta.
template <class T>
void group_norm_forward(const GroupNormForward<T>& a) {
  const GroupNorm& s = a.norm;
  const double m = static_cast<double>(s.hw * s.c) / static_cast<double>(s.groups);
  for (index b = 0; b < s.n; ++b) {
    for (index g = 0; g < s.groups; ++g) {
      double mean = 0, var = 0;
      for_group(s, b, g, [&](index i, index) { mean += a.x[i] / m; });
      for_group(s, b, g, [&](index i, index) { var += (a.x[i] - mean) * (a.x[i] - mean) / m; });
      const double rstd = 1 / std::sqrt(var + s.eps);
      for_group(s, b, g, [&](index i, index c) {
        const double z = a.gamma[c] * ((a.x[i] - mean) * rstd) + a.beta[c];
        a.y[i] = static_cast<T>(s.silu ? silu(z).y : z);
      });
      a.mean[b * s.groups + g] = static_cast<T>(mean);
      a.rstd[b * s.groups + g] = static_cast<T>(rstd);
    }
  }
}

// With xhat = (x - mean) rstd, z = gamma xhat + beta and dz = dy (or dy silu'(z)):
//   dgamma = Σ dz xhat,  dbeta = Σ dz  over images and pixels;
//   dx = rstd (gamma dz - Σ gamma dz / m - xhat Σ gamma dz xhat / m)  over the group.
template <class T>
void group_norm_backward(const GroupNormBackward<T>& a) {
  const GroupNorm& s = a.norm;
  const double m = static_cast<double>(s.hw * s.c) / static_cast<double>(s.groups);
  Numbers dgamma(s.c), dbeta(s.c);
  for (index b = 0; b < s.n; ++b) {
    for (index g = 0; g < s.groups; ++g) {
      const double mean = a.mean[b * s.groups + g], rstd = a.rstd[b * s.groups + g];
      const auto xhat = [&](index i) { return (a.x[i] - mean) * rstd; };
      const auto dz = [&](index i, index c) {
        return a.dy[i] * (s.silu ? silu(a.gamma[c] * xhat(i) + a.beta[c]).slope : 1);
      };
      double sum = 0, sum_xhat = 0;
      for_group(s, b, g, [&](index i, index c) {
        dgamma[c] += dz(i, c) * xhat(i);
        dbeta[c] += dz(i, c);
        sum += a.gamma[c] * dz(i, c);
        sum_xhat += a.gamma[c] * dz(i, c) * xhat(i);
      });
      for_group(s, b, g, [&](index i, index c) {
        const double dx = rstd * (a.gamma[c] * dz(i, c) - sum / m - xhat(i) * (sum_xhat / m));
        a.dx[i] = static_cast<T>(dx) + (a.add ? a.add[i] : T{0});
      });
    }
  }
  round_to(a.dgamma, dgamma);
  round_to(a.dbeta, dbeta);
}

// ---- convolution

// f(y's index, x's index, w's index) for every product x w that is summed into a y: the definition in
// kernels.h. Each gradient sums over the same triples: dx += dy w, dw += dy x. With `upsample`, x is
// stored at half the height and width.
template <class F>
void for_each_product(const Conv& s, bool upsample, const F& f) {
  const index scale = upsample ? 2 : 1;
  for (index b = 0; b < s.n; ++b)
    for (index i = 0; i < s.oh; ++i)
      for (index j = 0; j < s.ow; ++j)
        for (index u = 0; u < s.kh; ++u)
          for (index v = 0; v < s.kw; ++v) {
            const index row = i * s.stride + u - s.pad_top, col = j * s.stride + v - s.pad_left;
            if (row < 0 || row >= s.h || col < 0 || col >= s.w) continue;
            const index y = ((b * s.oh + i) * s.ow + j) * s.k;
            const index x = ((b * (s.h / scale) + row / scale) * (s.w / scale) + col / scale) * s.c;
            for (index o = 0; o < s.k; ++o)
              for (index p = 0; p < s.c; ++p)
                f(y + o, x + p, ((o * s.c + p) * s.kh + u) * s.kw + v);
          }
}

// What a convolution reads, in double and before upsampling: x, both arrays of channels as one, and
// u, x after normalisation.
struct Read {
  GroupNorm norm;
  Numbers x, gamma, beta, mean, rstd, u;
};
template <class T>
Read read(const Conv& s, const ConvInput<T>& in) {
  const index hw = s.h * s.w / (in.upsample ? 4 : 1), own = s.c - in.skip_channels;
  Read r{{.n = s.n, .hw = hw, .c = s.c, .groups = in.groups, .eps = in.eps, .silu = in.silu},
         {},
         {},
         {},
         {},
         {},
         {}};
  for (index pixel = 0; pixel < s.n * hw; ++pixel) {
    for (index c = 0; c < own; ++c) r.x.push_back(in.x[pixel * own + c]);
    for (index c = 0; c < in.skip_channels; ++c)
      r.x.push_back(in.skip[pixel * in.skip_channels + c]);
  }
  r.u = r.x;
  if (in.groups == 0) return r;
  r.gamma.assign(in.gamma, in.gamma + s.c);
  r.beta.assign(in.beta, in.beta + s.c);
  r.mean.resize(s.n * in.groups);
  r.rstd.resize(s.n * in.groups);
  group_norm_forward<double>({.norm = r.norm,
                              .x = r.x.data(),
                              .gamma = r.gamma.data(),
                              .beta = r.beta.data(),
                              .y = r.u.data(),
                              .mean = r.mean.data(),
                              .rstd = r.rstd.data()});
  return r;
}

template <class T>
void conv_forward(const Conv& s, const ConvInput<T>& in, const T* w, const ConvOutput<T>& out,
                  const T* /*filters*/) {
  const Read r = read(s, in);
  round_to(in.mean, r.mean);
  round_to(in.rstd, r.rstd);
  Numbers y(s.n * s.oh * s.ow * s.k);
  for_each_product(s, in.upsample, [&](index iy, index ix, index iw) { y[iy] += r.u[ix] * w[iw]; });
  if (const ConvShortcut<T>* const other = out.shortcut) {
    const Read from = read(other->conv, other->in);
    for_each_product(other->conv, other->in.upsample,
                     [&](index iy, index ix, index iw) { y[iy] += from.u[ix] * other->w[iw]; });
  }
  for (index i = 0; i < std::ssize(y); ++i) {
    const index o = i % s.k, b = i / (s.oh * s.ow * s.k);
    if (out.bias) y[i] += out.bias[o];
    if (out.per_image) y[i] += out.per_image[b * s.k + o];
    if (out.residual) y[i] += out.residual[i];
    if (out.shortcut && out.shortcut->bias) y[i] += out.shortcut->bias[o];
  }
  round_to(out.y, y);
}

template <class T>
void conv_backward(const Conv& s, const ConvInput<T>& in, const T* dy, const T* w,
                   const ConvGradients<T>& g) {
  if (g.shortcut)
    conv_backward(g.shortcut->conv, g.shortcut->in, dy, g.shortcut->w, *g.of_shortcut);
  const Read r = read(s, in);
  Numbers du(r.u.size()), dw(s.k * s.c * s.kh * s.kw), db(s.k), per_image(s.n * s.k);
  for_each_product(s, in.upsample, [&](index iy, index ix, index iw) {
    du[ix] += static_cast<double>(dy[iy]) * w[iw];
    dw[iw] += dy[iy] * r.u[ix];
  });
  for (index i = 0; i < s.n * s.oh * s.ow * s.k; ++i) {
    db[i % s.k] += dy[i];
    per_image[i / (s.oh * s.ow * s.k) * s.k + i % s.k] += dy[i];
  }
  if (g.dw) round_to(g.dw, dw);
  if (g.db) round_to(g.db, db);
  if (g.per_image) round_to(g.per_image, per_image);
  if (!g.dx) return;
  if (in.groups > 0) {
    Numbers dgamma(s.c), dbeta(s.c);
    group_norm_backward<double>({.norm = r.norm,
                                 .x = r.x.data(),
                                 .gamma = r.gamma.data(),
                                 .beta = r.beta.data(),
                                 .mean = r.mean.data(),
                                 .rstd = r.rstd.data(),
                                 .dy = du.data(),
                                 .dx = du.data(),
                                 .dgamma = dgamma.data(),
                                 .dbeta = dbeta.data()});
    round_to(g.dgamma, dgamma);
    round_to(g.dbeta, dbeta);
  }
  const index own = s.c - in.skip_channels;
  for (index i = 0; i < std::ssize(du); ++i) {
    const index pixel = i / s.c, c = i % s.c;
    const bool first = c < own;
    const index at = first ? pixel * own + c : pixel * in.skip_channels + c - own;
    const T* const add = first ? g.add : g.add_skip;
    (first ? g.dx : g.dskip)[at] = static_cast<T>(du[i]) + (add ? add[at] : T{0});
  }
}

template <class T>
index conv_filters_size(const Conv&, bool /*upsample*/) {
  return 0;
}
template <class T>
void conv_filters(const Conv&, bool /*upsample*/, const T* /*w*/, T* /*filters*/) {}

// ---- attention

// f(index into lse, its row of q, first column of its head, function from a key to its index in k and v)
// for each query.
template <class F>
void for_each_query(const Attention& s, const F& f) {
  for (index b = 0; b < s.n; ++b)
    for (index head = 0; head < s.heads; ++head)
      for (index i = 0; i < s.tq; ++i)
        f((b * s.heads + head) * s.tq + i, b * s.tq + i, head * s.d,
          [=](index j) { return (b * s.tk + j) * s.kv_row + head * s.d; });
}

// One row of S = scale q kᵀ,  lse = log Σ_j e^S,  P = e^(S - lse).
struct Probabilities {
  Numbers p;
  double lse;
};
template <class T, class Key>
Probabilities probabilities(const Attention& s, const T* q, const T* k, const Key& key) {
  Numbers p(s.tk);
  double top = -std::numeric_limits<double>::infinity(), sum = 0;
  for (index j = 0; j < s.tk; ++j) {
    for (index e = 0; e < s.d; ++e) p[j] += s.scale * static_cast<double>(q[e]) * k[key(j) + e];
    top = std::max(top, p[j]);
  }
  for (double& v : p) sum += v = std::exp(v - top);
  for (double& v : p) v /= sum;
  return {p, top + std::log(sum)};
}

// out = P v.
template <class T>
void attention_forward(const AttentionForward<T>& a) {
  const Attention& s = a.attention;
  for_each_query(s, [&](index i, index row, index column, const auto& key) {
    const auto [p, lse] = probabilities(s, a.q + row * s.q_row + column, a.k, key);
    Numbers out(s.d);
    for (index j = 0; j < s.tk; ++j)
      for (index e = 0; e < s.d; ++e) out[e] += p[j] * a.v[key(j) + e];
    a.lse[i] = static_cast<T>(lse);
    round_to(a.out + row * s.heads * s.d + column, out);
  });
}

// dv = Pᵀ dout,  dP = dout vᵀ,  dS = P (dP - D) with D = Σ_j P dP,  dq = scale dS k,  dk = scale dSᵀ q.
template <class T>
void attention_backward(const AttentionBackward<T>& a) {
  const Attention& s = a.attention;
  Numbers dk(s.n * s.tk * s.kv_row), dv(dk.size());
  for_each_query(s, [&](index, index row, index column, const auto& key) {
    const T* const q = a.q + row * s.q_row + column;
    const T* const dout = a.dout + row * s.heads * s.d + column;
    const Numbers p = probabilities(s, q, a.k, key).p;
    Numbers dp(s.tk), dq(s.d);
    double delta = 0;
    for (index j = 0; j < s.tk; ++j) {
      for (index e = 0; e < s.d; ++e) dp[j] += static_cast<double>(dout[e]) * a.v[key(j) + e];
      delta += p[j] * dp[j];
    }
    for (index j = 0; j < s.tk; ++j) {
      const double ds = s.scale * p[j] * (dp[j] - delta);
      for (index e = 0; e < s.d; ++e) {
        dq[e] += ds * a.k[key(j) + e];
        dk[key(j) + e] += ds * q[e];
        dv[key(j) + e] += p[j] * dout[e];
      }
    }
    round_to(a.dq + row * s.q_row + column, dq);
  });
  for (index row = 0; row < s.n * s.tk; ++row) {
    for (index i = row * s.kv_row; i < row * s.kv_row + s.heads * s.d; ++i) {
      a.dk[i] = static_cast<T>(dk[i]);
      a.dv[i] = static_cast<T>(dv[i]);
    }
  }
}

// ---- one or two passes over memory

template <class T>
void silu_forward(index n, const T* x, T* y) {
  for (index i = 0; i < n; ++i) y[i] = static_cast<T>(silu(x[i]).y);
}
template <class T>
void silu_backward(index n, const T* x, const T* dy, T* dx) {
  for (index i = 0; i < n; ++i) dx[i] = static_cast<T>(dy[i] * silu(x[i]).slope);
}

// y = x (1 + tanh v) / 2,  v = √(2/π) (x + 0.044715 x³);  where |x| > 64, tanh is 1 or -1.
struct GeluTanh {
  double y, slope;
};
inline GeluTanh gelu_tanh(double x) {
  const double c = std::sqrt(2 / std::acos(-1.0)), square = std::min(x * x, 4096.0);
  const double th = std::tanh(c * x * (1 + 0.044715 * square)), share = (1 + th) / 2;
  return {x * share, share + x * share * (1 - th) * c * (1 + 3 * 0.044715 * square)};
}
template <class T>
void gelu_tanh_forward(index n, const T* x, T* y) {
  for (index i = 0; i < n; ++i) y[i] = static_cast<T>(gelu_tanh(x[i]).y);
}
template <class T>
void gelu_tanh_backward(index n, const T* x, const T* dy, T* dx) {
  for (index i = 0; i < n; ++i) dx[i] = static_cast<T>(dy[i] * gelu_tanh(x[i]).slope);
}

template <class T>
void softmax_forward(index rows, index cols, const T* x, T* y) {
  for (index r = 0; r < rows; ++r, x += cols, y += cols) {
    double top = -std::numeric_limits<double>::infinity(), sum = 0;
    for (index i = 0; i < cols; ++i) top = std::max(top, static_cast<double>(x[i]));
    for (index i = 0; i < cols; ++i) sum += std::exp(x[i] - top);
    for (index i = 0; i < cols; ++i) y[i] = static_cast<T>(std::exp(x[i] - top) / sum);
  }
}
template <class T>
void softmax_backward(index rows, index cols, const T* y, const T* dy, T* dx) {
  for (index r = 0; r < rows; ++r, y += cols, dy += cols, dx += cols) {
    double dot = 0;
    for (index i = 0; i < cols; ++i) dot += static_cast<double>(y[i]) * dy[i];
    for (index i = 0; i < cols; ++i) dx[i] = static_cast<T>(y[i] * (dy[i] - dot));
  }
}

template <class T>
void copy_columns(index rows, std::span<const Columns<T>> parts) {
  for (const Columns<T>& part : parts)
    for (index r = 0; r < rows; ++r)
      for (index j = 0; j < part.cols; ++j)
        part.to[r * part.to_step + j] = part.from ? part.from[r * part.from_step + j] : T(0);
}
template <class T>
void sum_rows(index outer, index rows, index cols, const T* x, T* out) {
  Numbers sum(outer * cols);
  for (index i = 0; i < outer * rows * cols; ++i) sum[i / (rows * cols) * cols + i % cols] += x[i];
  round_to(out, sum);
}
template <class T>
void sum(index n, const T* x, double* out) {
  *out = std::accumulate(x, x + n, 0.0);
}
template <class T>
void sum_of_squares(index n, const T* x, double* out) {
  *out = std::accumulate(x, x + n, 0.0, [](double sum, double v) { return sum + v * v; });
}

// ---- the table

template <class T>
void fill_all(Kernels<T>& table) {
  table = {
      GemmKernels<T>{.gemm = gemm<T>,
                     .gemm_wide = gemm<T>,
                     .linear_forward = linear_forward<T>,
                     .linear_backward = linear_backward<T>},
      ConvKernels<T>{.conv_forward = conv_forward<T>,
                     .conv_backward = conv_backward<T>,
                     .conv_filters_size = conv_filters_size<T>,
                     .conv_filters = conv_filters<T>},
      NormKernels<T>{.group_norm_forward = group_norm_forward<T>,
                     .group_norm_backward = group_norm_backward<T>},
      AttentionKernels<T>{.attention_forward = attention_forward<T>,
                          .attention_backward = attention_backward<T>},
      PointwiseKernels<T>{.silu_forward = silu_forward<T>,
                          .silu_backward = silu_backward<T>,
                          .gelu_tanh_forward = gelu_tanh_forward<T>,
                          .gelu_tanh_backward = gelu_tanh_backward<T>,
                          .softmax_forward = softmax_forward<T>,
                          .softmax_backward = softmax_backward<T>,
                          .copy_columns = copy_columns<T>,
                          .sum_rows = sum_rows<T>,
                          .sum = sum<T>,
                          .sum_of_squares = sum_of_squares<T>},
  };
}

}  // namespace sfumato::kernels::reference
