#include "apps/machine.h"

#include <fmt/format.h>
#include <sys/utsname.h>

#include <fstream>
#include <nlohmann/json.hpp>
#include <thread>

#include "tensor/kernels/isa.h"
#include "tensor/kernels/kernels.h"
#include "tensor/parallel.h"

namespace sfumato::apps {
namespace {

std::string compiler() {
#if defined(__clang__)
  return fmt::format("clang {}.{}.{}", __clang_major__, __clang_minor__, __clang_patchlevel__);
#elif defined(__GNUC__)
  return fmt::format("gcc {}.{}.{}", __GNUC__, __GNUC_MINOR__, __GNUC_PATCHLEVEL__);
#else
  return "unknown";
#endif
}

std::string cpu_name() {
  std::ifstream cpuinfo("/proc/cpuinfo");
  for (std::string line; std::getline(cpuinfo, line);)
    if (line.starts_with("model name"))
      if (const auto colon = line.find(": "); colon != std::string::npos)
        return line.substr(colon + 2);
  return "unknown";
}

const char* convolution() {
  switch (kernels::conv_method()) {
    case kernels::ConvMethod::direct:
      return "direct";
    case kernels::ConvMethod::winograd:
      return "winograd";
    case kernels::ConvMethod::automatic:
      break;
  }
  return "auto";
}

}  // namespace

io::Json describe_machine() {
  utsname system{};
  uname(&system);
  io::Json isas = io::Json::array();
  for (Isa i : available_isas()) isas.push_back(name(i));
  io::Json j = io::Json::object();
  j["version"] = kVersion;
  j["compiler"] = compiler();
  j["isa"] = name(isa());
  j["isas"] = isas;
  j["convolution"] = convolution();
  j["threads"] = thread_count();
  j["cpu"] = cpu_name();
  j["cores"] = std::thread::hardware_concurrency();
  j["os"] = fmt::format("{} {}", system.sysname, system.machine);
  return j;
}

}  // namespace sfumato::apps
