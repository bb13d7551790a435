// Draws the pictures of docs/lesson.md: scripts/lesson_pictures MODEL.
#include <fmt/format.h>

#include <cmath>
#include <filesystem>
#include <optional>
#include <string>
#include <vector>

#include "common/pictures.h"
#include "diffusion/data/batches.h"
#include "diffusion/forward.h"
#include "diffusion/generate.h"
#include "diffusion/objective.h"
#include "tensor/error.h"
#include "tensor/io/image.h"

using namespace sfumato;
using exercises::Picture;
namespace fs = std::filesystem;

namespace {

constexpr std::int64_t kSide = 28, kGap = 2, kScale = 3;

// Writes rows of tiles, each 28 x 28 in [-1, 1], three times as large.
void write_rows(const fs::path& path, const std::vector<std::vector<Picture>>& rows) {
  const auto height = static_cast<std::int64_t>(rows.size()) * (kSide + kGap) - kGap;
  const auto width = static_cast<std::int64_t>(rows[0].size()) * (kSide + kGap) - kGap;
  Tensor image = Tensor::full({height * kScale, width * kScale}, 255, DType::u8);
  const auto pixels = image.values<std::uint8_t>();
  for (std::size_t r = 0; r < rows.size(); ++r)
    for (std::size_t c = 0; c < rows[r].size(); ++c)
      for (std::int64_t i = 0; i < kSide * kScale; ++i)
        for (std::int64_t j = 0; j < kSide * kScale; ++j) {
          const double x = rows[r][c][static_cast<std::size_t>(i / kScale * kSide + j / kScale)];
          const std::int64_t y = static_cast<std::int64_t>(r) * (kSide + kGap) * kScale + i;
          const std::int64_t at =
              y * width * kScale + static_cast<std::int64_t>(c) * (kSide + kGap) * kScale + j;
          pixels[static_cast<std::size_t>(at)] =
              static_cast<std::uint8_t>(std::clamp(std::lround((x + 1) * 127.5), 0L, 255L));
        }
  io::write_png(path, image);
  fmt::print("{}\n", path.string());
}

Tensor tensor(const Picture& x) {
  Tensor t({1, kSide, kSide, 1});
  std::copy(x.begin(), x.end(), t.values<float>().begin());
  return t;
}

Picture picture(const Tensor& t, std::int64_t i = 0) {
  const Tensor row = t.slice(i, i + 1).to(DType::f32);
  const auto values = row.values<float>();
  return {values.begin(), values.end()};
}

Tensor time(std::int64_t t) { return Tensor::full({1}, static_cast<double>(t), DType::i64); }

// Above: a digit that walks, step by step. Below: the same digit by q_sample, to the same times.
void forward(const fs::path& folder) {
  const auto schedule = diffusion::Schedule::linear();
  const Picture digit = exercises::digits(1)[0];
  std::vector<Picture> walked = {digit}, jumped = {digit};
  Tensor x = tensor(digit);
  for (std::int64_t t = 0; t < schedule.steps(); ++t) {
    x = diffusion::q_step(schedule, x, time(t),
                          Rng(1, Purpose::noise, static_cast<std::uint64_t>(t)).normal(x.shape()));
    if (t != 24 && t != 99 && t != 199 && t != 399 && t != 999) continue;
    walked.push_back(picture(x));
    const Tensor eps = Rng(2, Purpose::noise, static_cast<std::uint64_t>(t)).normal(x.shape());
    jumped.push_back(picture(diffusion::q_sample(schedule, tensor(digit), time(t), eps)));
  }
  write_rows(folder / "forward.png", {walked, jumped});
}

// Above x_t, below what the network takes for the picture.
void estimates(const fs::path& folder, const diffusion::Pipeline& model) {
  NoGrad no_grad;
  const auto& config = model.scheduler;
  const auto schedule = diffusion::make_schedule(config);
  const Picture digit = exercises::digits(8)[7];
  const Tensor label = Tensor::full({1}, 9, DType::i64);
  std::vector<Picture> seen = {digit}, said = {digit};
  for (const std::int64_t t : {200, 400, 600, 800, 999}) {
    const Tensor eps = Rng(3, Purpose::noise).normal({1, kSide, kSide, 1});
    const Tensor xt = diffusion::q_sample(schedule, tensor(digit), time(t), eps);
    const Tensor output = (*model.network)(xt, time(t), label).value();
    seen.push_back(picture(xt));
    said.push_back(
        picture(diffusion::to_x0(config.prediction_type, schedule, output, xt, time(t))));
  }
  write_rows(folder / "estimate.png", {seen, said});
}

// A row of the ten digits for each of the options.
void digits_by(const fs::path& path, const diffusion::Pipeline& model,
               const std::vector<diffusion::GenerateOptions>& rows) {
  std::vector<std::vector<Picture>> tiles;
  for (diffusion::GenerateOptions options : rows) {
    options.labels = {0, 1, 2, 3, 4, 5, 6, 7, 8, 9};
    options.seed = 4;
    const Tensor drawn = data::to_signed(diffusion::generate(model, options));
    std::vector<Picture>& row = tiles.emplace_back();
    for (std::int64_t i = 0; i < 10; ++i) row.push_back(picture(drawn, i));
  }
  write_rows(path, tiles);
}

// Keeps the outputs of the convolutions: a channel of one of each size, on the way down and up.
class Insides : public Observer {
 public:
  void see(const char* op, std::initializer_list<Var>, const Tensor& y, double) override {
    if (std::string(op) == "conv2d") outputs.push_back(y);
  }
  std::vector<Tensor> outputs;
};

// Channel c of y [1,h,w,C], enlarged to 28 x 28, from its least (-1) to its largest (1) number.
Picture channel(const Tensor& y, std::int64_t c) {
  const std::int64_t h = y.dim(1), channels = y.dim(3);
  const auto values = y.values<float>();
  const auto at = [&](std::int64_t i, std::int64_t j) {
    return double{values[static_cast<std::size_t>((i * h + j) * channels + c)]};
  };
  double least = at(0, 0), largest = least;
  for (std::int64_t i = 0; i < h; ++i)
    for (std::int64_t j = 0; j < h; ++j)
      least = std::min(least, at(i, j)), largest = std::max(largest, at(i, j));
  Picture tile;
  for (std::int64_t i = 0; i < kSide; ++i)
    for (std::int64_t j = 0; j < kSide; ++j)
      tile.push_back(
          2 * (at(i * h / kSide, j * h / kSide) - least) / std::max(largest - least, 1e-9) - 1);
  return tile;
}

// What a U-Net sees inside at t = 300: for the last convolution of each size down, then up, four channels.
void insides(const fs::path& folder, const diffusion::Pipeline& model) {
  NoGrad no_grad;
  const auto schedule = diffusion::make_schedule(model.scheduler);
  const Tensor eps = Rng(3, Purpose::noise).normal({1, kSide, kSide, 1});
  const Tensor xt = diffusion::q_sample(schedule, tensor(exercises::digits(8)[7]), time(300), eps);
  Insides inside;
  (*model.network)(xt, time(300), Tensor::full({1}, 9, DType::i64));
  std::vector<Tensor> last;  // of each run of outputs of one size
  for (const Tensor& y : inside.outputs) {
    if (y.dim(3) < 4) continue;
    if (last.empty() || last.back().dim(1) != y.dim(1)) last.emplace_back();
    last.back() = y;
  }
  std::vector<std::vector<Picture>> rows;
  for (std::int64_t c = 0; c < 4; ++c) {
    std::vector<Picture>& row = rows.emplace_back();
    row.push_back(c == 0 ? picture(xt) : Picture(kSide * kSide, 1.0));
    for (const Tensor& y : last) row.push_back(channel(y, c));
  }
  write_rows(folder / "unet.png", rows);
}

// A filter; its convolution with one lit pixel; and the gradient of the input where one pixel of the output has one.
void filter(const fs::path& folder) {
  const Tensor w = Tensor::from<float>({1, 1, 3, 3}, {1, 1, 1, 0, 0, 1, 0, 0, 1});
  Tensor lit = Tensor::zeros({1, 7, 7, 1});
  lit.values<float>()[3 * 7 + 3] = 1;
  Tensor shown = Tensor::zeros({1, 7, 7, 1});
  for (std::size_t i = 0; i < 9; ++i)
    shown.values<float>()[(2 + i / 3) * 7 + 2 + i % 3] = w.values<float>()[i];
  const Var x(lit, true);
  const Var y = conv2d(x, w, {}, Conv2dOptions::padded(1));
  y.backward(lit);
  write_rows(folder / "filter.png",
             {{channel(shown, 0), channel(lit, 0), channel(y.value(), 0), channel(x.grad(), 0)}});
}

}  // namespace

int main(int argc, char** argv) {
  try {
    if (argc != 3)
      throw Error("lesson_pictures", "expected a model's folder and a folder to write to");
    const fs::path folder = argv[2];
    fs::create_directories(folder);
    const diffusion::Pipeline model = diffusion::load_pipeline(argv[1]);
    forward(folder);
    filter(folder);
    estimates(folder, model);
    insides(folder, model);
    const auto with = [](std::int64_t steps, double guidance) {
      diffusion::GenerateOptions options;
      options.steps = steps;
      options.guidance = guidance;
      return options;
    };
    digits_by(folder / "steps.png", model, {with(1, 1), with(2, 1), with(4, 1), with(20, 1)});
    digits_by(folder / "guidance.png", model, {with(20, 0), with(20, 1), with(20, 2), with(20, 5)});
    return 0;
  } catch (const std::exception& e) {
    fmt::print(stderr, "{}\n", e.what());
    return 1;
  }
}
