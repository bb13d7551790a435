// Drawings as SVG text: lines, dots, arrows and words in a few inks, which have a shade each for a light and for a dark page.
// A viewer that does not know of pages, or of style sheets' media, shows the light ones. The text is a function of the calls:
// coordinates are written with one digit after the point.
#pragma once
#include <cstddef>
#include <span>
#include <string>
#include <string_view>

namespace sfumato::io {

struct SvgPoint {
  double x, y;  // in pixels, y down
};

// What is drawn with: words and axes, what stands back (grids, and points of data), or a colour of a series.
enum class Ink : unsigned char { text, quiet, grid, data, series };

class Svg {
 public:
  static constexpr std::size_t kColours = 8;

  // The paper, as large as that.
  Svg(double width, double height);

  // The ink of what follows; series `i` has colour i modulo kColours.
  void use(Ink ink, std::size_t series = 0);

  // anchor: start, middle or end, where (x, y) is on the words' line; turned by `degrees` about it.
  void words(SvgPoint at, std::string_view text, std::string_view anchor = "start",
             double size = 12, double degrees = 0);
  // Points that are not finite are left out, of these and of the following.
  void line(std::span<const SvgPoint> points, double width = 1, bool dashed = false);
  void dots(std::span<const SvgPoint> centres, double radius, double opacity = 1);
  // Circles with paper inside.
  void rings(std::span<const SvgPoint> centres, double radius);
  // From points[2 i] to points[2 i + 1].
  void arrows(std::span<const SvgPoint> points, double width = 1);
  void frame(SvgPoint corner, double width, double height);

  // What is drawn between the two is cut off at the frame's sides.
  void begin_window(SvgPoint corner, double width, double height);
  void end_window();

  // The whole file.
  std::string str() const;

 private:
  void path(const std::string& d, std::string_view kind, double width, double opacity = 1);

  std::string text_, ink_;
};

}  // namespace sfumato::io
