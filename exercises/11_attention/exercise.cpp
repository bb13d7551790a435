// Exercise 11: attention. Read README.md beside this file first.
#include "exercise.h"

#include <algorithm>
#include <cmath>

std::vector<double> softmax(const std::vector<double>& scores) {
  double largest = *std::max_element(scores.begin(), scores.end());
  double sum = 0;
  std::vector<double> p;
  for (double score : scores) {
    double e = your_code("e to the score, made small enough not to be infinite");
    p.push_back(e);
    sum += e;
  }
  for (double& p_j : p) {  // & : p_j is the element itself, not a copy
    p_j = your_code("the share of p_j in the sum");
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
          double part =
              your_code("channel c's part of the product of q of token i and k of token j");
          product += part;
        }
        double score = your_code("the product, divided so that it does not grow with d");
        scores.push_back(score);
      }
      std::vector<double> p = softmax(scores);
      for (int j = 0; j < tokens; ++j) {
        for (int c = first; c < first + d; ++c) {
          double part = your_code("what token j adds to channel c of the answer to token i");
          y[i * channels + c] += part;
        }
      }
    }
  }
  return y;
}
