// The loss curve as SVG.
#pragma once
#include <filesystem>
#include <string>
#include <vector>

namespace sfumato::apps {

struct CurvePoint {
  double step, loss, smoothed;
};

// Loss (log scale) over steps: the raw values as a faint line, the smoothed ones on top. Replaced
// atomically. Fewer than two points: nothing is written.
void write_loss_curve(const std::filesystem::path& path, const std::string& title,
                      const std::vector<CurvePoint>& points);

}  // namespace sfumato::apps
