// Every convolution of the reference networks, forward and both gradients, beside oneDNN (the
// library that PyTorch calls) and beside what the machine allows.
//
//   build/bench/convolutions [--config FILE...] [--batch 64] [--threads T] [--json FILE]
//
// A row is a distinct shape; `share` is direct-equivalent operations as a share of the multiply-add
// peak measured next to it; `memory` is the time that reading the inputs and writing the output
// once takes at the bandwidth measured at the start: no kernel can be faster than that. oneDNN runs
// in its own layouts, chosen freely; the reordering into them is not counted.
#include <fmt/format.h>
#include <unistd.h>

#include <CLI/CLI.hpp>
#include <cstdlib>
#include <cstring>
#include <fstream>
#include <map>
#include <nlohmann/json.hpp>
#include <tuple>

#include "autograd/ops.h"
#include "bench/common.h"
#include "diffusion/pipeline.h"
#include "nn/unet.h"
#include "tensor/io/json.h"
#include "tensor/kernels/kernels.h"

#if defined(SFUMATO_HAVE_DNNL)
#include <dnnl.hpp>
#endif

using namespace sfumato;  // NOLINT: a program of one file
using kernels::Conv;

using bench::Floats;
using bench::numbers;

namespace {

using Key =
    std::tuple<std::int64_t, std::int64_t, std::int64_t, std::int64_t, std::int64_t, std::int64_t>;

// The convolutions of a forward pass (size, channels in and out, kernel, stride, size out),
// counted.
class Collect : public Observer {
 public:
  void see(const char* op, std::initializer_list<Var> inputs, const Tensor& y) override {
    if (std::strcmp(op, "conv2d") != 0) return;
    const Tensor &x = inputs.begin()[0].value(), &w = inputs.begin()[1].value();
    // An up-sampling convolution sees twice the pixels.
    const bool up = y.dim(1) > x.dim(1);
    const std::int64_t h = up ? 2 * x.dim(1) : x.dim(1), stride = h / y.dim(1);
    ++count[{h, w.dim(1), w.dim(0), w.dim(2), stride, y.dim(1)}];
  }
  std::map<Key, int> count;
};

// Two ways of doing the same, timed in turns; medians in ms (0 for one that is missing).
struct Pair {
  double ours, theirs, peak;
};
Pair time_in_turns(const std::function<void()>& ours, const std::function<void()>& theirs) {
  const auto once = [](const std::function<void()>& f) {
    const double begin = bench::wall_seconds();
    f();
    return (bench::wall_seconds() - begin) * 1e3;
  };
  ours();
  if (theirs) theirs();
  std::vector<double> a, b, peaks;
  const double begin = bench::wall_seconds();
  while (a.size() < 7 || (bench::wall_seconds() - begin < 0.4 && a.size() < 100)) {
    a.push_back(once(ours));
    if (theirs) b.push_back(once(theirs));
    if (a.size() % 4 == 1) peaks.push_back(bench::probe());
  }
  return {bench::median(a), b.empty() ? 0 : bench::median(b), bench::median(peaks)};
}

#if defined(SFUMATO_HAVE_DNNL)
// The three primitives of oneDNN for one shape, with memory in the layouts that they ask for.
class OneDnn {
 public:
  explicit OneDnn(const Conv& s) : engine_(dnnl::engine::kind::cpu, 0), stream_(engine_) {
    using namespace dnnl;
    const auto any = dnnl::memory::format_tag::any;
    const auto f32 = dnnl::memory::data_type::f32;
    const dnnl::memory::desc x({s.n, s.c, s.h, s.w}, f32, any), w({s.k, s.c, s.kh, s.kw}, f32, any);
    const dnnl::memory::desc b({s.k}, f32, dnnl::memory::format_tag::a),
        y({s.n, s.k, s.oh, s.ow}, f32, any);
    const dnnl::memory::dims strides{s.stride, s.stride}, begin{s.pad_top, s.pad_left};
    const dnnl::memory::dims end{(s.oh - 1) * s.stride + s.kh - s.h - s.pad_top,
                                 (s.ow - 1) * s.stride + s.kw - s.w - s.pad_left};
    const auto direct = algorithm::convolution_auto;
    const convolution_forward::primitive_desc fwd(
        {prop_kind::forward_training, direct, x, w, b, y, strides, begin, end}, engine_);
    const convolution_backward_data::primitive_desc data(
        {algorithm::convolution_direct, x, w, y, strides, begin, end}, engine_, fwd);
    const convolution_backward_weights::primitive_desc weights(
        {algorithm::convolution_direct, x, w, b, y, strides, begin, end}, engine_, fwd);
    run_[0] = bind(convolution_forward(fwd), {{DNNL_ARG_SRC, fwd.src_desc()},
                                              {DNNL_ARG_WEIGHTS, fwd.weights_desc()},
                                              {DNNL_ARG_BIAS, fwd.bias_desc()},
                                              {DNNL_ARG_DST, fwd.dst_desc()}});
    run_[1] = bind(convolution_backward_data(data), {{DNNL_ARG_DIFF_SRC, data.diff_src_desc()},
                                                     {DNNL_ARG_WEIGHTS, data.weights_desc()},
                                                     {DNNL_ARG_DIFF_DST, data.diff_dst_desc()}});
    run_[2] = bind(convolution_backward_weights(weights),
                   {{DNNL_ARG_SRC, weights.src_desc()},
                    {DNNL_ARG_DIFF_WEIGHTS, weights.diff_weights_desc()},
                    {DNNL_ARG_DIFF_BIAS, weights.diff_bias_desc()},
                    {DNNL_ARG_DIFF_DST, weights.diff_dst_desc()}});
  }
  std::function<void()> pass(int i) { return run_[i]; }

 private:
  std::function<void()> bind(const dnnl::primitive& p,
                             const std::vector<std::pair<int, dnnl::memory::desc>>& shapes) {
    std::unordered_map<int, dnnl::memory> arguments;
    for (const auto& [name, desc] : shapes) {
      dnnl::memory m(desc, engine_);
      auto* at = static_cast<float*>(m.get_data_handle());
      for (std::size_t i = 0; i < desc.get_size() / sizeof(float); ++i)
        at[i] = static_cast<float>(i % 17) / 17 - 0.5f;
      arguments.emplace(name, m);
    }
    return [p, arguments, this] {
      p.execute(stream_, arguments);
      stream_.wait();
    };
  }
  dnnl::engine engine_;
  dnnl::stream stream_;
  std::function<void()> run_[3];
};
#endif

// GB/s of a plain copy of 128 MB, reads and writes counted.
double bandwidth() {
  const std::int64_t n = 16 << 20;
  Floats a = numbers(n), b(a.size());
  std::vector<double> all;
  for (int i = 0; i < 7; ++i) {
    const double begin = bench::wall_seconds();
    parallel_ranges(n, 1 << 18, [&](std::int64_t from, std::int64_t to) {
      std::memcpy(b.data() + from, a.data() + from, static_cast<std::size_t>(to - from) * 4);
    });
    all.push_back(8.0 * static_cast<double>(n) / (bench::wall_seconds() - begin) * 1e-9);
  }
  return bench::median(all);
}

}  // namespace

int main(int argc, char** argv) {
  std::vector<std::string> configs;
  std::int64_t batch = 64;
  int threads = 0;
  std::string json_file;
  CLI::App app("Times every convolution of U-Nets beside oneDNN.");
  app.add_option("--config", configs, "diffusers unet config.json files")
      ->required()
      ->check(CLI::ExistingFile);
  app.add_option("--batch", batch, "pictures")->check(CLI::Range(1, 4096))->capture_default_str();
  app.add_option("--threads", threads, "threads (default: the cores)")->check(CLI::Range(1, 1024));
  app.add_option("--json", json_file, "also write the rows to this file");
  CLI11_PARSE(app, argc, argv);
  if (threads > 0) set_thread_count(threads);
#if defined(SFUMATO_HAVE_DNNL)
  // OpenMP, which oneDNN uses, reads its settings before main. Its threads must not spin after
  // their work: that would take the cores from ours.
  if (std::getenv("OMP_WAIT_POLICY") == nullptr) {
    setenv("OMP_WAIT_POLICY", "passive", 1);
    setenv("OMP_NUM_THREADS", std::to_string(thread_count()).c_str(), 1);
    execv(argv[0], argv);
  }
#endif

  std::vector<std::pair<std::string, std::map<Key, int>>> networks;
  std::map<Key, int> all;
  for (const std::string& file : configs) {
    const io::JsonObject config = io::JsonObject::read(file);
    const auto [height, width] = diffusion::read_sample_size(config);
    nn::Params params(1);
    const nn::UNet unet(params, nn::parse_unet_config(config));
    const NoGrad no_grad;
    Collect collect;
    unet(Tensor::zeros({1, height, width, unet.in_channels}), Tensor::zeros({1}, DType::i64),
         unet.conditioning.zeros(1));
    networks.emplace_back(file, collect.count);
    for (const auto& [key, count] : collect.count) all[key] += count;
  }

  const double gb_s = bandwidth();
  fmt::print("{}, {} threads, batch {}, peak {:.0f} GFLOP/s, memory {:.1f} GB/s\n", name(isa()),
             thread_count(), batch, bench::probe() * 1e-9, gb_s);
  fmt::print("{:<28} {:<8} {:>9} {:>6} {:>9} {:>10} {:>7}\n", "shape", "pass", "ms", "share",
             "memory", "oneDNN ms", "ratio");
  const char* passes[] = {"forward", "data", "weights"};
  std::map<Key, std::array<Pair, 3>> times;
  io::Json rows = io::Json::array();
  for (const auto& [key, count] : all) {
    const auto [size, c, k, kernel, stride, out] = key;
    const std::int64_t pad = kernel / 2;
    const Conv s{batch, size, size, c, out, out, k, kernel, kernel, stride, pad, pad};
    const Floats x = numbers(batch * size * size * c), w = numbers(k * c * kernel * kernel),
                 bias = numbers(k);
    const Floats dy = numbers(batch * out * out * k);
    Floats y(dy.size()), dx(x.size()), dw(w.size()), db(bias.size());
    const std::function<void()> ours[] = {
        [&] {
          kernels::conv_forward<float>(s, {x.data()}, w.data(), {y.data(), bias.data()});
        },
        [&] {
          kernels::conv_backward<float>(s, {x.data()}, dy.data(), w.data(), {.dx = dx.data()});
        },
        [&] {
          kernels::conv_backward<float>(s, {x.data()}, dy.data(), w.data(),
                                        {.dw = dw.data(), .db = db.data()});
        }};
#if defined(SFUMATO_HAVE_DNNL)
    OneDnn other(s);
#endif
    const std::string shape =
        fmt::format("{}x{} {}->{} {}x{}/{}", size, size, c, k, kernel, kernel, stride);
    const double flop = 2.0 * static_cast<double>(batch * out * out * k * c * kernel * kernel);
    const double bytes[] = {static_cast<double>(x.size() + y.size()) * 4,
                            static_cast<double>(dx.size() + dy.size()) * 4,
                            static_cast<double>(x.size() + dy.size()) * 4};
    for (int i = 0; i < 3; ++i) {
      std::function<void()> theirs;
#if defined(SFUMATO_HAVE_DNNL)
      theirs = other.pass(i);
#endif
      const Pair t = times[key][i] = time_in_turns(ours[i], theirs);
      const double share = flop / (t.ours * 1e-3) / t.peak, memory_ms = bytes[i] / gb_s * 1e-6;
      fmt::print("{:<28} {:<8} {:>9.3f} {:>5.0f}% {:>9.3f} {:>10.3f} {:>7.2f}\n",
                 i == 0 ? shape : "", passes[i], t.ours, 100 * share, memory_ms, t.theirs,
                 t.theirs / t.ours);
      rows.push_back({{"shape", shape},
                      {"count", count},
                      {"pass", passes[i]},
                      {"ms", t.ours},
                      {"share_of_peak", share},
                      {"memory_ms", memory_ms},
                      {"onednn_ms", t.theirs}});
    }
    std::fflush(stdout);
  }
  for (const auto& [file, counts] : networks) {
    double ours = 0, theirs = 0;
    for (const auto& [key, count] : counts) {
      for (const Pair& t : times[key]) ours += count * t.ours, theirs += count * t.theirs;
    }
    fmt::print("{}: all convolutions of a step {:.0f} ms, oneDNN {:.0f} ms, {:.2f} of it\n", file,
               ours, theirs, theirs > 0 ? ours / theirs : 0);
  }
  if (!json_file.empty()) std::ofstream(json_file) << rows.dump(1) << "\n";
  return 0;
}
