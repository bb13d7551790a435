// The sums of kernels.h on a GPU. They are taken in double, in an order that the sizes alone decide; nothing is added
// atomically.
#pragma once
#include "tensor/kernels/kernels.h"

namespace sfumato::cuda {

using kernels::index;

template <class T>
void sum(index n, const T* x, double* out);
template <class T>
void sum_of_squares(index n, const T* x, double* out);
template <class T>
void sum_rows(index outer, index rows, index cols, const T* x, Wide<T>* out);

}  // namespace sfumato::cuda
