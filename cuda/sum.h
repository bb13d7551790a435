// The sums of kernels.h on a GPU. They are taken in double, in an order that the sizes alone decide; nothing is added
// atomically.
#pragma once
#include "cuda/channels.h"

namespace sfumato::cuda {

template <class T>
void sum(index n, const T* x, double* out);
template <class T>
void sum_of_squares(index n, const T* x, double* out);
template <class T>
void sum_rows(index outer, index rows, index cols, const T* x, Wide<T>* out);
// Of one matrix, x[rows, columns of out]; the sums may go to two arrays.
template <class T>
void sum_rows(index rows, const double* x, const Channels<T>& out);

}  // namespace sfumato::cuda
