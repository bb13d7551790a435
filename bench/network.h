// A U-Net with what a training step of it needs, on random pictures.
#pragma once
#include "autograd/flops.h"
#include "autograd/ops.h"
#include "diffusion/forward.h"
#include "diffusion/objective.h"
#include "diffusion/pipeline.h"
#include "diffusion/scheduler_config.h"
#include "nn/optim.h"
#include "nn/precision.h"
#include "nn/unet.h"
#include "tensor/io/json.h"

namespace sfumato::bench {

struct Input {
  Tensor x0, t, eps, labels;
};

// Random ones of step k [], where k is.
inline Input random_input(const nn::UNet& unet, io::Extent size, std::int64_t batch,
                          const Tensor& k) {
  const Shape images{batch, size.height, size.width, unet.in_channels};
  Input in;
  in.x0 = Rng(0, Purpose::general, k).normal(images);
  in.t = Rng(0, Purpose::timestep, k).randint({batch}, 1000);
  in.eps = Rng(0, Purpose::noise, k).normal(images);
  if (unet.conditioning.has_table())
    in.labels = Rng(0, Purpose::label_dropout, k).randint({batch}, unet.conditioning.rows);
  return in;
}

inline nn::Params& on(Device device, const nn::Precision& precision, nn::Params& params) {
  nn::use(params, device, precision);
  return params;
}

// A network with what its training needs.
class Network {
 public:
  Network(const io::JsonObject& config, Device device, const nn::Precision& precision)
      : size_(diffusion::read_sample_size(config)),
        params_(1),
        unet_(params_, nn::parse_unet_config(config)),
        device_(device),
        adam_(on(device, precision, params_), {.weight_decay = 0.01}),
        ema_(params_, 0.999) {
    if (unet_.in_channels != unet_.out_channels)
      throw Error("step", "the network's output must have as many channels as its input");
  }

  // What Recorded takes: of the step's number [] on the device.
  std::vector<Tensor> infer(const Tensor& k, std::int64_t batch) const {
    const NoGrad no_grad;
    const Input in = random_input(unet_, size_, batch, k);
    return {unet_(in.x0, in.t, in.labels).value()};
  }
  std::vector<Tensor> gradient(const Tensor& k, std::int64_t batch, bool recompute) {
    const Input in = random_input(unet_, size_, batch, k);
    const Tensor xt = diffusion::q_sample(schedule_, in.x0, in.t, in.eps);
    params_.zero_grad();
    const Var eps =
        unet_(xt, in.t, in.labels, {.training = true, .step = k, .recompute = recompute});
    mse(eps, in.eps).backward();
    return {nn::gradient_norm(params_)};
  }
  Tensor rates() { return adam_.rates(1e-4, &ema_); }
  void update(const Tensor& rates, const Tensor& norm) { adam_.step(rates, {norm, 1.0}, &ema_); }

  // Of one picture, forward.
  double flop() const {
    const FlopCounter counter;
    infer(Tensor::from<std::int64_t>({}, {0}).to(device_), 1);
    return counter.total;
  }
  std::int64_t parameters() const { return params_.count(); }

 private:
  io::Extent size_;
  nn::Params params_;
  nn::UNet unet_;
  Device device_;
  nn::AdamW adam_;
  nn::Ema ema_;
  diffusion::Schedule schedule_ = diffusion::make_schedule(diffusion::SchedulerConfig{});
};

}  // namespace sfumato::bench
