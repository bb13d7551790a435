// The table of the reference set.
#include "tensor/kernels/reference.h"

namespace sfumato::kernels::reference {

void fill(Kernels<float>& table) { fill_all(table); }
void fill(Kernels<double>& table) { fill_all(table); }

}  // namespace sfumato::kernels::reference
