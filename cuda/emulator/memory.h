// The memory of the emulated device: a range of addresses that only kernels and copies may touch.
#pragma once
#include <cstddef>
#include <cstdint>

namespace sfumato::cuda::emulator {

inline constexpr std::size_t kRoom = std::size_t{64}
                                     << 30;  // bytes, none of them in use before they are touched

bool is_device_address(std::uintptr_t address);
// nullptr if there is not so much left.
void* fetch(std::size_t bytes);
std::size_t fetched();  // bytes

// Memory that both the CPU and kernels may touch at any time.
void* fetch_pinned(std::size_t bytes);

// The device's memory may be touched while one of these lives.
class Access {
 public:
  Access();
  ~Access();
  Access(const Access&) = delete;
  Access& operator=(const Access&) = delete;
};

}  // namespace sfumato::cuda::emulator
