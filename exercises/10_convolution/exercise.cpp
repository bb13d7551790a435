// Exercise 10: a convolution, three times, faster each time. Read README.md beside this file first.
#include "exercise.h"

void conv_naive(const float* x, const float* w, float* y, const Sizes& s) {
  for (int i = 0; i < s.height; ++i) {
    for (int j = 0; j < s.width; ++j) {
      for (int o = 0; o < s.out; ++o) {
        float sum = 0;
        for (int a = 0; a < 3; ++a) {
          for (int b = 0; b < 3; ++b) {
            for (int c = 0; c < s.in; ++c) {
              float pixel = your_code(
                  "x(i + a, j + b, c): a row of x has width + 2 pixels, a pixel `in` numbers");
              float weight = your_code("w(a, b, c, o)");
              sum += pixel * weight;
            }
          }
        }
        y[(i * s.width + j) * s.out + o] = sum;
      }
    }
  }
}

void conv_blocked(const float* x, const float* w, float* y, const Sizes& s) {
  for (int i = 0; i < s.height; ++i) {
    for (int j = 0; j < s.width; j += 4) {
      for (int o = 0; o < s.out; o += 16) {
        float sum[4][16] = {};  // of pixels j .. j + 3 and channels o .. o + 15; all 0
        for (int a = 0; a < 3; ++a) {
          for (int b = 0; b < 3; ++b) {
            for (int c = 0; c < s.in; ++c) {
              const float* weights =
                  &w[((a * 3 + b) * s.in + c) * s.out + o];  // 16 of them, side by side
              for (int p = 0; p < 4; ++p) {
                float pixel = your_code("as above, for pixel j + p");
                for (int k = 0; k < 16; ++k) {
                  float product = your_code("what it adds to channel o + k");
                  sum[p][k] += product;
                }
              }
            }
          }
        }
        for (int p = 0; p < 4; ++p) {
          for (int k = 0; k < 16; ++k) y[(i * s.width + j + p) * s.out + o + k] = sum[p][k];
        }
      }
    }
  }
}

void conv_vectorised(const float* x, const float* w, float* y, const Sizes& s) {
  for (int i = 0; i < s.height; ++i) {
    for (int j = 0; j < s.width; j += 4) {
      for (int o = 0; o < s.out; o += 16) {
        Vector sum[4][2] = {};
        for (int a = 0; a < 3; ++a) {
          for (int b = 0; b < 3; ++b) {
            for (int c = 0; c < s.in; ++c) {
              const float* weights = &w[((a * 3 + b) * s.in + c) * s.out + o];
              Vector first = *(const Vector*)weights;         // channels o .. o + 7
              Vector second = *(const Vector*)(weights + 8);  // o + 8 .. o + 15
              for (int p = 0; p < 4; ++p) {
                float pixel = your_code("as above");
                Vector product_1 = your_code("pixel times the first 8 weights: one multiplication");
                Vector product_2 = your_code("pixel times the second 8");
                sum[p][0] += product_1;
                sum[p][1] += product_2;
              }
            }
          }
        }
        for (int p = 0; p < 4; ++p) {
          float* to = &y[(i * s.width + j + p) * s.out + o];
          *(Vector*)to = sum[p][0];
          *(Vector*)(to + 8) = sum[p][1];
        }
      }
    }
  }
}
