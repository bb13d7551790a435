#include <algorithm>
#include <cmath>

#include "11_attention/exercise.h"

std::vector<double> softmax(const std::vector<double>& scores) {
  double largest = *std::max_element(scores.begin(), scores.end());
  double sum = 0;
  std::vector<double> p;
  for (double score : scores) {
    double e = std::exp(score - largest);
    p.push_back(e);
    sum += e;
  }
  for (double& p_j : p) {  // & : p_j is the element itself, not a copy
    p_j = p_j / sum;
  }
  return p;
}

std::vector<double> attention(const std::vector<double>& q, const std::vector<double>& k,
                              const std::vector<double>& v, int tokens, int channels, int heads) {
  int d = channels / heads;
  std::vector<double> y(tokens * channels);  // zeros
  for (int head = 0; head < heads; ++head) {
    int first = head * d;               // of the head's channels
    for (int i = 0; i < tokens; ++i) {  // token i asks
      std::vector<double> scores;
      for (int j = 0; j < tokens; ++j) {  // token j answers
        double product = 0;
        for (int c = first; c < first + d; ++c) {
          double part = q[i * channels + c] * k[j * channels + c];
          product += part;
        }
        double score = product / std::sqrt(double(d));
        scores.push_back(score);
      }
      std::vector<double> p = softmax(scores);
      for (int j = 0; j < tokens; ++j) {
        for (int c = first; c < first + d; ++c) {
          double part = p[j] * v[j * channels + c];
          y[i * channels + c] += part;
        }
      }
    }
  }
  return y;
}
