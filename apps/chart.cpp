#include "apps/chart.h"

#include <algorithm>

#include "apps/plot.h"
#include "tensor/io/file.h"
#include "tensor/io/svg.h"

namespace sfumato::apps {
namespace {

constexpr std::size_t kMaxPoints = 1500;  // more than a screen can tell apart

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
  const Plot plot{.corner = {64, 40},
                  .width = 640,
                  .height = 316,
                  .x = {.low = 0, .high = points.back().step, .name = "training step"},
                  .y = {.low = low * 0.95, .high = high * 1.05, .log = true},
                  .title = title};
  const auto curve = [&](double CurvePoint::*value) {
    std::vector<io::SvgPoint> line;
    line.reserve(points.size());
    for (const CurvePoint& p : points) line.push_back(plot.at(p.step, p.*value));
    return line;
  };
  io::Svg svg(720, 400);
  plot.draw(svg);
  svg.use(io::Ink::data);
  svg.line(curve(&CurvePoint::loss));
  svg.use(io::Ink::series);
  svg.line(curve(&CurvePoint::smoothed), 2);
  io::write_file_atomic(path, svg.str());
}

}  // namespace sfumato::apps
