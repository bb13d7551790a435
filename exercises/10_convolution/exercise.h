// Exercise 10: what you write in exercise.cpp.
#pragma once
#include "common/your_code.h"

// A 3x3 convolution with stride 1. All lists lie row after row, channels innermost:
//   x [height + 2, width + 2, in]   the picture, with a border of zeros around it
//   w [3, 3, in, out]               the filters
//   y [height, width, out]          the result: y(i, j, o) = Σ over a, b, c of x(i + a, j + b, c) w(a, b, c, o)
// `out` is a multiple of 16, `width` one of 4. What is in y before does not matter.
struct Sizes {
  int height, width, in, out;
};

// As the formula says, one sum after the other.
void conv_naive(const float* x, const float* w, float* y, const Sizes& s);
// The same with the sums of 4 pixels x 16 channels at once, kept in local variables.
void conv_blocked(const float* x, const float* w, float* y, const Sizes& s);
// The same with vectors: one instruction for 8 channels.
void conv_vectorised(const float* x, const float* w, float* y, const Sizes& s);

// 8 floats as one value: a + b, a * b work on all of them.
typedef float Vector __attribute__((vector_size(32), aligned(4), may_alias));
