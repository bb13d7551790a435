#include <new>
#include <utility>

#include "cuda/block.h"
#include "cuda/index_check.h"
#include "cuda/launch.h"
#include "tensor/error.h"

namespace sfumato::cuda {
namespace {

// The note, where the CPU and kernels can write. Its `op` is null while there is no fault.
IndexFault* note() {
  static auto* const instance = new (fetch_pinned(sizeof(IndexFault))) IndexFault{};
  return instance;
}

// One block. Texts are addresses of the CPU's memory, which the kernel only copies: it gets them as numbers.
struct CheckIndices {
  static constexpr int kThreads = 256, kWarps = kThreads / 32;
  struct Shared {
    std::int64_t first[kWarps];
  };
  std::int64_t n;
  const std::int64_t* x;
  std::int64_t end;
  std::uint64_t op, what;  // plus 2^63, so that nobody takes them for addresses
  IndexFault* note;

  __device__ void operator()() const {
    std::int64_t first = n;
    for (std::int64_t i = n - 1 - threadIdx.x; i >= 0; i -= kThreads)
      if (x[i] < 0 || x[i] >= end) first = i;
    first = -warp_max(-first);
    auto& firsts = shared<Shared>().first;
    if (threadIdx.x % 32 == 0) firsts[threadIdx.x / 32] = first;
    __syncthreads();
    if (threadIdx.x != 0) return;
    for (int warp = 1; warp < kWarps; ++warp) first = firsts[warp] < first ? firsts[warp] : first;
    if (first == n || note->op) return;
    *note = {reinterpret_cast<const char*>(op - kFlag), reinterpret_cast<const char*>(what - kFlag),
             x[first], end};
  }

  static constexpr std::uint64_t kFlag = std::uint64_t{1} << 63;
  static std::uint64_t number(const char* text) {
    return reinterpret_cast<std::uint64_t>(text) + kFlag;
  }
};

}  // namespace

void check_indices(std::int64_t n, const std::int64_t* x, IndexFault check) {
  if (n > 0)
    launch({1}, CheckIndices{n, x, check.end, CheckIndices::number(check.op),
                             CheckIndices::number(check.what), note()});
}

void throw_index_fault() {
  if (!note()->op) return;
  const IndexFault fault = std::exchange(*note(), IndexFault{});
  throw Error(fault.op, fault.message());
}

}  // namespace sfumato::cuda
