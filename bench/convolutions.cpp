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

#include <array>
#include <cstdlib>
#include <cstring>
#include <fstream>
#include <map>
#include <nlohmann/json.hpp>

#include "bench/command_line.h"
#include "bench/common.h"
#include "bench/shapes.h"
#include "tensor/io/json.h"
#include "tensor/kernels/kernels.h"

#if defined(SFUMATO_HAVE_DNNL)
#include <dnnl.hpp>
#endif

using namespace sfumato;  // NOLINT: a program of one file
using kernels::Conv;

using bench::ConvShape;
using bench::Floats;
using bench::numbers;

namespace {

struct Options {
  std::vector<std::string> configs;
  std::int64_t batch = 64;
  std::int64_t threads = 0;  // the cores
  std::string json;
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
  std::function<void()> pass(std::size_t i) { return run_[i]; }

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

struct Network {
  std::string file;
  bench::ConvCounts convolutions;
};

constexpr std::array kPasses = {"forward", "data", "weights"};

// The three passes of one convolution.
class Passes {
 public:
  Passes(const ConvShape& s, std::int64_t batch)
      : conv_(s.of_batch(batch)),
        x_(numbers(batch * s.size * s.size * s.c)),
        w_(numbers(s.k * s.c * s.kernel * s.kernel)),
        bias_(numbers(s.k)),
        dy_(numbers(batch * s.out * s.out * s.k)),
        y_(dy_.size()),
        dx_(x_.size()),
        dw_(w_.size()),
        db_(bias_.size()) {}

  const Conv& conv() const { return conv_; }
  double flop() const {
    return 2.0 * static_cast<double>(dy_.size()) *
           static_cast<double>(conv_.c * conv_.kh * conv_.kw);
  }
  // Of the inputs read and the output written once.
  double bytes() const { return static_cast<double>(x_.size() + y_.size()) * sizeof(float); }

  void run(std::size_t pass) {
    const kernels::Kernels<float>& table = kernels::table<float>();
    if (pass == 0)
      table.conv_forward(conv_, {.x = x_.data()}, w_.data(), {.y = y_.data(), .bias = bias_.data()},
                         nullptr);
    else if (pass == 1)
      table.conv_backward(conv_, {.x = x_.data()}, dy_.data(), w_.data(), {.dx = dx_.data()});
    else
      table.conv_backward(conv_, {.x = x_.data()}, dy_.data(), w_.data(),
                          {.dw = dw_.data(), .db = db_.data()});
  }

 private:
  Conv conv_;
  Floats x_, w_, bias_, dy_, y_, dx_, dw_, db_;
};

using Times = std::array<Pair, kPasses.size()>;

Times time_passes(Passes& passes) {
#if defined(SFUMATO_HAVE_DNNL)
  OneDnn other(passes.conv());
#endif
  Times times;
  for (std::size_t i = 0; i < times.size(); ++i) {
    std::function<void()> theirs;
#if defined(SFUMATO_HAVE_DNNL)
    theirs = other.pass(i);
#endif
    times[i] = time_in_turns([&] { passes.run(i); }, theirs);
  }
  return times;
}

// Measures all passes of one shape, prints them and adds them to `rows`.
Times report(const ConvShape& s, int count, const Options& o, double gb_s, io::Json& rows) {
  Passes passes(s, o.batch);
  const std::string shape =
      fmt::format("{}x{} {}->{} {}x{}/{}", s.size, s.size, s.c, s.k, s.kernel, s.kernel, s.stride);
  const double memory_ms = passes.bytes() / gb_s * 1e-6;
  const Times times = time_passes(passes);
  for (std::size_t i = 0; i < times.size(); ++i) {
    const Pair& t = times[i];
    const double share = passes.flop() / (t.ours * 1e-3) / t.peak;
    fmt::print("{:<28} {:<8} {:>9.3f} {:>5.0f}% {:>9.3f} {:>10.3f} {:>7.2f}\n", i == 0 ? shape : "",
               kPasses[i], t.ours, 100 * share, memory_ms, t.theirs, t.theirs / t.ours);
    rows.push_back({{"shape", shape},
                    {"count", count},
                    {"pass", kPasses[i]},
                    {"ms", t.ours},
                    {"share_of_peak", share},
                    {"memory_ms", memory_ms},
                    {"onednn_ms", t.theirs}});
  }
  std::fflush(stdout);
  return times;
}

void print_sum(const Network& network, const std::map<ConvShape, Times>& times) {
  double ours = 0, theirs = 0;
  for (const auto& [shape, count] : network.convolutions)
    for (const Pair& t : times.at(shape)) ours += count * t.ours, theirs += count * t.theirs;
  fmt::print("{}: all convolutions of a step {:.0f} ms, oneDNN {:.0f} ms, {:.2f} of it\n",
             network.file, ours, theirs, theirs > 0 ? ours / theirs : 0);
}

void run(const Options& o) {
  std::vector<Network> networks;
  bench::ConvCounts all;
  for (const std::string& file : o.configs) {
    networks.push_back({file, bench::convolutions_of(file)});
    for (const auto& [shape, count] : networks.back().convolutions) all[shape] += count;
  }
  const double gb_s = bandwidth();
  fmt::print("{}, {} threads, batch {}, peak {:.0f} GFLOP/s, memory {:.1f} GB/s\n", name(isa()),
             thread_count(), o.batch, bench::probe() * 1e-9, gb_s);
  fmt::print("{:<28} {:<8} {:>9} {:>6} {:>9} {:>10} {:>7}\n", "shape", "pass", "ms", "share",
             "memory", "oneDNN ms", "ratio");
  std::map<ConvShape, Times> times;
  io::Json rows = io::Json::array();
  for (const auto& [shape, count] : all) times[shape] = report(shape, count, o, gb_s, rows);
  for (const Network& network : networks) print_sum(network, times);
  if (!o.json.empty()) std::ofstream(o.json) << rows.dump(1) << "\n";
}

}  // namespace

int main(int argc, char** argv) {
  Options o;
  bench::CommandLine line("Times every convolution of U-Nets beside oneDNN.");
  line.files("--config", o.configs, "diffusers unet config.json files");
  line.number("--batch", o.batch, 1, 4096, "pictures");
  line.number("--threads", o.threads, 1, 1024, "threads (default: the cores)");
  line.text("--json", o.json, "also write the rows to this file");
  if (const auto status = line.parse(argc, argv)) return *status;
  if (o.threads > 0) set_thread_count(static_cast<int>(o.threads));
#if defined(SFUMATO_HAVE_DNNL)
  // OpenMP, which oneDNN uses, reads its settings before main. Its threads must not spin after
  // their work: that would take the cores from ours.
  if (std::getenv("OMP_WAIT_POLICY") == nullptr) {
    setenv("OMP_WAIT_POLICY", "passive", 1);
    setenv("OMP_NUM_THREADS", std::to_string(thread_count()).c_str(), 1);
    execv(argv[0], argv);
  }
#endif
  return bench::status_of([&] { run(o); });
}
