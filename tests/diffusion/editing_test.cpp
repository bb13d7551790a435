// Edits of data whose denoiser is known, and of pictures with a model that is not trained.
#include "diffusion/editing.h"

#include <cmath>
#include <cstdint>
#include <vector>

#include "diffusion/data/batches.h"
#include "diffusion/edit_pictures.h"
#include "diffusion/gaussian.h"
#include "nn/presets.h"
#include "tensor/rng.h"
#include "tests/diffusion/support.h"

namespace sfumato::diffusion {
namespace {

using testing::f64;
using testing::max_difference;
using testing::moments;

// A schedule, the best denoiser of some data, and what a walk over them needs.
struct Data {
  SchedulerConfig config;
  Schedule schedule;
  Denoiser denoiser;
  SampleOptions options;

  Data(const std::vector<Gaussian>& mixture, std::int64_t steps)
      : config(make_config()),
        schedule(make_schedule(config)),
        denoiser(exact_denoiser(schedule, mixture, Prediction::v)),
        options{.config = config, .steps = steps, .seed = 3} {}

  static SchedulerConfig make_config() {
    SchedulerConfig c{.sampler = Sampler::ddim, .beta_schedule = BetaSchedule::cosine};
    c.prediction_type = Prediction::v;
    c.clip_sample = false;
    c.timestep_spacing = Spacing::trailing;
    return c;
  }
};

Tensor column(const Tensor& x, std::int64_t k) {
  Tensor c({x.dim(0)}, DType::f64);
  for (std::int64_t i = 0; i < x.dim(0); ++i)
    c.data<double>()[i] = x.data<double>()[i * x.dim(1) + k];
  return c;
}

TEST(Editing, JumpsAreThoseOfThePapersCode) {
  using Times = std::vector<std::int64_t>;
  EXPECT_EQ(jump_schedule(3, {.length = 1, .samples = 1}), (Times{2, 1, 0, -1}));
  EXPECT_EQ(jump_schedule(5, {.length = 2, .samples = 2}),
            (Times{4, 3, 2, 3, 4, 3, 2, 1, 0, 1, 2, 1, 0, -1}));
  EXPECT_EQ(jump_schedule(4, {.length = 3, .samples = 3}),
            (Times{3, 2, 1, 0, 1, 2, 3, 2, 1, 0, 1, 2, 3, 2, 1, 0, -1}));
  EXPECT_EQ(jump_schedule(4, {.length = 1, .samples = 1, .single = 2}),
            (Times{3, 2, 1, 2, 1, 0, 1, 0, -1}));
  // The paper's own: jumps from 0, 10, ..., 230, nine times each, ten steps up and ten down.
  const Times paper = jump_schedule(250, {.length = 10, .samples = 10});
  EXPECT_EQ(paper.size(), 24u * 9 * 20 + 251);
  EXPECT_EQ(paper.front(), 249);
  EXPECT_EQ(paper.back(), -1);
  for (std::size_t i = 1; i < paper.size(); ++i) EXPECT_EQ(std::abs(paper[i] - paper[i - 1]), 1);
  for (const Jumps& bad : {Jumps{.length = 0}, Jumps{.samples = 0}, Jumps{.single = 0},
                           Jumps{.length = 5}, Jumps{.length = 1, .samples = 1 << 30}})
    EXPECT_THROW(jump_schedule(5, bad), Error);
  EXPECT_THROW(jump_schedule(0, {}), Error);
}

// Two numbers with covariance 0.8, of which the first is known to be 1: the second is N(0.8, 0.36). Replacement takes too
// little notice of the known one; RePaint's jumps repair it.
TEST(Editing, RepaintDrawsFromTheConditional) {
  const Data data({{.mean = {0, 0}, .covariance = {1, 0.8, 0.8, 1}}}, 50);
  constexpr std::int64_t kCount = 4000;
  Known known{Tensor::full({kCount, 2}, 1, DType::f64), Tensor({kCount, 2}, DType::f64)};
  for (std::int64_t i = 0; i < 2 * kCount; ++i) known.mask.data<double>()[i] = i % 2 ? 0 : 1;
  const Tensor x_T = Rng(1).normal({kCount, 2}, DType::f64);
  SampleOptions options = data.options;
  options.config.sampler = Sampler::ddpm;
  const Tensor plain = inpaint(data.schedule, options, data.denoiser, known, x_T);
  const Tensor jumped =
      repaint(data.schedule, options, data.denoiser, known, x_T, {.length = 5, .samples = 10});
  for (const Tensor* x : {&plain, &jumped})
    EXPECT_EQ(max_difference(column(*x, 0), Tensor::full({kCount}, 1, DType::f64)), 0);
  const auto a = moments(column(plain, 1)), b = moments(column(jumped, 1));
  EXPECT_NEAR(b.mean, 0.8, 0.05);
  EXPECT_NEAR(b.variance, 0.36, 0.05);
  EXPECT_GT(std::abs(a.mean - 0.8), 2 * std::abs(b.mean - 0.8));
  // Where the numbers know nothing of each other, replacement is exact: N(0, 1).
  const Data apart({{.mean = {0, 0}, .covariance = {1, 1}}}, 50);
  const Tensor other = inpaint(apart.schedule, options, apart.denoiser, known, x_T);
  testing::expect_normal_moments(moments(column(other, 1)), {0, 1}, kCount);
}

// Every sampler keeps what is known, and its step keeps the known part of x_t on q(x_t | x_0).
TEST(Editing, EverySamplerInpaints) {
  const Data data({{.weight = 1, .mean = {-0.6, 0.2}, .covariance = {0.05, 0.02, 0.02, 0.04}},
                   {.weight = 2, .mean = {0.5, -0.3}, .covariance = {0.03, 0.06}}},
                  20);
  const Known known{f64({1, 2}, {0.4, 9}), f64({1, 2}, {1, 0})};
  for (const Sampler* sampler : Sampler::all) {
    SampleOptions options = data.options;
    options.config.sampler = *sampler;
    const Tensor x = inpaint(data.schedule, options, data.denoiser, known, f64({1, 2}, {0.1, -1}));
    EXPECT_EQ(x.data<double>()[0], 0.4) << sampler->name;
    EXPECT_NEAR(x.data<double>()[1], -0.3, 1.2) << sampler->name;  // of the second component
  }
  const Tensor other = f64({2, 2}, {0, 0, 0, 0});
  EXPECT_THROW(inpaint(data.schedule, data.options, data.denoiser, known, other), Error);
  EXPECT_THROW(repaint(data.schedule, data.options, data.denoiser, known, other), Error);
}

// Data N(0.5, 0.04). With strength 0 the input, with 1 plain sampling, and between the ODE's map of a x_0 + σ ε.
TEST(Editing, ImageToImage) {
  const Data data({{.mean = {0.5}, .covariance = {0.04}}}, 1000);
  const Tensor x_0 = f64({3, 1}, {-1, 0, 2}), x_T = f64({3, 1}, {0.3, -0.8, 1.1});
  const auto at = [&](double strength) {
    return image_to_image(data.schedule, data.options, data.denoiser, x_0, strength, x_T);
  };
  EXPECT_EQ(max_difference(at(0), x_0), 0);
  EXPECT_EQ(max_difference(at(1), sample(data.schedule, data.options, data.denoiser, x_T)), 0);
  const NoiseLevel t = data.schedule.level(399);  // 400 of 1000 steps are left
  const double spread = std::sqrt(0.04 * t.signal_variance + t.noise_variance);
  const Tensor got = at(0.4);
  for (int i = 0; i < 3; ++i) {
    const double x = t.signal() * x_0.data<double>()[i] + t.noise() * x_T.data<double>()[i];
    EXPECT_NEAR(got.data<double>()[i], 0.5 + 0.2 / spread * (x - t.signal() * 0.5), 5e-3);
  }
  for (const double bad : {-0.1, 1.1, std::nan("")}) EXPECT_THROW(at(bad), Error);
}

TEST(Editing, Slerp) {
  const Tensor a = f64({3, 2}, {1, 0, 3, 0, 1, 1}), b = f64({3, 2}, {0, 1, 0, 3, 2, 2});
  const Tensor x = slerp(a, b, {0.5, 1.0 / 3, 0.25});
  const double h = std::sqrt(0.5);
  EXPECT_LT(max_difference(x, f64({3, 2}, {h, h, 3 * std::sqrt(0.75), 1.5, 1.25, 1.25})), 1e-12);
  EXPECT_EQ(max_difference(slerp(a, b, {0, 0, 0}), a), 0);
  EXPECT_EQ(max_difference(slerp(a, b, {1, 1, 1}), b), 0);
  EXPECT_THROW(slerp(a, b, {0.5}), Error);
}

// Each window answers with its sum; where two overlap, with the mean of theirs.
TEST(Editing, WindowsAreAveraged) {
  const Denoiser sums = [](const Tensor& x, double) {
    Tensor y(x.shape(), x.kind());
    const std::int64_t width = x.size() / x.dim(0);
    for (std::int64_t n = 0; n < x.dim(0); ++n) {
      double total = 0;
      for (std::int64_t i = 0; i < width; ++i) total += x.data<double>()[n * width + i];
      y.slice(n, n + 1).fill(total);
    }
    return y;
  };
  const Tensor canvas = f64({2, 1, 4, 1}, {1, 2, 4, 8, 1, 1, 1, 0});
  EXPECT_EQ(max_difference(windowed(sums, {1, 2}, {1, 2})(canvas, 0),
                           f64({2, 1, 4, 1}, {3, 3, 12, 12, 2, 2, 1, 1})),
            0);
  EXPECT_EQ(max_difference(windowed(sums, {1, 3}, {1, 3})(canvas, 0),  // the last one flush
                           f64({2, 1, 4, 1}, {7, 10.5, 10.5, 14, 3, 2.5, 2.5, 2})),
            0);
  EXPECT_EQ(max_difference(windowed(sums, {1, 4}, {1, 1})(canvas, 0), sums(canvas, 0)), 0);
  EXPECT_THROW(windowed(sums, {2, 2}, {1, 1})(canvas, 0), Error);
  EXPECT_THROW(windowed(sums, {1, 2}, {1, 3})(canvas, 0), Error);
  EXPECT_THROW(windowed(sums, {1, 2}, {0, 1})(canvas, 0), Error);
}

// Ten classes and "no class", 16 x 16, not trained.
Pipeline new_editor() {
  nn::UNetConfig tiny = nn::preset("tiny", 1, 11);
  tiny.conditioning.null_label = 10;
  Pipeline model = make_pipeline(tiny, default_scheduler(), 1);
  model.network->sample_size = {16, 16};
  return model;
}

Tensor noise_picture(const Shape& shape) {
  return data::to_bytes(Rng(5).normal(shape, DType::f32));
}

// The left half is kept.
Tensor right_half(std::int64_t size) {
  Tensor mask({size, size}, DType::u8);
  for (std::int64_t i = 0; i < mask.size(); ++i)
    mask.data<std::uint8_t>()[i] = i % size < size / 2 ? 127 : 128;
  return mask;
}

// Every edit of 3 pictures; with `count` fewer, the first ones.
std::vector<Tensor> all_edits(const Pipeline& model, GenerateOptions o, std::int64_t count) {
  const Tensor picture = noise_picture({16, 16, 1}), mask = right_half(16);
  o.labels.resize(static_cast<std::size_t>(count));
  GenerateOptions large = o;
  large.height = 20, large.width = 28;
  return {inpaint(model, o, picture, mask),
          repaint(model, o, picture, mask, {.length = 2, .samples = 2}),
          image_to_image(model, o, picture, 0.5), outpaint(model, large, picture, 4, 8),
          redraw(model, o, picture, {.label = 1}, 0.5)};
}

TEST(Editing, NeitherBatchNorCountChangesAPicture) {
  const Pipeline model = new_editor();
  GenerateOptions o{.labels = {3, 1, 4}, .steps = 4, .guidance = 2, .negative = 7, .seed = 5};
  const std::vector<Tensor> together = all_edits(model, o, 3);
  o.batch = 2;
  const std::vector<Tensor> in_twos = all_edits(model, o, 3), first = all_edits(model, o, 1);
  for (std::size_t i = 0; i < together.size(); ++i) {
    EXPECT_EQ(max_difference(in_twos[i], together[i]), 0) << i;
    EXPECT_EQ(max_difference(first[i], together[i].slice(0, 1)), 0) << i;
  }
  const Tensor a = interpolate(model, o, {.seed = 1, .label = 3}, {.seed = 2, .label = 4}, 3);
  o.batch = 64;
  const Tensor b = interpolate(model, o, {.seed = 1, .label = 3}, {.seed = 2, .label = 4}, 3);
  EXPECT_EQ(max_difference(a, b), 0);
}

TEST(Editing, KnownPixelsStay) {
  const Pipeline model = new_editor();
  const Tensor picture = noise_picture({16, 16, 1});
  const std::vector<Tensor> edits = all_edits(model, {.labels = {3, 1, 4}, .steps = 4}, 2);
  for (std::int64_t i = 0; i < 2 * 256; ++i) {
    const std::int64_t y = i % 256 / 16, x = i % 16;
    const std::uint8_t want = picture.data<std::uint8_t>()[i % 256];
    if (x < 8) {
      EXPECT_EQ(edits[0].data<std::uint8_t>()[i], want);
      EXPECT_EQ(edits[1].data<std::uint8_t>()[i], want);
    }
    EXPECT_EQ(edits[3].data<std::uint8_t>()[(i / 256 * 20 + y + 4) * 28 + x + 8], want);
  }
  EXPECT_GT(max_difference(edits[0].slice(0, 1), edits[0].slice(1, 2)), 0);
}

TEST(Editing, EndsOfTheRange) {
  const Pipeline model = new_editor();
  const GenerateOptions o{.labels = {3, 1}, .clip = Clip::off, .steps = 10, .seed = 5};
  const Tensor picture = noise_picture({16, 16, 1});
  const Tensor drawn = generate(model, o);
  EXPECT_EQ(max_difference(image_to_image(model, o, picture, 0).slice(0, 1),
                           picture.reshape({1, 16, 16, 1})),
            0);
  EXPECT_EQ(max_difference(image_to_image(model, o, picture, 1), drawn), 0);
  EXPECT_EQ(max_difference(redraw(model, o, picture, {.label = 3}, 1), drawn), 0);
  // There and back with the same label: the picture.
  const Tensor again = redraw(model, o, picture, {.label = 1, .refinements = 30});
  EXPECT_LE(max_difference(again.slice(1, 2), picture.reshape({1, 16, 16, 1})), 1);
  // Between two pictures and two seeds: the ends are theirs.
  const Tensor between = interpolate(model, o, {.picture = picture, .label = 1},
                                     {.seed = 5, .label = 3}, 3, /*refinements=*/30);
  EXPECT_LE(max_difference(between.slice(0, 1), picture.reshape({1, 16, 16, 1})), 1);
  EXPECT_LE(max_difference(between.slice(2, 3), drawn.slice(0, 1)), 1);
}

TEST(Editing, ASecondClass) {
  const Pipeline model = new_editor();
  GenerateOptions o{.labels = {3, 3}, .steps = 3, .seed = 5};
  o.mix = {{.label = 4, .share = 0}, {.label = 4, .share = 1}};
  const Tensor mixed = generate(model, o);
  EXPECT_EQ(
      max_difference(mixed.slice(0, 1), generate(model, {.labels = {3}, .steps = 3, .seed = 5})),
      0);
  EXPECT_EQ(max_difference(mixed.slice(1, 2),
                           generate(model, {.labels = {3, 4}, .steps = 3, .seed = 5}).slice(1, 2)),
            0);
  o.mix[0].share = 1.5;
  EXPECT_THROW(generate(model, o), Error);
  o.mix = {{.label = 4, .share = 1}};
  EXPECT_THROW(generate(model, o), Error);  // of two pictures
  // Away from the null label by name is guidance as it is.
  GenerateOptions guided{.labels = {3, 3}, .steps = 3, .guidance = 2, .seed = 5};
  const Tensor plain = generate(model, guided);
  guided.negative = 10;
  EXPECT_EQ(max_difference(generate(model, guided), plain), 0);
  guided.negative = 11;
  EXPECT_THROW(generate(model, guided), Error);
  guided.negative = 4, guided.guidance = 1;
  EXPECT_THROW(generate(model, guided), Error);
}

TEST(Editing, RefusesWhatDoesNotFit) {
  const Pipeline model = new_editor();
  const GenerateOptions o{.labels = {3}, .steps = 2};
  const Tensor picture = noise_picture({16, 16, 1}), mask = right_half(16);
  EXPECT_THROW(inpaint(model, o, noise_picture({16, 16, 3}), mask), Error);
  EXPECT_THROW(inpaint(model, o, noise_picture({12, 16, 1}), mask), Error);
  EXPECT_THROW(inpaint(model, o, {}, mask), Error);
  EXPECT_THROW(inpaint(model, o, picture, right_half(12)), Error);
  EXPECT_THROW(inpaint(model, o, picture, {}), Error);
  EXPECT_THROW(inpaint(model, o, picture, Tensor::zeros({16, 16}, DType::u8)), Error);
  EXPECT_THROW(repaint(model, o, picture, mask, {.length = 2}), Error);  // of 2 steps
  EXPECT_THROW(image_to_image(model, o, picture, 2), Error);
  EXPECT_THROW(redraw(model, o, picture, {.label = 3}, -1), Error);
  EXPECT_THROW(redraw(model, o, picture, {.label = 11}), Error);
  EXPECT_THROW(interpolate(model, o, {}, {}, 1), Error);
  GenerateOptions canvas = o;
  canvas.height = canvas.width = 12;
  EXPECT_THROW(outpaint(model, canvas, picture, 0, 0), Error);  // smaller than a window
  canvas.height = canvas.width = 20;
  EXPECT_THROW(outpaint(model, canvas, picture, 5, 0), Error);  // 5 + 16 rows of 20
  EXPECT_EQ(outpaint(model, canvas, {}, 0, 0).shape(), (Shape{1, 20, 20, 1}));
}

}  // namespace
}  // namespace sfumato::diffusion
