#include <vector>

#include "cuda/phases.h"
#include "cuda/runtime.h"
#include "tensor/error.h"

namespace sfumato::cuda {
namespace {
unsigned* all_counters = nullptr;
}

void Phases::prepare() {
  if (all_counters) return;
  const std::vector<unsigned> zeros(kFirstEvent + kEvents);
  const std::size_t bytes = zeros.size() * sizeof(unsigned);
  void* const block = fetch(bytes);
  if (!block) throw Error(name(), "no memory left");
  mark_allocated(block, bytes, bytes);
  copy(block, zeros.data(), bytes);
  synchronize();
  all_counters = static_cast<unsigned*>(block);
}

Phases::Phases(unsigned events) : counters_(all_counters), events_(events) {
  if (events > kEvents) throw Error("phases", "too many events");
}

}  // namespace sfumato::cuda
