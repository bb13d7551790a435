#!/usr/bin/env python3
"""Guided answers of diffusers, for tests/diffusion/guidance_test.cpp: guidance.json.

Answers with and without the label are random numbers [2, 4, 3]. rescale: rescale_noise_cfg with 0.7. cfg_zero: the
formula of ClassifierFreeZeroStarGuidance. apg: normalized_guidance over three evaluations with momentum -0.5, eta 0 and
the threshold 0.05 sqrt(12); the scale of its original formulation is one less.
"""
import json
import pathlib

import torch
from diffusers.guiders.adaptive_projected_guidance import MomentumBuffer, normalized_guidance
from diffusers.guiders.classifier_free_zero_star_guidance import cfg_zero_star_scale
from diffusers.guiders.guider_utils import rescale_noise_cfg

torch.set_default_dtype(torch.float64)
torch.manual_seed(1)
W = 3.0
evaluations = [(torch.randn(2, 4, 3), torch.randn(2, 4, 3)) for _ in range(3)]
momentum = MomentumBuffer(-0.5)
rows = []
for good, away in evaluations:
    scale = cfg_zero_star_scale(good.flatten(1), away.flatten(1)).view(-1, 1, 1)
    scaled = away * scale
    row = {
        "good": good,
        "away": away,
        "rescale": rescale_noise_cfg(away + W * (good - away), good, 0.7),
        "cfg_zero": scaled + W * (good - scaled),
        "apg": normalized_guidance(good, away, W - 1, momentum, 0.0, 0.05 * 12**0.5, True),
    }
    rows.append({name: value.flatten().tolist() for name, value in row.items()})
path = pathlib.Path(__file__).parent / "guidance.json"
path.write_text(json.dumps({"scale": W, "evaluations": rows}) + "\n")
