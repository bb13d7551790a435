#include <cstring>

#include "cuda/copy.h"
#include "cuda/launch.h"

namespace sfumato::cuda {
namespace {

struct Letter {
  static constexpr int kThreads = 256;
  unsigned char* to;
  int bytes;
  unsigned char content[kThreads];

  __device__ void operator()() const {
    const int i = static_cast<int>(threadIdx.x);
    if (i < bytes) to[i] = content[i];
  }
};

}  // namespace

void copy_between(Device to, void* destination, Device from, const void* source,
                  std::size_t bytes) {
  if (bytes == 0) return;
  if (to == Device::cpu || from != Device::cpu || bytes > Letter::kThreads) {
    copy(destination, source, bytes);
    if (to == Device::cpu || from == Device::cpu) synchronize();
    return;
  }
  Letter letter{static_cast<unsigned char*>(destination), static_cast<int>(bytes), {}};
  std::memcpy(letter.content, source, bytes);
  launch({1}, letter);
}

}  // namespace sfumato::cuda
