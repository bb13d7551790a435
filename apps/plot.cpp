#include "apps/plot.h"

#include <fmt/format.h>

#include <cmath>

namespace sfumato::apps {
namespace {

std::vector<double> even_ticks(const Axis& axis) {
  const double rough = (axis.high - axis.low) / 5,
               unit = std::pow(10, std::floor(std::log10(rough)));
  const double step = rough <= 2 * unit ? 2 * unit : rough <= 5 * unit ? 5 * unit : 10 * unit;
  std::vector<double> marks;
  const double slack = step * 1e-9;
  for (double k = std::ceil((axis.low - slack) / step); k * step <= axis.high + slack; ++k)
    marks.push_back(k * step + 0.0);  // 0, never -0
  return marks;
}

std::vector<double> log_ticks(const Axis& axis) {
  std::vector<double> marks;
  const double decades = std::log10(axis.high / axis.low);
  const double every = std::ceil(decades / 8);  // at most about eight numbers
  for (double decade = std::floor(std::log10(axis.low)); decade <= std::log10(axis.high); ++decade)
    for (const int m : {1, 2, 5}) {
      const double value = m * std::pow(10, decade);
      const bool wanted = m == 1 ? std::fmod(decade, every) == 0 : decades < 2.5;
      if (wanted && value >= axis.low * (1 - 1e-9) && value <= axis.high * (1 + 1e-9))
        marks.push_back(value);
    }
  return marks;
}

}  // namespace

double Axis::share(double v) const {
  return log ? std::log(v / low) / std::log(high / low) : (v - low) / (high - low);
}

std::vector<double> ticks(const Axis& axis) {
  if (!axis.log) return even_ticks(axis);
  const std::vector<double> marks = log_ticks(axis);
  return marks.size() > 2 ? marks : even_ticks(axis);
}

io::SvgPoint Plot::at(double x_value, double y_value) const {
  return {corner.x + width * x.share(x_value), corner.y + height * (1 - y.share(y_value))};
}

void Plot::draw(io::Svg& svg) const {
  const double right = corner.x + width, bottom = corner.y + height;
  const auto number = [](double v) { return fmt::format("{:.4g}", v); };
  for (const double mark : ticks(x)) {
    const double at_x = corner.x + width * x.share(mark);
    const io::SvgPoint line[] = {{at_x, corner.y}, {at_x, bottom}};
    svg.use(io::Ink::grid);
    svg.line(line);
    svg.use(io::Ink::quiet);
    svg.words({at_x, bottom + 14}, number(mark), "middle", 10);
  }
  for (const double mark : ticks(y)) {
    const double at_y = corner.y + height * (1 - y.share(mark));
    const io::SvgPoint line[] = {{corner.x, at_y}, {right, at_y}};
    svg.use(io::Ink::grid);
    svg.line(line);
    svg.use(io::Ink::quiet);
    svg.words({corner.x - 5, at_y + 3.5}, number(mark), "end", 10);
  }
  svg.use(io::Ink::quiet);
  svg.frame(corner, width, height);
  svg.use(io::Ink::text);
  if (!title.empty()) svg.words({corner.x, corner.y - 8}, title, "start", 13);
  if (!x.name.empty()) svg.words({corner.x + width / 2, bottom + 32}, x.name, "middle", 11);
  if (!y.name.empty()) svg.words({corner.x - 44, corner.y + height / 2}, y.name, "middle", 11, -90);
}

}  // namespace sfumato::apps
