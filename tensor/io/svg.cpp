#include "tensor/io/svg.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <cmath>

namespace sfumato::io {
namespace {

struct Shade {
  const char *name, *light, *dark;
};
constexpr Shade kPaper = {"paper", "#ffffff", "#0d1117"};
constexpr Shade kInks[] = {{"text", "#1f2328", "#e6edf3"},
                           {"quiet", "#6e7781", "#9198a1"},
                           {"grid", "#d8dee4", "#30363d"},
                           {"data", "#8c959f", "#6e7681"}};
// Told apart by people who see fewer colours: after Okabe and Ito (2008), each dark or light enough for its paper.
constexpr std::array<Shade, Svg::kColours> kSeries = {{{"c0", "#0072b2", "#56b4e9"},
                                                       {"c1", "#c2410c", "#ff8c42"},
                                                       {"c2", "#00815f", "#2fd3a5"},
                                                       {"c3", "#a3478c", "#e39ac9"},
                                                       {"c4", "#a16d00", "#f0c24b"},
                                                       {"c5", "#6d4bd1", "#b39dff"},
                                                       {"c6", "#b91c3c", "#ff8093"},
                                                       {"c7", "#4d7c0f", "#a8d94f"}}};

// As strokes (.s) and as fills (.f).
std::string rules(const Shade& shade, const char* colour) {
  return fmt::format(".{0}.s{{stroke:{1}}}.{0}.f{{fill:{1}}}", shade.name, colour);
}

std::string style() {
  std::string light = rules(kPaper, kPaper.light), dark = rules(kPaper, kPaper.dark);
  const auto add = [&](const Shade& shade) {
    light += rules(shade, shade.light);
    dark += rules(shade, shade.dark);
  };
  for (const Shade& shade : kInks) add(shade);
  for (const Shade& shade : kSeries) add(shade);
  return fmt::format(
      "<style>.s{{fill:none;stroke-linecap:round;stroke-linejoin:round}}{}\n"
      "@media (prefers-color-scheme:dark){{{}}}</style>\n",
      light, dark);
}

std::string escaped(std::string_view text) {
  std::string safe;
  for (const char c : text)
    safe += c == '&' ? "&amp;" : c == '<' ? "&lt;" : c == '>' ? "&gt;" : std::string(1, c);
  return safe;
}

bool is_finite(const SvgPoint& p) { return std::isfinite(p.x) && std::isfinite(p.y); }

// A command of a path: "M1.0 2.0".
std::string command(char letter, double x, double y) {
  return fmt::format("{}{:.1f} {:.1f}", letter, x, y);
}

}  // namespace

Svg::Svg(double width, double height)
    : text_(fmt::format("<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"{0}\" height=\"{1}\" "
                        "viewBox=\"0 0 {0} {1}\" font-family=\"system-ui,sans-serif\">\n{2}"
                        "<rect width=\"{0}\" height=\"{1}\" class=\"paper f\"/>\n",
                        width, height, style())) {
  use(Ink::text);
}

void Svg::use(Ink ink, std::size_t series) {
  ink_ = ink == Ink::series ? kSeries[series % kColours].name
                            : kInks[static_cast<std::size_t>(ink)].name;
}

void Svg::words(SvgPoint at, std::string_view text, std::string_view anchor, double size,
                double degrees) {
  const std::string turn =
      degrees == 0 ? ""
                   : fmt::format(" transform=\"rotate({} {:.1f} {:.1f})\"", degrees, at.x, at.y);
  text_ += fmt::format(
      "<text x=\"{:.1f}\" y=\"{:.1f}\" text-anchor=\"{}\" font-size=\"{}\" "
      "class=\"{} f\"{}>{}</text>\n",
      at.x, at.y, anchor, size, ink_, turn, escaped(text));
}

void Svg::path(const std::string& d, std::string_view kind, double width, double opacity) {
  if (d.empty()) return;
  text_ += fmt::format("<path class=\"{} s\" stroke-width=\"{}\"{}{} d=\"{}\"/>\n", ink_, width,
                       kind, opacity < 1 ? fmt::format(" opacity=\"{}\"", opacity) : "", d);
}

void Svg::line(std::span<const SvgPoint> points, double width, bool dashed) {
  std::string d;
  for (const SvgPoint& p : points)
    if (is_finite(p)) d += command(d.empty() ? 'M' : 'L', p.x, p.y);
  path(d, dashed ? " stroke-dasharray=\"2 4\"" : "", width);
}

void Svg::dots(std::span<const SvgPoint> centres, double radius, double opacity) {
  std::string d;  // lines of no length with round ends
  for (const SvgPoint& p : centres)
    if (is_finite(p)) d += command('M', p.x, p.y) + "h0";
  path(d, "", 2 * radius, opacity);
}

void Svg::rings(std::span<const SvgPoint> centres, double radius) {
  for (const SvgPoint& p : centres)
    if (is_finite(p))
      text_ += fmt::format(
          "<circle cx=\"{:.1f}\" cy=\"{:.1f}\" r=\"{}\" class=\"paper f\"/>"
          "<circle cx=\"{:.1f}\" cy=\"{:.1f}\" r=\"{}\" class=\"{} s\"/>\n",
          p.x, p.y, radius, p.x, p.y, radius, ink_);
}

void Svg::arrows(std::span<const SvgPoint> points, double width) {
  std::string d;
  for (std::size_t i = 0; i + 1 < points.size(); i += 2) {
    const SvgPoint a = points[i], b = points[i + 1];
    if (!is_finite(a) || !is_finite(b)) continue;
    const double length = std::hypot(b.x - a.x, b.y - a.y);
    if (length == 0) continue;
    // The head's two lines go back from the tip, half as far to the sides.
    const double head = std::min(3.0, length / 2), ux = (b.x - a.x) / length * head,
                 uy = (b.y - a.y) / length * head;
    d += command('M', a.x, a.y) + command('L', b.x, b.y) +
         command('M', b.x - ux - uy / 2, b.y - uy + ux / 2) + command('L', b.x, b.y) +
         command('L', b.x - ux + uy / 2, b.y - uy - ux / 2);
  }
  path(d, "", width);
}

void Svg::frame(SvgPoint corner, double width, double height) {
  text_ += fmt::format(
      "<rect x=\"{:.1f}\" y=\"{:.1f}\" width=\"{:.1f}\" height=\"{:.1f}\" class=\"{} s\"/>\n",
      corner.x, corner.y, width, height, ink_);
}

void Svg::begin_window(SvgPoint corner, double width, double height) {
  text_ += fmt::format(
      "<svg x=\"{0:.1f}\" y=\"{1:.1f}\" width=\"{2:.1f}\" height=\"{3:.1f}\" "
      "viewBox=\"{0:.1f} {1:.1f} {2:.1f} {3:.1f}\">\n",
      corner.x, corner.y, width, height);
}

void Svg::end_window() { text_ += "</svg>\n"; }

std::string Svg::str() const { return text_ + "</svg>\n"; }

}  // namespace sfumato::io
