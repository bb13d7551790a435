#!/usr/bin/env python3
"""Generate the golden files that pin sfumato to the behaviour of diffusers.

For each entry of CASES a small UNet2DModel, and for each of TRANSFORMERS a small DiTTransformer2DModel, is
saved with random weights, together with one input and the exact answer:

  <case>/unet/config.json, <case>/unet/diffusion_pytorch_model.safetensors      (transformer/ for the latter)
  <case>/in.safetensors   sample [N,C,H,W], timestep [N] (i64, or f32 where fractional), target,
                          and class_labels where the model has a class embedding
                          (i64 [N]; f32 [N, time embedding dim] for class_embed_type "identity")
  <case>/out.safetensors  sample, loss = mean((sample - target)^2), and grad.<parameter> of that
                          loss for every parameter

The "legacy" case keeps the model at the top of its folder, with the attention names and the short
config of the first diffusers releases; its gradients carry the current names.

Outputs and gradients are computed in float64 from the float32 weights and stored as float32; only
the sinusoidal time embedding is float32 throughout, since diffusers fixes it so. The gradient of
an attention key bias is mathematically zero (softmax ignores a shift), so what is stored for it
is rounding noise.

For each entry of TRAJECTORIES, schedulers/<name>.json holds the scheduler's config, the number of
steps and eta, and schedulers/<name>.safetensors a full denoising run on random model outputs:

  timesteps i64 [S]; initial [1,1,4,4]; model_output, noise, sample [S,1,4,4], where sample[i] is
  the result of step i and noise[i] the noise given to it (unused where the step adds none)

Steps run on float64 samples with the float32 tables of the scheduler, which
schedulers/tables.safetensors lists as <schedule>.betas and <schedule>.alphas_cumprod.
"""

import argparse
import json
import zlib
from pathlib import Path
from unittest import mock

import torch
from diffusers import DDIMScheduler, DDPMScheduler, DiTTransformer2DModel, UNet2DModel
from safetensors.torch import load_file, save_file

BATCH = 2
WEIGHTS = "diffusion_pytorch_model.safetensors"
LEGACY_NAMES = {"to_q": "query", "to_k": "key", "to_v": "value", "to_out.0": "proj_attn"}

# Arguments of UNet2DModel by case; what is left out keeps its default.
CASES = {
    "grey28": dict(
        sample_size=28, in_channels=1, out_channels=1, block_out_channels=(8, 16), norm_num_groups=4,
        down_block_types=("DownBlock2D", "AttnDownBlock2D"), up_block_types=("AttnUpBlock2D", "UpBlock2D"),
    ),
    "odd_channels": dict(
        sample_size=12, block_out_channels=(6, 10, 14), norm_num_groups=2, layers_per_block=1,
        attention_head_dim=None, downsample_padding=0, flip_sin_to_cos=False, freq_shift=1,
        down_block_types=("AttnDownBlock2D", "DownBlock2D", "AttnDownBlock2D"),
        up_block_types=("UpBlock2D", "AttnUpBlock2D", "AttnUpBlock2D"),
    ),
    "nonsquare": dict(
        sample_size=(8, 12), in_channels=3, out_channels=1, block_out_channels=(4, 8), norm_num_groups=2,
        layers_per_block=1, attention_head_dim=4, downsample_padding=0, dropout=0.25,
        down_block_types=("AttnDownBlock2D", "DownBlock2D"), up_block_types=("UpBlock2D", "AttnUpBlock2D"),
    ),
    "class_labels": dict(
        sample_size=32, block_out_channels=(8, 8), norm_num_groups=4, layers_per_block=1, num_class_embeds=5,
        attention_head_dim=2, freq_shift=1,
        down_block_types=("DownBlock2D", "AttnDownBlock2D"), up_block_types=("UpBlock2D", "UpBlock2D"),
    ),
    "class_timestep": dict(
        sample_size=8, in_channels=1, out_channels=2, block_out_channels=(8,), norm_num_groups=2,
        layers_per_block=2, class_embed_type="timestep", flip_sin_to_cos=False,
        down_block_types=("DownBlock2D",), up_block_types=("UpBlock2D",),
    ),
    "class_identity": dict(
        sample_size=8, in_channels=2, out_channels=3, block_out_channels=(4, 6), norm_num_groups=2,
        layers_per_block=1, class_embed_type="identity", time_embedding_dim=20, mid_block_type=None,
        attention_head_dim=2, norm_eps=1e-3,
        down_block_types=("DownBlock2D", "DownBlock2D"), up_block_types=("AttnUpBlock2D", "UpBlock2D"),
    ),
    "scale_shift": dict(
        sample_size=16, block_out_channels=(6, 12), norm_num_groups=3, layers_per_block=1,
        resnet_time_scale_shift="scale_shift", attention_head_dim=6,
        down_block_types=("AttnDownBlock2D", "DownBlock2D"), up_block_types=("UpBlock2D", "AttnUpBlock2D"),
    ),
    "mid_norm_groups": dict(
        sample_size=8, in_channels=1, out_channels=1, block_out_channels=(4, 8), norm_num_groups=2,
        layers_per_block=1, resnet_time_scale_shift="scale_shift", attn_norm_num_groups=4,
        mid_block_scale_factor=0.75, attention_head_dim=2,
        down_block_types=("DownBlock2D", "DownBlock2D"), up_block_types=("UpBlock2D", "UpBlock2D"),
    ),
    "single_block": dict(
        sample_size=10, block_out_channels=(8,), norm_num_groups=2, layers_per_block=3, attention_head_dim=4,
        mid_block_scale_factor=1.4142135623730951, center_input_sample=True,
        down_block_types=("AttnDownBlock2D",), up_block_types=("AttnUpBlock2D",),
    ),
    "no_mid_attention": dict(
        sample_size=16, in_channels=1, out_channels=1, block_out_channels=(4, 8, 8), norm_num_groups=2,
        layers_per_block=1, add_attention=False, mid_block_scale_factor=2,
        down_block_types=("DownBlock2D",) * 3, up_block_types=("UpBlock2D",) * 3,
    ),
    # Fractional timesteps, and heads that do not fill the channels (10 channels: 2 heads of 4).
    "fractional_timestep": dict(
        sample_size=8, in_channels=1, out_channels=1, block_out_channels=(6, 10), norm_num_groups=2,
        layers_per_block=1, attention_head_dim=4,
        down_block_types=("DownBlock2D", "AttnDownBlock2D"), up_block_types=("AttnUpBlock2D", "UpBlock2D"),
    ),
    # The fields that the config.json of the first published models have.
    "legacy": dict(
        act_fn="silu", attention_head_dim=None, block_out_channels=(8, 12), center_input_sample=False,
        down_block_types=("DownBlock2D", "AttnDownBlock2D"), downsample_padding=0, flip_sin_to_cos=False,
        freq_shift=1, in_channels=3, layers_per_block=1, mid_block_scale_factor=1, norm_eps=1e-6,
        norm_num_groups=4, out_channels=3, sample_size=16, time_embedding_type="positional",
        up_block_types=("AttnUpBlock2D", "UpBlock2D"),
    ),
}

# Arguments of DiTTransformer2DModel by case; dit_other_size gets pictures of another size than sample_size.
TRANSFORMERS = {
    "dit_classes": dict(
        sample_size=8, in_channels=1, num_attention_heads=2, attention_head_dim=8, num_layers=2, patch_size=2,
        num_embeds_ada_norm=5, dropout=0.25,
    ),
    "dit_unconditional": dict(
        sample_size=12, in_channels=3, out_channels=6, num_attention_heads=3, attention_head_dim=4, num_layers=1,
        patch_size=4, num_embeds_ada_norm=0, activation_fn="gelu", norm_elementwise_affine=True, norm_eps=1e-3,
    ),
    "dit_other_size": dict(
        sample_size=7, in_channels=2, num_attention_heads=1, attention_head_dim=12, num_layers=2, patch_size=2,
        num_embeds_ada_norm=3,
    ),
}

LINEAR, SCALED, COSINE = "linear", "scaled_linear", "squaredcos_cap_v2"

# name: (scheduler class, number of steps, eta, arguments of the scheduler)
TRAJECTORIES = {
    "ddpm_default": (DDPMScheduler, 50, None, dict()),
    "ddpm_20": (DDPMScheduler, 20, None, dict(clip_sample=False)),
    "ddpm_7": (DDPMScheduler, 7, None, dict(variance_type="fixed_large")),
    "ddpm_short": (DDPMScheduler, 20, None, dict(num_train_timesteps=20, beta_start=0.001, beta_end=0.3)),
    "ddpm_offset": (DDPMScheduler, 20, None, dict(steps_offset=1, variance_type="fixed_large")),
    "ddpm_trailing": (DDPMScheduler, 7, None, dict(timestep_spacing="trailing", prediction_type="v_prediction")),
    "ddpm_linspace": (DDPMScheduler, 7, None, dict(timestep_spacing="linspace", variance_type="fixed_large")),
    "ddpm_sample": (DDPMScheduler, 20, None, dict(prediction_type="sample", clip_sample=False)),
    "ddpm_clip_range": (DDPMScheduler, 20, None, dict(prediction_type="sample", clip_sample_range=0.5)),
    "ddpm_dynamic": (DDPMScheduler, 20, None, dict(thresholding=True, sample_max_value=2.5)),
    "ddpm_v_scaled": (
        DDPMScheduler, 20, None, dict(prediction_type="v_prediction", beta_schedule=SCALED, clip_sample=False)),
    "ddpm_cosine": (DDPMScheduler, 50, None, dict(beta_schedule=COSINE)),
    "ddpm_cosine_trailing": (
        DDPMScheduler, 20, None,
        dict(beta_schedule=COSINE, timestep_spacing="trailing", variance_type="fixed_large",
             prediction_type="v_prediction", clip_sample=False)),
    "ddim_default": (DDIMScheduler, 50, 0.0, dict()),
    "ddim_20_half": (DDIMScheduler, 20, 0.5, dict(clip_sample=False)),
    "ddim_7_full": (DDIMScheduler, 7, 1.0, dict()),
    "ddim_short": (
        DDIMScheduler, 7, 1.0, dict(num_train_timesteps=20, beta_start=0.001, beta_end=0.3, set_alpha_to_one=False)),
    "ddim_alpha0": (DDIMScheduler, 20, 0.0, dict(set_alpha_to_one=False, clip_sample=False)),
    "ddim_offset": (
        DDIMScheduler, 20, 0.0,
        dict(beta_schedule=SCALED, steps_offset=1, set_alpha_to_one=False, clip_sample=False)),
    "ddim_trailing": (DDIMScheduler, 7, 0.5, dict(timestep_spacing="trailing")),
    "ddim_trailing_v": (
        DDIMScheduler, 20, 0.0,
        dict(timestep_spacing="trailing", prediction_type="v_prediction", beta_schedule=COSINE, clip_sample=False)),
    "ddim_linspace": (DDIMScheduler, 20, 1.0, dict(timestep_spacing="linspace", set_alpha_to_one=False)),
    "ddim_sample": (DDIMScheduler, 20, 0.5, dict(prediction_type="sample")),
    "ddim_sample_unclipped": (DDIMScheduler, 7, 0.0, dict(prediction_type="sample", clip_sample=False)),
    "ddim_dynamic": (
        DDIMScheduler, 20, 0.0, dict(thresholding=True, dynamic_thresholding_ratio=0.9, sample_max_value=3.0)),
    "ddim_v": (DDIMScheduler, 50, 1.0, dict(prediction_type="v_prediction", beta_schedule=SCALED)),
    "ddim_cosine": (DDIMScheduler, 50, 0.5, dict(beta_schedule=COSINE)),
}

TABLES = {name: dict(beta_schedule=name) for name in (LINEAR, SCALED, COSINE)} | {
    "linear_20": dict(num_train_timesteps=20, beta_start=0.001, beta_end=0.3),
    "squaredcos_cap_v2_100": dict(num_train_timesteps=100, beta_schedule=COSINE),
}


def generator_for(name):
    """A random generator that depends on nothing but the name of the case."""
    return torch.Generator().manual_seed(zlib.crc32(name.encode()))


def randomise(model, generator):
    """Fill every parameter so that none is at 0 or at its initial value and all of them matter."""
    for name, parameter in model.named_parameters():
        noise = torch.randn(parameter.shape, generator=generator)
        if parameter.ndim > 1:
            noise /= parameter[0].numel() ** 0.5
        elif name.endswith("weight"):
            noise = 1 + 0.3 * noise
        else:
            noise *= 0.3
        parameter.data.copy_(noise)


def make_inputs(model, generator, batch=BATCH, fractional=False, size=None):
    """Random tensors for the model, the last timestep being 999 (999.5 if fractional)."""
    config = model.config
    size = [size, size] if size else config.sample_size if isinstance(config.sample_size, (tuple, list)) else [config.sample_size] * 2
    timestep = torch.randint(0, 1000, [batch], generator=generator)
    timestep[-1] = 999
    inputs = {
        "sample": torch.randn([batch, config.in_channels, *size], generator=generator),
        "timestep": timestep + 0.5 if fractional else timestep,
        "target": torch.randn([batch, config.out_channels or config.in_channels, *size], generator=generator),
    }
    if isinstance(model, DiTTransformer2DModel):
        if config.num_embeds_ada_norm > 0:  # the last row is that of "no class"
            inputs["class_labels"] = torch.randint(0, config.num_embeds_ada_norm + 1, [batch], generator=generator)
            inputs["class_labels"][-1] = config.num_embeds_ada_norm
    elif config.class_embed_type == "identity":
        width = config.time_embedding_dim or 4 * config.block_out_channels[0]
        inputs["class_labels"] = torch.randn([batch, width], generator=generator)
    elif model.class_embedding is not None:
        inputs["class_labels"] = torch.randint(0, config.num_class_embeds or 10, [batch], generator=generator)
    return inputs


def reference(model, inputs):
    """Output, loss and gradients of the model (converted to float64 in place), as float32."""
    model.double().eval().zero_grad()
    if isinstance(model, DiTTransformer2DModel):
        labels = inputs.get("class_labels", torch.zeros_like(inputs["timestep"]))
        return answer(model, inputs, lambda sample: model(sample, inputs["timestep"], labels).sample)
    # A "timestep" class embedding takes the float32 result of time_proj as it is.
    hook = model.time_proj.register_forward_hook(lambda module, args, output: output.double())
    outputs = answer(model, inputs, lambda sample: model(sample, inputs["timestep"], inputs.get("class_labels")).sample)
    hook.remove()
    return outputs


def answer(model, inputs, forward):
    """Output, loss and gradients of a model of float64, as float32."""
    sample = forward(inputs["sample"].double())
    loss = torch.nn.functional.mse_loss(sample, inputs["target"].double())
    loss.backward()
    outputs = {"sample": sample.detach(), "loss": loss.detach()}
    outputs |= {f"grad.{name}": parameter.grad for name, parameter in model.named_parameters()}
    return {name: tensor.float().contiguous() for name, tensor in outputs.items()}


def make_legacy(folder, config):
    """Turn a saved model into what the first diffusers releases wrote."""
    weights = {}
    for name, tensor in load_file(folder / WEIGHTS).items():
        for new, old in LEGACY_NAMES.items():
            name = name.replace(f".{new}.", f".{old}.")
        weights[name] = tensor
    save_file(weights, folder / WEIGHTS, {"format": "pt"})
    config = {"_class_name": "UNet2DModel", "_diffusers_version": "0.0.4", **config}
    (folder / "config.json").write_text(json.dumps(config, indent=2) + "\n")


def make_case(out, name, config):
    """Write one model with its input and output; the answer comes from the files as saved."""
    generator = generator_for(name)
    folder = out / name if name == "legacy" else out / name / "unet"
    model = UNet2DModel(**config)
    randomise(model, generator)
    model.save_pretrained(folder)
    if name == "legacy":
        make_legacy(folder, config)
    model = UNet2DModel.from_pretrained(folder)
    inputs = make_inputs(model, generator, fractional=name == "fractional_timestep")
    save_file(inputs, out / name / "in.safetensors")
    save_file(reference(model, inputs), out / name / "out.safetensors")


def make_transformer(out, name, config):
    """Write one DiTTransformer2DModel with its input and output."""
    generator = generator_for(name)
    folder = out / name / "transformer"
    model = DiTTransformer2DModel(**config)
    randomise(model, generator)
    model.save_pretrained(folder)
    model = DiTTransformer2DModel.from_pretrained(folder)
    inputs = make_inputs(model, generator, size=10 if name == "dit_other_size" else None)
    save_file(inputs, out / name / "in.safetensors")
    save_file(reference(model, inputs), out / name / "out.safetensors")


def make_trajectory(out, name, scheduler, steps, eta):
    """Write one denoising run on random model outputs."""
    generator = generator_for(name)
    scheduler.set_timesteps(steps)
    initial, *random = torch.randn([1 + 2 * steps, 1, 1, 4, 4], generator=generator)
    model_outputs, noises = random[:steps], random[steps:]
    sample, samples = initial.double(), []
    for timestep, model_output, noise in zip(scheduler.timesteps, model_outputs, noises):
        if eta is None:
            with mock.patch("diffusers.schedulers.scheduling_ddpm.randn_tensor", lambda *_, **__: noise.double()):
                sample = scheduler.step(model_output.double(), timestep, sample).prev_sample
        else:
            sample = scheduler.step(
                model_output.double(), timestep, sample, eta=eta, variance_noise=noise.double()
            ).prev_sample
        samples.append(sample)
    tensors = {
        "timesteps": scheduler.timesteps,
        "initial": initial,
        "model_output": torch.stack(model_outputs),
        "noise": torch.stack(noises),
        "sample": torch.stack(samples).float(),
    }
    save_file({key: tensor.contiguous() for key, tensor in tensors.items()}, out / f"{name}.safetensors")
    run = {"num_inference_steps": steps, "eta": eta, "scheduler": json.loads(scheduler.to_json_string())}
    (out / f"{name}.json").write_text(json.dumps(run, indent=2) + "\n")


def make_tables(out):
    """Write the noise schedules as diffusers computes them."""
    tables = {}
    for name, config in TABLES.items():
        scheduler = DDPMScheduler(**config)
        tables[f"{name}.betas"] = scheduler.betas
        tables[f"{name}.alphas_cumprod"] = scheduler.alphas_cumprod
    save_file(tables, out / "tables.safetensors")


def main():
    parser = argparse.ArgumentParser(description="Generate the golden files from diffusers.")
    parser.add_argument("--out", type=Path, default=Path(__file__).parent, help="default: this script's folder")
    out = parser.parse_args().out
    for name, config in CASES.items():
        make_case(out, name, config)
    for name, config in TRANSFORMERS.items():
        make_transformer(out, name, config)
    schedulers = out / "schedulers"
    schedulers.mkdir(parents=True, exist_ok=True)
    make_tables(schedulers)
    for name, (scheduler, steps, eta, config) in TRAJECTORIES.items():
        make_trajectory(schedulers, name, scheduler(**config), steps, eta)


if __name__ == "__main__":
    main()
