// Exercise 6: what you write in exercise.cpp.
#pragma once
#include <functional>
#include <vector>

#include "common/your_code.h"

// A network that is also told what the picture should show: (x_t, t, label) -> the noise, a number (for one pixel).
using Network = std::function<double(double x_t, int t, int label)>;

// For training: each label is replaced by null_label where its number in `uniform`, which is ~ U[0, 1), is below p.
std::vector<int> hide_labels(const std::vector<int>& labels, int null_label, double p,
                             const std::vector<double>& uniform);

// Guidance: ε = ε_u + w (ε_c − ε_u), from the answer with the label, eps_cond, and the one without, eps_uncond.
double guided(double eps_cond, double eps_uncond, double w);

// The guided answer of a network about x_t: it is asked twice, with `label` and with `null_label`.
double guided_answer(const Network& network, double x_t, int t, int label, int null_label,
                     double w);
