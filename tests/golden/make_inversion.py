#!/usr/bin/env python3
"""Walks of DDIMInverseScheduler of diffusers, for tests/diffusion/inversion_test.cpp: inversion.json.

From x = 0.3, -1.2, 0.7 to noise, where the network answers 0.3 x[k] + 0.2 cos(k + t / 200): the schedule is the linear
one with 1000 timesteps, nothing is clipped.
"""
import json
import pathlib

import diffusers
import torch

START = torch.tensor([0.3, -1.2, 0.7], dtype=torch.float64)
K = torch.arange(3, dtype=torch.float64)
runs = []
for steps in (1, 2, 5, 20, 50):
    scheduler = diffusers.DDIMInverseScheduler(clip_sample=False, timestep_spacing="leading")
    scheduler.set_timesteps(steps)
    x = START
    for t in scheduler.timesteps:
        x = scheduler.step(0.3 * x + 0.2 * torch.cos(K + t / 200), t, x).prev_sample
    runs.append({"steps": steps, "x": x.tolist()})
path = pathlib.Path(__file__).parent / "inversion.json"
path.write_text(json.dumps({"runs": runs}) + "\n")
