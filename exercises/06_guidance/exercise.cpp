// Exercise 6: guidance, or how to ask for a seven. Read README.md beside this file first.
#include "exercise.h"

std::vector<int> hide_labels(const std::vector<int>& labels, int null_label, double p,
                             const std::vector<double>& uniform) {
  std::vector<int> shown = labels;  // a copy
  for (std::size_t i = 0; i < shown.size(); ++i) {
    bool hide = your_code("whether to hide label i: true with probability p");
    if (hide) {
      shown[i] = null_label;
    }
  }
  return shown;
}

double guided(double eps_cond, double eps_uncond, double w) {
  return your_code("from eps_uncond, w times the way to eps_cond");
}

double guided_answer(const Network& network, double x_t, int t, int label, int null_label,
                     double w) {
  double eps_cond = your_code("the network's answer with the label");
  double eps_uncond = your_code("its answer without: with the null label");
  return guided(eps_cond, eps_uncond, w);
}
