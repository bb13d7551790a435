#include "tensor/recorded.h"

#include <fmt/format.h>

#include <utility>

#include "tensor/backend.h"

namespace sfumato {

class Recorded::Gpu {
 public:
  explicit Gpu(Device device) : backend_(backend(device)), pool_(backend_.new_pool()) {}
  ~Gpu() {
    if (recording_) backend_.forget(recording_);
    backend_.delete_pool(pool_);
  }
  Gpu(const Gpu&) = delete;
  Gpu& operator=(const Gpu&) = delete;

  // Calls f, or replays it. `outputs` are f's.
  template <class F>
  void call(const F& f, std::vector<Tensor>& outputs) {
    if (!recording_) {
      outputs.clear();  // their blocks are for the same tensors again
      if (planned_) {
        record(f, outputs);
      } else {
        outputs = in_pool(f);
        planned_ = true;
        return;
      }
    }
    backend_.replay(recording_);
  }

 private:
  template <class F>
  std::vector<Tensor> in_pool(const F& f) {
    struct Restore {
      const Backend& backend;
      Backend::Pool* before;
      ~Restore() { backend.use_pool(before); }
    } restore{backend_, backend_.use_pool(pool_)};
    return f();
  }

  template <class F>
  void record(const F& f, std::vector<Tensor>& outputs) {
    backend_.start_recording();
    try {
      outputs = in_pool(f);
    } catch (...) {
      abandon();
      throw;
    }
    recording_ = backend_.stop_recording();
  }

  // Ends a recording that failed. What failed it is being thrown already.
  void abandon() noexcept {
    planned_ = false;
    try {
      backend_.forget(backend_.stop_recording());
    } catch (const Error&) {
    }
  }

  const Backend& backend_;
  Backend::Pool* pool_;
  Backend::Recording* recording_ = nullptr;
  bool planned_ = false;
};

Recorded::Recorded(Device device, Function f) : f_(std::move(f)), device_(device) {
  if (device != Device::cpu) gpu_ = std::make_unique<Gpu>(device);
}
Recorded::~Recorded() = default;

const std::vector<Tensor>& Recorded::operator()(std::span<const Tensor> inputs) {
  if (!gpu_) {
    outputs_ = f_(inputs);
    return outputs_;
  }
  if (inputs_.empty())
    for (const Tensor& t : inputs) inputs_.emplace_back(t.shape(), Kind(t.dtype(), device_));
  if (inputs.size() != inputs_.size())
    throw Error("recorded",
                fmt::format("expected {} inputs, got {}", inputs_.size(), inputs.size()));
  for (std::size_t i = 0; i < inputs.size(); ++i) inputs_[i].copy_from(inputs[i]);
  gpu_->call([&] { return f_(inputs_); }, outputs_);
  return outputs_;
}

}  // namespace sfumato
