// The instruction set in use: the best that this machine has, or the one SFUMATO_ISA names.
#pragma once
#include <string>
#include <vector>

namespace sfumato {

// reference: plain loops (kernels/reference.h), never chosen unless named. generic: what every
// processor of the family has; SSE2 on x86-64, NEON on AArch64 (and so named). f64, which is for
// gradient checks, is computed by generic's kernels under avx2 and avx512 too.
enum class Isa { reference, generic, avx2, avx512 };

const char* name(Isa isa);
// Sets compiled in that this machine can run, slowest first; reference and generic always.
std::vector<Isa> available_isas();
// Throws Error when SFUMATO_ISA names a set unknown or not available here.
Isa isa();
// For tests and benches. Throws Error when not available. Not to be called while kernels run.
void set_isa(Isa isa);

}  // namespace sfumato
