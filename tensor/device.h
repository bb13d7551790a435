// Where the elements of a tensor are: in the memory of the CPU or of a GPU.
#pragma once
#include <cstdint>
#include <string>
#include <string_view>

namespace sfumato {

// A process uses one GPU, which use_device() chooses. (Several GPUs are several processes.)
enum class Device : std::uint8_t { cpu, cuda };

// "cpu", "cuda:0". Throws Error for a GPU that this build has no support for.
std::string name(Device device);

// The device called "cpu", "cuda" (the same as "cuda:0") or "cuda:N"; "auto" is the first GPU if it can be used,
// otherwise the CPU. Throws Error, saying why, when the device cannot be used: this build has no CUDA, there is no
// driver, no such GPU, or it is too old. A process may ask again, but not for another GPU. One thread at a time.
Device use_device(std::string_view name);

// Whether products of f32 may round their factors to 11 bits (TF32), which tensor cores multiply several times
// faster. At first they may not. Recordings (recorded.h) stay as they were recorded. The CPU, which has no TF32, ignores it.
void allow_tf32(Device device, bool allow);
constexpr bool has_tf32(Device device) { return device != Device::cpu; }
// Whether a Recorded (recorded.h) is replayed there, in which nothing may be computed on the CPU.
constexpr bool is_recorded(Device device) { return device != Device::cpu; }

// Waits until the device has done all it was asked to do. Throws Error for what went wrong there meanwhile.
void synchronize(Device device);

}  // namespace sfumato
