// What is asked of the CUDA runtime: runtime.cu asks NVIDIA's, emulator/runtime.cpp pretends. All work goes through one
// stream, in the order in which it is asked for. One thread at a time may ask. Functions throw Error when the device
// fails.
#pragma once
#include <cstddef>
#include <cstdint>
#include <string>

#include "tensor/device.h"
#if defined(SFUMATO_CUDA_EMULATED)
#include <functional>
#else
#include <cuda_runtime.h>
#endif

namespace sfumato::cuda {

// Takes GPU `index`. Returns why it cannot be used, or an empty string.
std::string use(int index);
std::string name();  // "cuda:0"

// Fresh memory of the device, aligned to 256 bytes, which is never given back. Null if there is none left.
void* fetch(std::size_t bytes);
// Memory of the CPU that kernels may read and write too, never given back. Throws Error if there is none left.
void* fetch_pinned(std::size_t bytes);
struct MemoryInfo {
  std::size_t free, total;  // bytes
};
MemoryInfo memory_info();

// In the order of the device's work. Where one side is the CPU's memory, the caller waits before that memory is used again.
void copy(void* destination, const void* source, std::size_t bytes);
// Waits for all work. Throws Error inside a recording, where nothing is done.
void synchronize();

// Work asked for between these two is not done but kept; each replay() does it.
class Recording;
void start_recording();
Recording* stop_recording();
void replay(const Recording* recording);
void forget(Recording* recording) noexcept;
bool is_recording();

// To be called after a kernel was started: counts it, and throws Error with the kernel's name if it did not start. With
// SFUMATO_CUDA_SYNC=1 in the environment it waits, and throws if the kernel failed; without it a failure is found by
// whoever waits next.
void launched(const char* kernel);
// Kernels and copies started so far, each record of one included. (Replays do not count.)
std::uint64_t launches();

#if defined(SFUMATO_CUDA_EMULATED)
// Does `work` after all before it, at the latest when somebody waits, or keeps it inside a recording. The device's memory
// is accessible meanwhile.
void submit(std::function<void()> work);
inline void* stream() { return nullptr; }
// The emulator fills a block handed out with NaNs and lets nobody touch a block that was given back.
void mark_allocated(void* block, std::size_t bytes, std::size_t room);
void mark_released(void* block, std::size_t room);
#else
cudaStream_t stream();
inline void mark_allocated(void*, std::size_t, std::size_t) {}
inline void mark_released(void*, std::size_t) {}
#endif

}  // namespace sfumato::cuda
