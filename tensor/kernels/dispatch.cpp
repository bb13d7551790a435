// Chooses the instruction set, and with it the table of kernels.
#include <cstdlib>

#include "tensor/backend.h"
#include "tensor/error.h"
#include "tensor/kernels/isa.h"
#include "tensor/kernels/kernels.h"

// Defined in sets/table.cpp, which is compiled once for each of these, and in reference.cpp.
namespace sfumato::kernels {
namespace reference {
void fill(Kernels<float>&);
void fill(Kernels<double>&);
}  // namespace reference
namespace generic {
void fill(Kernels<float>&);
void fill(Kernels<double>&);
}  // namespace generic
namespace avx2 {
void fill(Kernels<float>&);
}
namespace avx512 {
void fill(Kernels<float>&);
}
}  // namespace sfumato::kernels

namespace sfumato {
namespace {

constexpr Isa kAll[] = {Isa::reference, Isa::generic, Isa::avx2, Isa::avx512};

bool available(Isa isa) {
  switch (isa) {
    case Isa::reference:
    case Isa::generic:
      return true;
#if defined(SFUMATO_AVX)
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

void expect_available(Isa isa) {
  if (!available(isa)) throw Error("isa", std::string("this machine or build has no ") + name(isa));
}

struct Choice {
  Isa isa;
  kernels::Kernels<float> f32;
  kernels::Kernels<double> f64;
};

Choice make_choice(Isa isa) {
  expect_available(isa);
  Choice c{isa, {}, {}};
  kernels::generic::fill(c.f64);
  switch (isa) {
    case Isa::reference:
      kernels::reference::fill(c.f32);
      kernels::reference::fill(c.f64);
      break;
    case Isa::generic:
      kernels::generic::fill(c.f32);
      break;
#if defined(SFUMATO_AVX)
    case Isa::avx2:
      kernels::avx2::fill(c.f32);
      break;
    case Isa::avx512:
      kernels::avx512::fill(c.f32);
      break;
#endif
    default:
      break;
  }
  return c;
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
    case Isa::reference:
      return "reference";
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

}  // namespace

ConvMethod conv_method() { return conv_method_in_use(); }
void set_conv_method(ConvMethod method) { conv_method_in_use() = method; }

template <>
const Kernels<float>& table<float>() {
  return choice().f32;
}
template <>
const Kernels<double>& table<double>() {
  return choice().f64;
}

template <>
const Kernels<float>& on<float>(Device device) {
  return device == Device::cpu ? choice().f32 : *backend(device).f32;
}
template <>
const Kernels<double>& on<double>(Device device) {
  return device == Device::cpu ? choice().f64 : *backend(device).f64;
}
template <>
const Kernels<bf16>& on<bf16>(Device device) {
  if (device == Device::cpu) throw Error("bf16", "it is computed on a GPU only");
  return *backend(device).bf16;
}

}  // namespace kernels
}  // namespace sfumato
