// The devices that tests run on: the CPU and, in a build that has one, a GPU (emulated or real). Under a sanitizer the
// emulated GPU is for tests/cuda alone: whole networks would take many minutes there.
#pragma once
#include <vector>

#include "tensor/device.h"
#include "tensor/error.h"
#include "tensor/sanitizers.h"

namespace sfumato {

inline std::vector<Device> devices() {
  std::vector<Device> all{Device::cpu};
  if (kAddressSanitizer || kThreadSanitizer) return all;
  try {
    all.push_back(use_device("cuda"));
  } catch (const Error&) {  // this build or this machine has none
  }
  return all;
}

}  // namespace sfumato
