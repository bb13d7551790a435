// Exercise 11: what you write in exercise.cpp.
#pragma once
#include <vector>

#include "common/your_code.h"

// e^{score_j} / Σ_k e^{score_k}, for scores of any size: 1000 is no problem.
std::vector<double> softmax(const std::vector<double>& scores);

// Self-attention: softmax(q kᵀ / √d) v for each head, where d = channels / heads. q, k, v and the result are
// [tokens, channels], row after row; head number m has the channels m d .. m d + d − 1.
std::vector<double> attention(const std::vector<double>& q, const std::vector<double>& k,
                              const std::vector<double>& v, int tokens, int channels, int heads);
