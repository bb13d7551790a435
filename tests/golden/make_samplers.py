#!/usr/bin/env python3
"""Generate samplers/<sampler>.json: whole denoising runs of the schedulers of diffusers, for tests/diffusion/samplers_test.cpp.

The network is a formula, and so are the noise and the start, so that a file holds nothing but results:

  network(x, t)[k] = 0.3 x[k] + 0.2 cos(k + t / 200)     (t = 0 where the run is "timeless")
  noise number c:    sqrt(2) cos(1 + 3 c + k (c + 1))
  start              0.3, -1.2, 0.7

Each run has its spacing, number of steps, prediction, and x after some of the steps, in the process of the network: what
k-diffusion's classes call x is divided by sqrt(1 + sigma^2), what EDM's call so by sqrt(1/4 + sigma^2). The schedule is the
linear one, with 1000 timesteps, flow matching's, or EDM's.
"""

import json
from pathlib import Path
from unittest import mock

import diffusers
import torch

START = torch.tensor([0.3, -1.2, 0.7], dtype=torch.float64)
K = torch.arange(3, dtype=torch.float64)

# sampler: (class, arguments, how many timesteps each step takes: 1, "two" but for the last, "first" alone)
SIGMA, WITHOUT_LAST, EDM = "sigma", "without last", "edm"
CASES = {
    "euler": ("EulerDiscreteScheduler", {}, 1, SIGMA),
    "euler_ancestral": ("EulerAncestralDiscreteScheduler", {}, 1, SIGMA),
    "heun": ("HeunDiscreteScheduler", {}, "two", SIGMA),
    "dpm2": ("KDPM2DiscreteScheduler", {}, "two", SIGMA),
    "dpm2_ancestral": ("KDPM2AncestralDiscreteScheduler", {}, "two", SIGMA),
    "lms": ("LMSDiscreteScheduler", {}, 1, SIGMA),
    "plms": ("PNDMScheduler", dict(skip_prk_steps=True), "first", ""),
    "deis": ("DEISMultistepScheduler", {}, 1, WITHOUT_LAST),
    "dpmpp_2s": ("DPMSolverSinglestepScheduler", dict(lower_order_final=True), 1, WITHOUT_LAST),
    "dpmpp_2m": ("DPMSolverMultistepScheduler", {}, 1, WITHOUT_LAST),
    "dpmpp_3m": ("DPMSolverMultistepScheduler", dict(solver_order=3), 1, WITHOUT_LAST),
    "dpmpp_2m_sde": ("DPMSolverMultistepScheduler", dict(algorithm_type="sde-dpmsolver++"), 1, WITHOUT_LAST),
    "unipc": ("UniPCMultistepScheduler", {}, 1, WITHOUT_LAST),
    "sa_solver": ("SASolverScheduler", {}, 1, WITHOUT_LAST),
    "flow_euler": ("FlowMatchEulerDiscreteScheduler", {}, 1, "flow"),
    "flow_heun": ("FlowMatchHeunDiscreteScheduler", {}, "two", "flow"),
    "edm_euler": ("EDMEulerScheduler", {}, 1, EDM),
    "edm_dpmpp_2m": ("EDMDPMSolverMultistepScheduler", {}, 1, EDM),
}
NO_SAMPLE = {"euler_ancestral", "dpm2", "dpm2_ancestral", "plms"}  # the class has no prediction "sample"


def noise(count):
    return 2**0.5 * torch.cos(1 + 3 * count + K * (count + 1))


def shown(steps):
    return sorted({i for i in (0, 1, 2, 3, steps // 2, steps - 2, steps - 1) if 0 <= i < steps})


def run(name, spacing, steps, prediction, shift=1):
    cls_name, kwargs, pattern, family = CASES[name]
    cls = getattr(diffusers, cls_name)
    arguments = dict(kwargs) if shift == 1 else dict(kwargs, shift=shift)
    if family == EDM:
        arguments |= dict(sigma_schedule={"karras": "karras", "log_snr": "exponential"}[spacing], prediction_type=prediction)
    elif family != "flow":
        arguments |= dict(beta_schedule="linear", beta_start=1e-4, beta_end=0.02, prediction_type=prediction)
        if spacing == "karras":
            arguments["use_karras_sigmas"] = True
        elif spacing == "log_snr":
            arguments["use_exponential_sigmas"] = True
        elif name != "dpmpp_2s":
            arguments["timestep_spacing"] = spacing
    scheduler = cls(**arguments)
    scheduler.set_timesteps(steps)
    timeless = (spacing in ("karras", "log_snr") and family != EDM) or name.startswith("dpm2") or name == "heun"
    count = [0]

    def randn(shape, **_):
        count[0] += 1
        return noise(count[0] - 1).reshape(shape).to(torch.float32)

    # All of x in doubles: the tables of the scheduler are float32.
    x = START.reshape(1, 3)
    sigmas = []
    data = {SIGMA: 1, EDM: 0.25}.get(family, 0)  # the variance of the data that x is scaled for

    def size(sigma):
        return (data + sigma**2) ** 0.5 if sigma > 0 else 1

    if data:
        for s in scheduler.sigmas.double().tolist():
            if not sigmas or s != sigmas[-1]:
                sigmas.append(s)
        x = x * size(sigmas[0])
    rows, step = [], 0
    module = cls.__module__
    patched = mock.patch(module + ".randn_tensor", randn) if hasattr(
        __import__(module, fromlist=["x"]), "randn_tensor") else mock.patch("builtins.id", id)
    with patched:
        for call, t in enumerate(scheduler.timesteps):
            told = 0.0 if timeless else float(t)
            seen = scheduler.scale_model_input(x, t) if data else x
            out = 0.3 * seen + 0.2 * torch.cos(K + told / 200)
            x = scheduler.step(out, t, x, return_dict=False)[0].double()
            last = call + 1 == len(scheduler.timesteps)
            if pattern == "two" and call % 2 == 0 and not last:
                continue
            if pattern == "first" and call == 0 and not last:
                continue
            scale = size(sigmas[step + 1]) if data else 1
            if step in shown(steps):
                rows.append([float(f"{v:.9g}") for v in (x / scale).reshape(-1).tolist()])
            step += 1
    assert step == steps, (name, spacing, steps, step)
    result = dict(spacing=spacing, steps=steps, prediction=prediction, timeless=timeless, x=rows)
    return result if shift == 1 else dict(result, shift=shift)


def runs(name):
    family = CASES[name][3]
    if family == "flow":
        return [run(name, "linspace", steps, "flow_prediction", shift)
                for shift in (1, 3) for steps in (1, 2, 5, 20, 50, 1000)]
    if family == EDM:
        return [run(name, spacing, steps, prediction) for spacing in ("karras", "log_snr")
                for prediction in ("epsilon", "v_prediction") for steps in (1, 2, 5, 20, 50, 1000)
                if (spacing, steps) != ("log_snr", 1)]  # which begins at the smallest sigma, where no noise is
    spacings = ["leading", "trailing", "linspace"]
    if name == "plms":
        spacings = ["leading", "trailing"]
    if name == "dpmpp_2s":
        spacings = ["linspace"]
    result = []
    for spacing in spacings:
        for steps in (1, 2, 5, 20, 50, 1000):
            if spacing == "leading" and family == WITHOUT_LAST:
                steps = {1: 1, 2: 3, 5: 4, 20: 19, 50: 49}.get(steps)
            if steps is None or (steps == 1000 and spacing == "linspace" and family == WITHOUT_LAST):
                continue
            if steps == 1000 and name == "lms":
                continue  # scipy's quadrature stops at a relative error of 1e-4
            result.append(run(name, spacing, steps, "epsilon"))
    last = spacings[-1]
    if name != "plms":  # PNDMScheduler combines v where the paper, and sfumato, combine the noise
        result += [run(name, last, steps, "v_prediction") for steps in (5, 20)]
    if name not in NO_SAMPLE:
        result += [run(name, last, steps, "sample") for steps in (5, 20)]
    if name not in ("plms", "euler_ancestral"):
        result += [run(name, spacing, steps, "epsilon") for spacing in ("karras", "log_snr") for steps in (5, 20)]
    # KDPM2AncestralDiscreteScheduler takes the root of a negative rounding error now and then.
    return [r for r in result if all(v == v for row in r["x"] for v in row)]


def main():
    folder = Path(__file__).parent / "samplers"
    folder.mkdir(exist_ok=True)
    for name in CASES:
        lines = ",\n".join(json.dumps(r) for r in runs(name))
        (folder / f"{name}.json").write_text('{"runs": [\n' + lines + "\n]}\n")


if __name__ == "__main__":
    main()
