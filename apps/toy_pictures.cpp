#include "apps/toy_pictures.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>

#include "apps/plot.h"
#include "diffusion/forward.h"
#include "tensor/rng.h"

namespace sfumato::apps {
namespace {

using diffusion::NoiseLevel, diffusion::Path, io::Ink, io::SvgPoint;
using Points = std::vector<SvgPoint>;

constexpr double kPanel = 220, kPanelGap = 46, kMargin = 40;
constexpr std::size_t kColumns = 4, kPaths = 60, kShownData = 1500;

// Square panels, row by row; `low` to `high` along both axes.
struct Panels {
  std::size_t count, columns;
  double reach;  // the axes go from -reach to reach

  double width() const { return kMargin + static_cast<double>(columns) * (kPanel + kPanelGap) - 6; }
  double height() const {
    const std::size_t rows = (count + columns - 1) / columns;
    return 52 + static_cast<double>(rows) * (kPanel + 52);
  }
  Plot operator[](std::size_t i) const {
    const std::size_t line = i / columns;
    const auto column = static_cast<double>(i % columns), row = static_cast<double>(line);
    const Axis axis{-reach, reach};
    return {{kMargin + column * (kPanel + kPanelGap), 66 + row * (kPanel + 52)},
            kPanel,
            kPanel,
            axis,
            axis};
  }
};

// Rows of as many panels as possible each.
Panels panels(std::size_t count, double reach) {
  const std::size_t rows = (count + kColumns - 1) / kColumns;
  return {count, (count + rows - 1) / rows, reach};
}

Points points_of(const Tensor& x) {
  const Tensor values = x.to(DType::f64);
  Points points;
  for (std::int64_t i = 0; i < values.size(); i += 2)
    points.push_back({values.data<double>()[i], values.data<double>()[i + 1]});
  return points;
}

// The first `count` points, where they are in the plot.
Points placed(const Plot& plot, const Points& points, std::size_t count) {
  Points at;
  for (std::size_t i = 0; i < std::min(count, points.size()); ++i)
    at.push_back(plot.at(points[i].x, points[i].y));
  return at;
}

io::Svg begin(const Panels& panels, const std::string& heading) {
  io::Svg svg(panels.width(), panels.height());
  svg.words({kMargin, 26}, heading, "start", 16);
  return svg;
}

template <class Draw>
void in_window(io::Svg& svg, const Plot& plot, Draw draw) {
  svg.begin_window(plot.corner, plot.width, plot.height);
  draw();
  svg.end_window();
}

std::string title_of(const ToyWalk& walk) {
  return fmt::format("{}, {:.0f} evaluations", walk.name, walk.measure.evaluations);
}

}  // namespace

std::string samples_picture(const ToyResult& r) {
  const Panels all = panels(r.walks.size() + 1, 2);
  io::Svg svg = begin(all, fmt::format("{}: data, and what samplers draw", r.name));
  for (std::size_t i = 0; i < all.count; ++i) {
    Plot plot = all[i];
    plot.title = i == 0 ? "data" : title_of(r.walks[i - 1]);
    plot.draw(svg);
    const Points points = i == 0 ? points_of(r.data) : r.walks[i - 1].path.back();
    svg.use(i == 0 ? Ink::data : Ink::series, i - 1);
    in_window(svg, plot, [&] { svg.dots(placed(plot, points, kShownData), 1.2, 0.7); });
  }
  return svg.str();
}

std::string trajectories_picture(const ToyResult& r) {
  const Panels all = panels(r.walks.size(), 3);
  io::Svg svg = begin(all, fmt::format("{}: from noise (rings) to data (dots)", r.name));
  for (std::size_t i = 0; i < all.count; ++i) {
    Plot plot = all[i];
    const ToyWalk& walk = r.walks[i];
    plot.title = title_of(walk);
    plot.draw(svg);
    in_window(svg, plot, [&] {
      svg.use(Ink::data);
      svg.dots(placed(plot, points_of(r.data), kShownData), 1, 0.35);
      svg.use(Ink::series, i);
      for (std::size_t k = 0; k < std::min(kPaths, walk.path[0].size()); ++k) {
        Points line;
        for (const Points& step : walk.path) line.push_back(plot.at(step[k].x, step[k].y));
        svg.line(line, 0.8);
      }
      svg.rings(placed(plot, walk.path.front(), kPaths), 1.8);
      svg.dots(placed(plot, walk.path.back(), kPaths), 2);
    });
  }
  return svg.str();
}

namespace {

// Arrows along the score in DDPM's process, as long as the root of its size, on a grid of kCells x kCells.
Points score_arrows(const Plot& plot, double reach, const NoiseLevel& level,
                    const diffusion::toy::Answer& answer) {
  constexpr std::int64_t kCells = 19;
  Tensor grid({kCells * kCells, 2}, DType::f64);
  double* to = grid.data<double>();
  for (std::int64_t row = 0; row < kCells; ++row)
    for (std::int64_t column = 0; column < kCells; ++column)
      for (const std::int64_t k : {column, row})
        *to++ = reach * ((2.0 * static_cast<double>(k) + 1) / kCells - 1);
  // x of the schedule's process at the same signal-to-noise ratio.
  const double size = Path::variance_preserving.size(level);
  using diffusion::operator*;
  const Tensor xt = size * grid + 0.0 * grid;
  const Points at = points_of(grid), eps = points_of(answer(level, xt).eps);
  double largest = 0;
  for (const SvgPoint& e : eps) largest = std::max(largest, std::hypot(e.x, e.y));
  Points arrows;
  for (std::size_t i = 0; i < at.size(); ++i) {
    const SvgPoint start = plot.at(at[i].x, at[i].y);
    const double length = std::hypot(eps[i].x, eps[i].y);
    const double pixels = 1.3 * kPanel / kCells * std::sqrt(length / largest);
    arrows.push_back(start);
    arrows.push_back({start.x - pixels * eps[i].x / length, start.y + pixels * eps[i].y / length});
  }
  return arrows;
}

}  // namespace

std::string score_picture(const ToyResult& r) {
  constexpr double kSigmas[] = {1.5, 0.5, 0.15}, kReach = 2.4;
  const Panels all{3 * r.answers.size(), 3, kReach};
  io::Svg svg = begin(all, fmt::format("{}: the score at three levels of noise, over x_t", r.name));
  for (std::size_t i = 0; i < all.count; ++i) {
    const diffusion::toy::Answer& answer = r.answers[i / 3].second;
    const double sigma = kSigmas[i % 3];
    const NoiseLevel level = r.schedule.path->at_sigma(sigma);
    Plot plot = all[i];
    plot.title = fmt::format("{}, σ / a = {}, t = {:.0f}", r.answers[i / 3].first, sigma,
                             r.schedule.time_at(level));
    plot.draw(svg);
    const auto [signal, noise] =
        diffusion::levels(diffusion::variance_preserving(level.alpha_bar()));
    const Tensor eps = Rng(0, Purpose::noise).normal(r.data.shape());
    const Points xt = points_of(diffusion::q_sample({signal, noise}, r.data, eps));
    in_window(svg, plot, [&] {
      svg.use(Ink::data);
      svg.dots(placed(plot, xt, kShownData), 1, 0.5);
      svg.use(Ink::series, i / 3);
      svg.arrows(score_arrows(plot, kReach, level, answer), 1);
    });
  }
  return svg.str();
}

namespace {

// An axis from the smallest to the largest of the positive numbers, and a little further.
Axis log_axis(const std::vector<double>& values, const std::string& name) {
  double low = INFINITY, high = 0;
  for (const double v : values) {
    if (!(v > 0 && std::isfinite(v))) continue;
    low = std::min(low, v);
    high = std::max(high, v);
  }
  if (high == 0) low = high = 1;
  return {low / 1.3, high * 1.3, true, name};
}

double error_of(const ToyMeasure& m) { return m.error.value_or(0); }
double distance_of(const ToyMeasure& m) { return m.distance; }

// A line a sampler: `of` each measure over its evaluations.
template <class Of>
void draw_lines(io::Svg& svg, const ToyResult& r, Plot plot, const std::string& name, Of of) {
  std::vector<double> xs, ys;
  for (const ToyWalk& walk : r.walks)
    for (const ToyMeasure& m : walk.sweep) {
      if (!(of(m) > 0)) continue;
      xs.push_back(m.evaluations);
      ys.push_back(of(m));
    }
  plot.x = log_axis(xs, "evaluations");
  plot.y = log_axis(ys, name);
  plot.draw(svg);
  for (std::size_t i = 0; i < r.walks.size(); ++i) {
    Points line;
    for (const ToyMeasure& m : r.walks[i].sweep)
      if (of(m) > 0) line.push_back(plot.at(m.evaluations, of(m)));
    svg.use(Ink::series, i);
    svg.line(line, 1.6);
    svg.dots(line, 2.5);
  }
}

}  // namespace

std::string error_picture(const ToyResult& r) {
  constexpr double kSide = 300, kLegend = 850, kLine = 18;
  const double height = std::max(430.0, 90 + kLine * static_cast<double>(r.walks.size() + 1));
  io::Svg svg(1040, height);
  svg.words({70, 26}, fmt::format("{}: what evaluations of the network buy", r.name), "start", 16);
  const Plot left{{70, 66}, kSide, kSide, {}, {}, "mean distance from the exact flow"};
  const Plot right{{490, 66}, kSide, kSide, {}, {}, "sliced Wasserstein distance to data"};
  draw_lines(svg, r, left, "error", error_of);
  draw_lines(svg, r, right, "distance", distance_of);
  double y = 76;
  for (std::size_t i = 0; i < r.walks.size(); ++i, y += kLine) {
    const ToyWalk& walk = r.walks[i];
    const SvgPoint line[] = {{kLegend - 30, y - 4}, {kLegend - 8, y - 4}};
    svg.use(Ink::series, i);
    svg.line(line, 2);
    svg.use(Ink::text);
    svg.words({kLegend, y},
              walk.slope ? fmt::format("{}, slope {:.2f}", walk.name, *walk.slope) : walk.name);
  }
  svg.use(Ink::quiet);
  svg.words({kLegend - 30, y + 8}, fmt::format("two draws of the data: {:.3f}", r.floor), "start",
            11);
  return svg.str();
}

}  // namespace sfumato::apps
