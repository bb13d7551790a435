#include "06_guidance/exercise.h"

std::vector<int> hide_labels(const std::vector<int>& labels, int null_label, double p,
                             const std::vector<double>& uniform) {
  std::vector<int> shown = labels;
  for (std::size_t i = 0; i < shown.size(); ++i) {
    bool hide = uniform[i] < p;
    if (hide) {
      shown[i] = null_label;
    }
  }
  return shown;
}

double guided(double eps_cond, double eps_uncond, double w) {
  return eps_uncond + w * (eps_cond - eps_uncond);
}

double guided_answer(const Network& network, double x_t, int t, int label, int null_label,
                     double w) {
  double eps_cond = network(x_t, t, label);
  double eps_uncond = network(x_t, t, null_label);
  return guided(eps_cond, eps_uncond, w);
}
