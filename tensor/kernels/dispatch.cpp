// Chooses the instruction set and forwards the public kernels to it.
#include <cstdlib>

#include "tensor/error.h"
#include "tensor/kernels/isa.h"
#include "tensor/kernels/kernel_table.h"

namespace sfumato {
namespace {

constexpr Isa kAll[] = {Isa::generic, Isa::avx2, Isa::avx512};

bool available(Isa isa) {
  switch (isa) {
    case Isa::generic:
      return true;
#if defined(__x86_64__)
    case Isa::avx2:
      return __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma");
    case Isa::avx512:
      return __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512vl") &&
             __builtin_cpu_supports("avx512dq") && __builtin_cpu_supports("avx512bw") &&
             __builtin_cpu_supports("fma");
#endif
    default:
      return false;
  }
}

const kernels::KernelSet& kernel_set_of(Isa isa) {
#if defined(__x86_64__)
  if (isa == Isa::avx2) return kernels::avx2::kernel_set;
  if (isa == Isa::avx512) return kernels::avx512::kernel_set;
#endif
  static_cast<void>(isa);
  return kernels::generic::kernel_set;
}

void expect_available(Isa isa) {
  if (!available(isa)) throw Error("isa", std::string("this machine or build has no ") + name(isa));
}

struct Choice {
  Isa isa;
  const kernels::KernelSet* kernels;
};

Choice make_choice(Isa isa) {
  expect_available(isa);
  return {isa, &kernel_set_of(isa)};
}

Choice first_choice() {
  const char* wanted = std::getenv("SFUMATO_ISA");
  if (wanted == nullptr || *wanted == '\0') return make_choice(available_isas().back());
  for (const Isa isa : kAll) {
    if (std::string(wanted) == name(isa)) return make_choice(isa);
  }
  std::string known;
  for (const Isa isa : kAll) known += (known.empty() ? "" : ", ") + std::string(name(isa));
  throw Error("isa", "SFUMATO_ISA: expected one of " + known + ", got '" + wanted + "'");
}

Choice& choice() {
  static Choice instance = first_choice();
  return instance;
}

}  // namespace

const char* name(Isa isa) {
  switch (isa) {
    case Isa::generic:
#if defined(__aarch64__)
      return "neon";
#else
      return "generic";
#endif
    case Isa::avx2:
      return "avx2";
    case Isa::avx512:
      return "avx512";
  }
  return "?";
}

std::vector<Isa> available_isas() {
  std::vector<Isa> found;
  for (const Isa isa : kAll) {
    if (available(isa)) found.push_back(isa);
  }
  return found;
}

Isa isa() { return choice().isa; }
void set_isa(Isa isa) { choice() = make_choice(isa); }

namespace kernels {
namespace {

ConvMethod first_conv_method() {
  const char* wanted = std::getenv("SFUMATO_CONV");
  const std::string text = wanted ? wanted : "";
  if (text.empty() || text == "auto") return ConvMethod::automatic;
  if (text == "direct") return ConvMethod::direct;
  if (text == "winograd") return ConvMethod::winograd;
  throw Error("conv", "SFUMATO_CONV: expected auto, direct or winograd, got '" + text + "'");
}

ConvMethod& conv_method_in_use() {
  static ConvMethod method = first_conv_method();
  return method;
}

template <class T>
const KernelTable<T>& table();
template <>
const KernelTable<float>& table<float>() {
  return choice().kernels->f32;
}
template <>
const KernelTable<double>& table<double>() {
  return choice().kernels->f64;
}

}  // namespace

ConvMethod conv_method() { return conv_method_in_use(); }
void set_conv_method(ConvMethod method) { conv_method_in_use() = method; }

template <class T>
void gemm(const Gemm& g, const T* a, const T* b, T* c, const T* bias, T* sums) {
  table<T>().gemm(g, a, b, c, bias, sums);
}
template <class T>
void conv_forward(const Conv& s, const ConvInput<T>& in, const T* w, const ConvOutput<T>& out,
                  const T* filters) {
  table<T>().conv_forward(s, in, w, out, filters);
}
template <class T>
index conv_filters_size(const Conv& s, bool upsample) {
  return table<T>().conv_filters_size(s, upsample);
}
template <class T>
void conv_filters(const Conv& s, bool upsample, const T* w, T* filters) {
  table<T>().conv_filters(s, upsample, w, filters);
}
template <class T>
void conv_backward(const Conv& s, const ConvInput<T>& in, const T* dy, const T* w,
                   const ConvGradients<T>& g) {
  table<T>().conv_backward(s, in, dy, w, g);
}
template <class T>
void group_norm_forward(const GroupNorm& s, const T* x, const T* gamma, const T* beta, T* y,
                        T* mean, T* rstd) {
  table<T>().group_norm_forward(s, x, gamma, beta, y, mean, rstd);
}
template <class T>
void group_norm_backward(const GroupNorm& s, const T* x, const T* gamma, const T* beta,
                         const T* mean, const T* rstd, const T* dy, const T* add, T* dx, T* dgamma,
                         T* dbeta) {
  table<T>().group_norm_backward(s, x, gamma, beta, mean, rstd, dy, add, dx, dgamma, dbeta);
}
template <class T>
void attention_forward(const Attention& s, const T* q, const T* k, const T* v, T* out, T* lse) {
  table<T>().attention_forward(s, q, k, v, out, lse);
}
template <class T>
void attention_backward(const Attention& s, const T* q, const T* k, const T* v, const T* out,
                        const T* lse, const T* dout, T* dq, T* dk, T* dv) {
  table<T>().attention_backward(s, q, k, v, out, lse, dout, dq, dk, dv);
}
template <class T>
void silu_forward(index n, const T* x, T* y) {
  table<T>().silu_forward(n, x, y);
}
template <class T>
void silu_backward(index n, const T* x, const T* dy, T* dx) {
  table<T>().silu_backward(n, x, dy, dx);
}
template <class T>
void softmax_forward(index rows, index cols, const T* x, T* y) {
  table<T>().softmax_forward(rows, cols, x, y);
}
template <class T>
void softmax_backward(index rows, index cols, const T* y, const T* dy, T* dx) {
  table<T>().softmax_backward(rows, cols, y, dy, dx);
}
template <class T>
void copy_rows(index rows, index cols, const T* from, index from_step, T* to, index to_step) {
  table<T>().copy_rows(rows, cols, from, from_step, to, to_step);
}
template <class T>
void sum_rows(index rows, index cols, const T* x, T* out) {
  table<T>().sum_rows(rows, cols, x, out);
}

// Every function for one number type: naming its address instantiates it.
template <class T>
struct Instantiate {
  static constexpr KernelTable<T> functions = {
      gemm<T>,
      conv_forward<T>,
      conv_filters_size<T>,
      conv_filters<T>,
      conv_backward<T>,
      group_norm_forward<T>,
      group_norm_backward<T>,
      attention_forward<T>,
      attention_backward<T>,
      silu_forward<T>,
      silu_backward<T>,
      softmax_forward<T>,
      softmax_backward<T>,
      copy_rows<T>,
      sum_rows<T>,
  };
};
template struct Instantiate<float>;
template struct Instantiate<double>;

}  // namespace kernels
}  // namespace sfumato
