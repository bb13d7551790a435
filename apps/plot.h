// Frames with two axes, in a drawing.
#pragma once
#include <string>
#include <vector>

#include "tensor/io/svg.h"

namespace sfumato::apps {

// The numbers of an axis, and whether its marks are even in them or in their logarithms.
struct Axis {
  double low, high;  // low < high; above 0 if `log`
  bool log = false;
  std::string name = {};  // empty: none is written
  // Where `v` stands between the ends: 0 at `low`, 1 at `high`.
  double share(double v) const;
};

struct Plot {
  io::SvgPoint corner;  // of the frame, at the top left
  double width, height;
  Axis x, y;
  std::string title = {};

  io::SvgPoint at(double x_value, double y_value) const;
  // Frame, title, and grid lines with their numbers.
  void draw(io::Svg& svg) const;
};

// Marks of an axis: even ones of 1, 2 or 5 times a power of ten; or, of a logarithmic one, powers of ten, where these are few
// also 2 and 5 times them, and even ones where these are few too.
std::vector<double> ticks(const Axis& axis);

}  // namespace sfumato::apps
