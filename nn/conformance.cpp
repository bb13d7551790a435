#include "nn/conformance.h"

#include <fmt/format.h>

#include <cmath>
#include <cstring>
#include <filesystem>
#include <random>
#include <vector>

#include "autograd/gradcheck.h"
#include "nn/checkpoint.h"
#include "tensor/parallel.h"

namespace sfumato::nn {
namespace {

struct Run {
  Tensor y, grads;
};

// One forward and backward pass in f32 from the given seed.
Run run(const LayerCase& c, std::uint64_t seed, const std::filesystem::path* load = nullptr,
        const std::filesystem::path* save = nullptr) {
  Params params(seed);
  const auto layer = c.make(Scope(params));
  params.to(c.device);
  params.zero_grad();
  if (load) load_parameters(params, io::SafeTensors(*load));
  if (save) save_parameters(params, params.flat_values(), *save);
  const Var x(Rng(1, Purpose::test).normal(c.input).to(c.device), true);
  const Var y = layer(x);
  expect_shape(c.name.c_str(), "output", y.value(), c.output);
  const Tensor output = y.value().to(Device::cpu);
  for (float v : output.values<float>())
    if (!std::isfinite(v)) throw Error(c.name, "the output is not finite");
  y.backward(Rng(2, Purpose::test).normal(c.output).to(c.device));
  return {output, params.flat_grads().to(Device::cpu)};
}

void expect_same(const LayerCase& c, const char* when, const Tensor& a, const Tensor& b) {
  if (std::memcmp(a.raw(), b.raw(), a.bytes()) != 0)
    throw Error(c.name, fmt::format("{}: not the same bits", when));
}

void check_gradients(const LayerCase& c) {
  Params params(7, DType::f64);
  const auto layer = c.make(Scope(params));
  std::vector<Tensor> inputs{Rng(3, Purpose::test).normal(c.input, DType::f64)};
  // Away from the initial values: a zero bias or a gain of one can hide a wrong derivative.
  for (const Params::Entry& p : params.entries()) {
    const Tensor noise = Rng(4, Purpose::test, inputs.size()).normal(p.var.shape(), DType::f64);
    Tensor value = p.var.value().clone();
    for (std::int64_t i = 0; i < value.size(); ++i)
      value.data<double>()[i] += 0.3 * noise.data<double>()[i];
    inputs.push_back(value);
  }
  auto forward = [&](std::span<const Var> in) {
    for (std::size_t i = 1; i < in.size(); ++i) params.bind(i - 1, in[i]);
    return layer(in[0]);
  };
  try {
    gradcheck(c.name, forward, inputs,
              {.tolerance = c.gradcheck_tolerance, .max_elements = 24, .device = c.device});
  } catch (const Error& e) {
    std::string names = "input 0 is x";
    std::size_t i = 1;
    for (const Params::Entry& p : params.entries()) names += fmt::format(", {} is {}", i++, p.name);
    throw Error(c.name, fmt::format("{} ({})", e.what(), names));
  }
}

}  // namespace

void check_layer(const LayerCase& c) {
  const Run first = run(c, 5);
  const int threads = thread_count();
  for (int n : {1, 2, 3}) {
    set_thread_count(n);
    const Run again = run(c, 5);
    const std::string when = fmt::format("the same seed on {} thread(s)", n);
    expect_same(c, (when + ", output").c_str(), first.y, again.y);
    expect_same(c, (when + ", gradients").c_str(), first.grads, again.grads);
  }
  set_thread_count(threads);

  const auto file = std::filesystem::temp_directory_path() /
                    fmt::format("sfumato-{}-{:x}.safetensors", c.name, std::random_device{}());
  run(c, 5, nullptr, &file);
  const Run loaded = run(c, 6, &file);
  std::filesystem::remove(file);
  expect_same(c, "saved and loaded, output", first.y, loaded.y);

  check_gradients(c);
}

}  // namespace sfumato::nn
