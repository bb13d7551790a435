// The scheduler classes of diffusers, as scheduler_file.cpp reads them.
#pragma once
#include <string_view>
#include <utility>

#include "diffusion/scheduler_config.h"

namespace sfumato::diffusion {

// A class of diffusers that walks a schedule of betas, and what a missing key means to it. A key
// that the class has not means what it means to DDIM, as with DDIMScheduler.from_config.
struct SchedulerClass {
  std::string_view name;
  std::string_view sampler =
      "";  // of this library, that samples as the class does; "": DDIM in its place
  double beta_start = 0.0001, beta_end = 0.02;
  std::string_view beta_schedule = "linear";
  Spacing spacing = Spacing::leading;
  bool clip_sample = true, set_alpha_to_one = true;
  std::string_view prediction = "epsilon";

  bool sampled_here() const { return !sampler.empty(); }
};

// Classes that differ from DDIM in more than the name. (Those of Sampler::all need no line.)
inline constexpr SchedulerClass kClasses[] = {
    {.name = "DDPMParallelScheduler", .sampler = "ddpm"},
    {.name = "DDIMParallelScheduler", .sampler = "ddim"},
    {.name = "DDIMInverseScheduler"},
    {.name = "PNDMScheduler", .set_alpha_to_one = false},
    {.name = "LMSDiscreteScheduler", .spacing = Spacing::linspace},
    {.name = "EulerDiscreteScheduler", .spacing = Spacing::linspace},
    {.name = "EulerAncestralDiscreteScheduler", .spacing = Spacing::linspace},
    {.name = "HeunDiscreteScheduler",
     .beta_start = 0.00085,
     .beta_end = 0.012,
     .spacing = Spacing::linspace,
     .clip_sample = false},
    {.name = "KDPM2DiscreteScheduler",
     .beta_start = 0.00085,
     .beta_end = 0.012,
     .spacing = Spacing::linspace},
    {.name = "KDPM2AncestralDiscreteScheduler",
     .beta_start = 0.00085,
     .beta_end = 0.012,
     .spacing = Spacing::linspace},
    {.name = "DPMSolverSDEScheduler",
     .beta_start = 0.00085,
     .beta_end = 0.012,
     .spacing = Spacing::linspace},
    {.name = "DPMSolverMultistepScheduler", .spacing = Spacing::linspace},
    {.name = "DPMSolverMultistepInverseScheduler", .spacing = Spacing::linspace},
    {.name = "DPMSolverSinglestepScheduler"},
    {.name = "DEISMultistepScheduler", .spacing = Spacing::linspace},
    {.name = "UniPCMultistepScheduler", .spacing = Spacing::linspace},
    {.name = "SASolverScheduler", .spacing = Spacing::linspace},
    {.name = "LCMScheduler",
     .beta_start = 0.00085,
     .beta_end = 0.012,
     .beta_schedule = "scaled_linear",
     .clip_sample = false},
    {.name = "TCDScheduler",
     .beta_start = 0.00085,
     .beta_end = 0.012,
     .beta_schedule = "scaled_linear",
     .clip_sample = false},
    {.name = "RePaintScheduler"},
    {.name = "UnCLIPScheduler", .beta_schedule = "cosine"},
    {.name = "FlowMatchEulerDiscreteScheduler",
     .beta_schedule = "flow",
     .spacing = Spacing::linspace,
     .clip_sample = false,
     .prediction = "flow_prediction"},
    {.name = "FlowMatchHeunDiscreteScheduler",
     .beta_schedule = "flow",
     .spacing = Spacing::linspace,
     .clip_sample = false,
     .prediction = "flow_prediction"},
    {.name = "EDMEulerScheduler",
     .beta_schedule = "edm",
     .spacing = Spacing::karras,
     .clip_sample = false,
     .prediction = "edm"},
    {.name = "EDMDPMSolverMultistepScheduler",
     .beta_schedule = "edm",
     .spacing = Spacing::karras,
     .clip_sample = false,
     .prediction = "edm"},
};

// Classes that walk no schedule of betas that a U-Net of pictures was trained with, and why they are refused.
inline constexpr std::pair<std::string_view, std::string_view> kRefused[] = {
    {"CosineDPMSolverMultistepScheduler", "its network is told the arctangent of σ, for sound"},
    {"ScoreSdeVeScheduler", "its levels are a geometric row of σ, and its network gives a score"},
    {"ScoreSdeVpScheduler", "its steps are those of a reverse SDE in continuous time"},
    {"KarrasVeScheduler", "its levels are a geometric row of σ²"},
    {"IPNDMScheduler", "its levels are sines and cosines of time, not a schedule of betas"},
    {"CMStochasticIterativeScheduler", "its network is a consistency model"},
    {"ConsistencyDecoderScheduler", "its network is a consistency model, which decodes latents"},
    {"SCMScheduler", "its network is a consistency model of TrigFlow"},
    {"FlowMatchLCMScheduler", "its network is a consistency model of flow matching"},
    {"FlowMapEulerDiscreteScheduler", "its network is told two times"},
    {"PiflowScheduler", "its network gives a policy, not an estimate"},
    {"LTXEulerAncestralRFScheduler", "its ancestral steps of flow matching are not computed"},
    {"CogVideoXDDIMScheduler", "its snr_shift_scale is not computed; it is for video"},
    {"CogVideoXDPMScheduler", "its snr_shift_scale is not computed; it is for video"},
    {"DDPMWuerstchenScheduler", "its levels are a cosine of continuous time"},
    {"VQDiffusionScheduler", "its pictures are tokens, not numbers"},
    {"AmusedScheduler", "its pictures are tokens, not numbers"},
    {"BlockRefinementScheduler", "it draws tokens, not numbers"},
    {"DiscreteDDIMScheduler", "it draws tokens, not numbers"},
    {"EntropyBoundScheduler", "it draws tokens, not numbers"},
};

}  // namespace sfumato::diffusion
