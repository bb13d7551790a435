// The library's public headers: #include "sfumato.h", link sfumato::sfumato. Everything is in namespace sfumato; the
// parts are io, nn, data, diffusion and eval. What is not included here (tensor/kernels, single file formats) may change
// at any time.
#pragma once

// Tensors, random numbers, threads, errors.
#include "tensor/argmax.h"
#include "tensor/arithmetic.h"
#include "tensor/error.h"
#include "tensor/memory.h"
#include "tensor/parallel.h"
#include "tensor/rng.h"
#include "tensor/shape.h"
#include "tensor/tensor.h"

// Files: pictures, arrays, tensors by name.
#include "tensor/io/image.h"
#include "tensor/io/npy.h"
#include "tensor/io/safetensors.h"

// Differentiable operations; `pointwise` and `record` make new ones.
#include "autograd/checkpoint.h"
#include "autograd/fixed_weights.h"
#include "autograd/gradcheck.h"
#include "autograd/ops.h"
#include "autograd/pointwise.h"
#include "autograd/var.h"

// Layers, the U-Net, the optimiser, and the conformance kit for layers of one's own.
#include "nn/checkpoint.h"
#include "nn/classic_layers.h"
#include "nn/conditioning.h"
#include "nn/conformance.h"
#include "nn/dit.h"
#include "nn/dit_config.h"
#include "nn/fit.h"
#include "nn/layers.h"
#include "nn/likelihood.h"
#include "nn/lucid_checkpoint.h"
#include "nn/lucid_unet.h"
#include "nn/lucid_unet_config.h"
#include "nn/network.h"
#include "nn/optim.h"
#include "nn/params.h"
#include "nn/presets.h"
#include "nn/self_conditioned.h"
#include "nn/unet.h"
#include "nn/unet_config.h"
#include "nn/vae.h"

// Labelled pictures from files, and their batches.
#include "diffusion/data/batches.h"
#include "diffusion/data/dataset.h"

// Diffusion: schedules, the forward process, predictions, samplers, models as diffusers folders.
#include "diffusion/bound.h"
#include "diffusion/classifier_guidance.h"
#include "diffusion/coupling.h"
#include "diffusion/edit_pictures.h"
#include "diffusion/editing.h"
#include "diffusion/forward.h"
#include "diffusion/gaussian.h"
#include "diffusion/generate.h"
#include "diffusion/guidance.h"
#include "diffusion/inversion.h"
#include "diffusion/likelihood.h"
#include "diffusion/loss.h"
#include "diffusion/lucid_pipeline.h"
#include "diffusion/objective.h"
#include "diffusion/pipeline.h"
#include "diffusion/reject.h"
#include "diffusion/sampler.h"
#include "diffusion/schedule.h"
#include "diffusion/scheduler_config.h"
#include "diffusion/self_condition.h"
#include "diffusion/spacing.h"
#include "diffusion/times.h"
#include "diffusion/training/training.h"

// How good drawn pictures are: a classifier, and the measures of its features with their intervals.
#include "diffusion/eval/class_mean.h"
#include "diffusion/eval/classifier.h"
#include "diffusion/eval/frechet.h"
#include "diffusion/eval/interval.h"
#include "diffusion/eval/kid.h"
#include "diffusion/eval/manifold.h"
#include "diffusion/eval/metric.h"
#include "diffusion/eval/neighbours.h"
#include "diffusion/eval/sliced.h"
