#include "apps/chart.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <iterator>

#include "tensor/io/file.h"

namespace sfumato::apps {
namespace {

constexpr double kWidth = 720, kHeight = 400, kLeft = 64, kRight = 16, kTop = 40, kBottom = 44;
constexpr std::size_t kMaxPoints = 1500;  // more than a screen can tell apart

struct Axes {
  double last_step, log_low, log_high;
  double x(double step) const { return kLeft + (kWidth - kLeft - kRight) * step / last_step; }
  double y(double loss) const {
    const double t = (std::log10(loss) - log_low) / (log_high - log_low);
    return kHeight - kBottom - (kHeight - kTop - kBottom) * std::clamp(t, 0.0, 1.0);
  }
};

}  // namespace

void write_loss_curve(const std::filesystem::path& path, const std::string& title,
                      const std::vector<CurvePoint>& all) {
  const std::size_t stride = all.size() / kMaxPoints + 1;
  std::vector<CurvePoint> points;
  for (std::size_t i = 0; i < all.size(); i += stride)
    if (all[i].loss > 0 && all[i].smoothed > 0) points.push_back(all[i]);
  if (points.size() < 2) return;

  double low = points[0].loss, high = low;
  for (const CurvePoint& p : points) {
    low = std::min({low, p.loss, p.smoothed});
    high = std::max({high, p.loss, p.smoothed});
  }
  const Axes axes{points.back().step, std::log10(low) - 0.02, std::log10(high) + 0.02};

  std::string svg = fmt::format(
      "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {0} {1}\" "
      "font-family=\"sans-serif\" "
      "font-size=\"12\">\n<rect width=\"{0}\" height=\"{1}\" fill=\"white\"/>\n"
      "<text x=\"{2}\" y=\"24\" font-size=\"15\">{3}</text>\n",
      kWidth, kHeight, kLeft, title);
  auto out = std::back_inserter(svg);
  for (int decade = -6; decade <= 3; ++decade)
    for (int m : {1, 2, 5}) {
      const double value = m * std::pow(10, decade), log = std::log10(value);
      if (log < axes.log_low || log > axes.log_high) continue;
      fmt::format_to(
          out,
          "<line x1=\"{0}\" x2=\"{1}\" y1=\"{2:.1f}\" y2=\"{2:.1f}\" stroke=\"#e4e4e4\"/>"
          "<text x=\"{3}\" y=\"{4:.1f}\" text-anchor=\"end\">{5:g}</text>\n",
          kLeft, kWidth - kRight, axes.y(value), kLeft - 8, axes.y(value) + 4, value);
    }
  for (int i = 0; i <= 4; ++i) {
    const double step = axes.last_step * i / 4;
    fmt::format_to(out, "<text x=\"{:.1f}\" y=\"{}\" text-anchor=\"middle\">{:.0f}</text>\n",
                   axes.x(step), kHeight - kBottom + 18, step);
  }
  fmt::format_to(out, "<text x=\"{}\" y=\"{}\" text-anchor=\"middle\">training step</text>\n",
                 kWidth / 2, kHeight - 8);
  auto line = [&](auto value, const char* colour, double width) {
    fmt::format_to(out, "<polyline fill=\"none\" stroke=\"{}\" stroke-width=\"{}\" points=\"",
                   colour, width);
    for (const CurvePoint& p : points)
      fmt::format_to(out, "{:.1f},{:.1f} ", axes.x(p.step), axes.y(value(p)));
    svg += "\"/>\n";
  };
  line([](const CurvePoint& p) { return p.loss; }, "#b9cbe4", 1);
  line([](const CurvePoint& p) { return p.smoothed; }, "#1f4e9c", 2);
  svg += "</svg>\n";
  io::write_file_atomic(path, svg);
}

}  // namespace sfumato::apps
