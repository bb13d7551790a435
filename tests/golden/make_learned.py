#!/usr/bin/env python3
"""Generate learned.json: runs of DDPMScheduler with variance_type learned_range, for
tests/diffusion/reverse_variance_test.cpp. Network, noise and start are formulas, of the channels k = 0, 1, 2:

  answer(x, t)[k]    0.3 x[k] + 0.2 cos(k + t / 200)
  2v - 1             sin(k + t / 100)
  noise of step c    sqrt(2) cos(1 + 3 c + k (c + 1))
  start              0.3, -1.2, 0.7

Each run holds x after its last step.
"""
import json
from pathlib import Path
from unittest import mock

import torch
from diffusers import DDPMScheduler

START = torch.tensor([0.3, -1.2, 0.7], dtype=torch.float64).reshape(1, 3, 1, 1)
K = torch.arange(3, dtype=torch.float64).reshape(1, 3, 1, 1)


def run(steps, spacing, prediction):
    scheduler = DDPMScheduler(variance_type="learned_range", timestep_spacing=spacing, prediction_type=prediction,
                              clip_sample=False)
    scheduler.set_timesteps(steps)
    x = START
    for c, t in enumerate(scheduler.timesteps):
        answer = 0.3 * x + 0.2 * torch.cos(K + float(t) / 200)
        output = torch.cat([answer, torch.sin(K + float(t) / 100)], dim=1)
        noise = 2**0.5 * torch.cos(1 + 3 * c + K * (c + 1))
        with mock.patch("diffusers.schedulers.scheduling_ddpm.randn_tensor", lambda *_, **__: noise):
            x = scheduler.step(output, t, x).prev_sample
    return {"steps": steps, "spacing": spacing, "prediction": prediction, "x": x.flatten().tolist()}


runs = [run(steps, spacing, prediction)
        for steps in (1, 2, 5, 20, 50, 1000)
        for spacing in ("leading", "trailing", "linspace")
        for prediction in ("epsilon", "sample", "v_prediction")]
path = Path(__file__).parent / "learned.json"
path.write_text("[" + ",\n ".join(json.dumps(r) for r in runs) + "]\n")
