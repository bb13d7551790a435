// `scheduler/scheduler_config.json` of diffusers <-> SchedulerConfig.
//
// The class that the file names is looked at first: it decides what a missing key means. DDPM and
// DDIM are sampled here. Of the other classes, those that walk a schedule of betas (PNDM, Euler,
// DPM-Solver, ...) describe the same training, so DDIM and DDPM sample in their place; the rest
// (flow matching, EDM, ...) is a problem for sampling only, as is an option of a sampler that this
// library has not.
#pragma once
#include <string>
#include <vector>

#include "diffusion/scheduler_config.h"
#include "tensor/io/json.h"

namespace sfumato::diffusion {

struct SchedulerFile {
  SchedulerConfig config;
  // Why pictures cannot be sampled as the file says; empty when they can.
  std::string problem;
  // false: the file tells no schedule that this library has, `config` is DDPM's default.
  bool schedule_known = true;
  // What was read past or replaced, one line each.
  std::vector<std::string> notes;
};

// Throws Error naming the file and the key for a value of the wrong type and for numbers that make
// no schedule.
SchedulerFile parse_scheduler_config(const io::JsonObject& json);
io::Json to_json(const SchedulerConfig& config);

}  // namespace sfumato::diffusion
