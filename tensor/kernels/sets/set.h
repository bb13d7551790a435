// A kernel set: all kernels of one instruction set and number type. Each file of this folder compiles
// one family of its table, or a part of it, so that a change of a header rebuilds that part alone.
// CMake compiles every file once for each set, with the compiler flags of the instruction set,
// SFUMATO_ISA_NAME (which is also the namespace, see base.h) and SFUMATO_NUMBER (float or double).
#pragma once
#include "tensor/kernels/base.h"

namespace sfumato::kernels::SFUMATO_ISA_NAME {

using Number = SFUMATO_NUMBER;

template <class T>
void fill(GemmKernels<T>&);
template <class T>
void fill(ConvKernels<T>&);
template <class T>
void fill(NormKernels<T>&);
template <class T>
void fill(AttentionKernels<T>&);
template <class T>
void fill(PointwiseKernels<T>&);
void fill(Kernels<Number>&);

}  // namespace sfumato::kernels::SFUMATO_ISA_NAME
