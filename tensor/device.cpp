#include "tensor/device.h"

#include <fmt/format.h>

#include <charconv>
#include <optional>

#include "tensor/backend.h"
#include "tensor/error.h"

namespace sfumato {

#if defined(SFUMATO_CUDA)
namespace cuda {
extern const Backend backend;
}
#endif

namespace {

// The backend of this build; nullptr if there is none.
const Backend* gpu() {
#if defined(SFUMATO_CUDA)
  return &cuda::backend;
#else
  return nullptr;
#endif
}

const std::string kNoCuda = "this program was built without CUDA";

int used = -1;  // index of the GPU in use; -1: none

// The N of "cuda" (0) and "cuda:N".
std::optional<int> gpu_index(std::string_view name) {
  if (name == "cuda" || name == "auto") return 0;
  if (!name.starts_with("cuda:")) return {};
  int index = 0;
  const char *begin = name.data() + 5, *end = name.data() + name.size();
  const auto [last, error] = std::from_chars(begin, end, index);
  if (error != std::errc{} || last != end || index < 0) return {};
  return index;
}

// Empty if GPU `index` is in use now.
std::string why_not(int index) {
  if (!gpu()) return kNoCuda;
  if (used == index) return {};
  if (used >= 0) return fmt::format("this process uses cuda:{} already", used);
  std::string why = gpu()->use(index);
  if (why.empty()) used = index;
  return why;
}

}  // namespace

std::string name(Device device) { return device == Device::cpu ? "cpu" : backend(device).name(); }

const Backend& backend(Device device) {
  if (device == Device::cpu || !gpu()) throw Error("device", kNoCuda);
  if (used < 0) throw Error("device", "no GPU is in use: use_device(\"cuda\") takes one");
  return *gpu();
}

Device use_device(std::string_view wanted) {
  if (wanted == "cpu") return Device::cpu;
  const std::optional<int> index = gpu_index(wanted);
  if (!index)
    throw Error("device", fmt::format("expected cpu, cuda, cuda:N or auto, got '{}'", wanted));
  const std::string why = why_not(*index);
  if (why.empty()) return Device::cuda;
  if (wanted == "auto") return Device::cpu;
  throw Error(wanted, why);
}

void allow_tf32(Device device, bool allow) {
  if (device != Device::cpu) backend(device).allow_tf32(allow);
}

void synchronize(Device device) {
  if (device != Device::cpu) backend(device).synchronize();
}

}  // namespace sfumato
