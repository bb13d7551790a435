// cuda/runtime.h by NVIDIA's runtime.
#include <cstdlib>
#include <utility>

#include "cuda/runtime.h"
#include "tensor/error.h"

namespace sfumato::cuda {

class Recording {
 public:
  explicit Recording(cudaGraphExec_t graph) : graph(graph) {}
  ~Recording() { cudaGraphExecDestroy(graph); }
  Recording(const Recording&) = delete;
  Recording& operator=(const Recording&) = delete;
  const cudaGraphExec_t graph;
};

namespace {

int device = 0;
cudaStream_t the_stream = nullptr;
bool recording = false;
std::uint64_t started = 0;

void expect(cudaError_t error, const std::string& what) {
  if (error != cudaSuccess) throw Error(name(), what + ": " + cudaGetErrorString(error));
}

}  // namespace

std::string use(int index) {
  int count = 0;
  const cudaError_t error = cudaGetDeviceCount(&count);  // leaves `count` alone when it fails
  if (error == cudaErrorInsufficientDriver || error == cudaErrorNoDevice)
    return error == cudaErrorNoDevice ? "there is no GPU"
                                      : "there is no NVIDIA driver, or too old a one";
  if (error != cudaSuccess) return cudaGetErrorString(error);
  if (index >= count)
    return "there is no such GPU, the last one is cuda:" + std::to_string(count - 1);
  int major = 0;
  cudaDeviceGetAttribute(&major, cudaDevAttrComputeCapabilityMajor, index);
  if (major < 8) return "it is older than compute capability 8.0";
  device = index;
  if (cudaSetDevice(index) != cudaSuccess ||
      cudaStreamCreateWithFlags(&the_stream, cudaStreamNonBlocking) != cudaSuccess)
    return cudaGetErrorString(cudaGetLastError());
  return {};
}

std::string name() { return "cuda:" + std::to_string(device); }
cudaStream_t stream() { return the_stream; }

void* fetch(std::size_t bytes) {
  void* block = nullptr;
  if (cudaMalloc(&block, bytes) == cudaSuccess) return block;
  cudaGetLastError();  // forgets the error
  return nullptr;
}

void* fetch_pinned(std::size_t bytes) {
  void* block = nullptr;
  expect(cudaHostAlloc(&block, bytes, cudaHostAllocMapped), "pinned memory");
  return block;
}

MemoryInfo memory_info() {
  MemoryInfo info{};
  expect(cudaMemGetInfo(&info.free, &info.total), "memory");
  return info;
}

void copy(void* destination, const void* source, std::size_t bytes) {
  ++started;
  expect(cudaMemcpyAsync(destination, source, bytes, cudaMemcpyDefault, the_stream), "copy");
}

void synchronize() {
  if (recording)
    throw Error(name(), "a recorded function may not wait for the device or read its numbers");
  expect(cudaStreamSynchronize(the_stream), "an earlier kernel failed");
}

void start_recording() {
  if (recording) throw Error(name(), "a recording is going on already");
  // (Relaxed: memory may be fetched meanwhile.)
  expect(cudaStreamBeginCapture(the_stream, cudaStreamCaptureModeRelaxed), "recording");
  recording = true;
}

Recording* stop_recording() {
  recording = false;
  cudaGraph_t graph = nullptr;
  expect(cudaStreamEndCapture(the_stream, &graph), "recording");
  cudaGraphExec_t executable = nullptr;
  const cudaError_t error = cudaGraphInstantiate(&executable, graph, 0);
  cudaGraphDestroy(graph);
  expect(error, "recording");
  return new Recording(executable);
}

void replay(const Recording* r) { expect(cudaGraphLaunch(r->graph, the_stream), "replay"); }
void forget(Recording* r) noexcept { delete r; }
bool is_recording() { return recording; }

void launched(const char* kernel) {
  static const char* const wanted = std::getenv("SFUMATO_CUDA_SYNC");
  static const bool waits = wanted && std::string(wanted) == "1";
  ++started;
  expect(cudaGetLastError(), kernel);
  if (waits && !recording) expect(cudaStreamSynchronize(the_stream), kernel);
}
std::uint64_t launches() { return started; }

}  // namespace sfumato::cuda
