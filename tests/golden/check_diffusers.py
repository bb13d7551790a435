#!/usr/bin/env python3
"""Check a built sfumato against the installed diffusers, in both directions.

Models made by diffusers: random UNet2DModels and DiTTransformer2DModels are saved, `sfumato predict --grad` runs on them, and
its output, loss and every gradient must lie within --tolerance of the float64 answer of diffusers,
relative to the norm of the tensor.

With --run DIR, a folder that `sfumato train` left: diffusers must load it (as a whole DDPMPipeline
where the model is unconditional, which must also generate an image), `sfumato predict` must agree
with it, and must still agree on what save_pretrained writes back.

Prints one row per check; exits with 1 if any fails.
"""

import argparse
import random
import subprocess
import sys
import tempfile
from pathlib import Path

import torch
from diffusers import DDPMPipeline, DiTTransformer2DModel, UNet2DModel
from diffusers.utils.logging import disable_progress_bar
from safetensors.torch import load_file, save_file

from make_golden import generator_for, make_inputs, randomise, reference


class Table:
    """Prints the rows of the report as they come and remembers whether one failed."""

    def __init__(self, tolerance):
        self.tolerance = tolerance
        self.failed = False

    def row(self, name, passed, text):
        self.failed |= not passed
        print(f"{'ok  ' if passed else 'FAIL'}  {name:<22}  {text}", flush=True)
        return passed

    def compare(self, name, actual, expected, note=""):
        """One row on the tensor of `expected` that `actual` comes least near to."""
        errors = {key: relative_error(key, actual, expected) for key in expected}
        worst = max(errors, key=errors.get)
        text = f"output {errors['sample']:.1e}  worst {errors[worst]:.1e} {worst}  {note}".rstrip()
        return self.row(name, errors[worst] <= self.tolerance, text)


def relative_error(name, actual, expected):
    """Distance of actual[name] from expected[name] over the norm of the latter.

    Two gradients have no norm of their own to speak of and are measured against that of the weight
    beside them: an attention key bias, where the exact gradient is zero, and a bias of one number,
    where the terms may cancel.
    """
    value, target = actual.get(name), expected[name]
    if value is not None and value.numel() == target.numel() == 1:
        value = value.reshape(target.shape)
    if value is None or value.shape != target.shape or not value.isfinite().all():
        return float("inf")
    if name.endswith("to_k.bias") or (name.endswith(".bias") and target.numel() == 1):
        scale = expected[name.replace(".bias", ".weight")].norm()
    else:
        scale = target.norm()
    return ((value - target).norm() / scale).item()


def random_config(rng):
    """Random arguments for a UNet2DModel, larger than those of the golden files."""
    blocks = rng.randint(1, 4)
    attention = rng.choice([0, 0.4, 1])
    down = [rng.random() < attention for _ in range(blocks)]
    up = [rng.random() < attention for _ in range(blocks)]
    class_embedding = rng.choice([
        {}, {}, {"num_class_embeds": rng.randint(2, 20)}, {"class_embed_type": "timestep"},
        {"class_embed_type": "identity"},
    ])
    return dict(
        sample_size=[rng.randint(2, 4) << (blocks - 1) for _ in range(2)],
        in_channels=rng.randint(1, 4),
        out_channels=rng.randint(1, 4),
        block_out_channels=[rng.choice([32, 48, 64]) for _ in range(blocks)],
        layers_per_block=rng.randint(1, 3),
        down_block_types=["AttnDownBlock2D" if attend else "DownBlock2D" for attend in down],
        up_block_types=["AttnUpBlock2D" if attend else "UpBlock2D" for attend in up],
        mid_block_type=rng.choice(["UNetMidBlock2D"] * 4 + [None]),
        add_attention=rng.random() < 0.75,
        attention_head_dim=rng.choice([None, 4, 8, 16]),
        norm_num_groups=rng.choice([4, 8, 16]),
        attn_norm_num_groups=rng.choice([None, 2, 8]),
        norm_eps=rng.choice([1e-6, 1e-5, 1e-3]),
        resnet_time_scale_shift=rng.choice(["default", "scale_shift"]),
        mid_block_scale_factor=rng.choice([1, 2**0.5]),
        downsample_padding=rng.randint(0, 1),
        flip_sin_to_cos=rng.random() < 0.5,
        freq_shift=rng.randint(0, 1),
        center_input_sample=rng.random() < 0.25,
        dropout=rng.choice([0.0, 0.1]),
        time_embedding_dim=rng.choice([None, None, 96]),
        **class_embedding,
    )


def random_transformer(rng):
    """Random arguments for a DiTTransformer2DModel."""
    patch = rng.choice([1, 2, 4])
    return dict(
        sample_size=patch * rng.randint(2, 6),
        patch_size=patch,
        in_channels=rng.randint(1, 4),
        out_channels=rng.choice([None, 2, 6]),
        num_attention_heads=rng.choice([1, 2, 4]),
        attention_head_dim=rng.choice([8, 16, 20]),
        num_layers=rng.randint(1, 4),
        num_embeds_ada_norm=rng.choice([0, 3, 10]),
        activation_fn=rng.choice(["gelu", "gelu-approximate"]),
        norm_elementwise_affine=rng.random() < 0.25,
        norm_eps=rng.choice([1e-6, 1e-5, 1e-3]),
        dropout=rng.choice([0.0, 0.1]),
    )


def predict(program, model, inputs, folder, *options):
    """Run `sfumato predict` in a scratch folder and return the tensors it writes, none if it fails."""
    source, result = folder / "in.safetensors", folder / "out.safetensors"
    save_file(inputs, source)
    command = [program, "predict", "--model", model, "--in", source, "--out", result, *options]
    completed = subprocess.run(command, stdout=subprocess.DEVNULL)
    return load_file(result) if completed.returncode == 0 else {}


def part_of(model):
    """The folder that holds such a network."""
    return "transformer" if isinstance(model, DiTTransformer2DModel) else "unet"


def check_random(program, table, name, model_class, config):
    """Diffusers to sfumato: one random model, output and gradients."""
    generator = generator_for(name)
    model = model_class(**config)
    randomise(model, generator)
    inputs = make_inputs(model, generator)
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        model.save_pretrained(folder / part_of(model))
        actual = predict(program, folder, inputs, folder, "--grad")
    note = f"({model.num_parameters():,} parameters, {inputs['sample'].shape[2]}x{inputs['sample'].shape[3]})"
    if not table.compare(name, actual, reference(model, inputs), note):
        print(f"      {config}")


def check_run(program, table, run):
    """Sfumato to diffusers and back: a trained pipeline folder."""
    model_class = DiTTransformer2DModel if (run / "transformer").is_dir() else UNet2DModel
    part = "transformer" if model_class is DiTTransformer2DModel else "unet"
    model = model_class.from_pretrained(run, subfolder=part, local_files_only=True)
    inputs = make_inputs(model, generator_for("run"))
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        if part == "unet" and model.class_embedding is None:
            pipeline = DDPMPipeline.from_pretrained(run, local_files_only=True)
            pipeline.set_progress_bar_config(disable=True)
            image = pipeline(num_inference_steps=2, output_type="pt", generator=generator_for("image")).images
            table.row("run: pipeline", bool(image.isfinite().all()), f"image {list(image.shape)}")
            pipeline.save_pretrained(folder)
        else:
            model.save_pretrained(folder / part)
        expected = {"sample": reference(model, inputs)["sample"]}
        table.compare("run: trained", predict(program, run, inputs, folder), expected)
        table.compare("run: saved again", predict(program, folder, inputs, folder), expected)


def main():
    parser = argparse.ArgumentParser(description="Check a built sfumato against the installed diffusers.")
    parser.add_argument("program", type=Path, help="path of the sfumato program")
    parser.add_argument("--run", type=Path, help="also check this folder, left by `sfumato train`")
    parser.add_argument("--count", type=int, default=16, help="number of random models (default 16)")
    parser.add_argument("--seed", type=int, default=0, help="seed of the random models (default 0)")
    parser.add_argument("--tolerance", type=float, default=2e-5, help="relative error allowed (default 2e-5)")
    args = parser.parse_args()
    if args.run and not args.run.is_dir():
        parser.error(f"no such folder: {args.run}")
    disable_progress_bar()
    program = args.program.resolve()

    table = Table(args.tolerance)
    rng = random.Random(args.seed)
    for index in range(args.count):
        check_random(program, table, f"random {args.seed}.{index}", UNet2DModel, random_config(rng))
    for index in range(args.count):
        name = f"transformer {args.seed}.{index}"
        check_random(program, table, name, DiTTransformer2DModel, random_transformer(rng))
    if args.run:
        check_run(program, table, args.run)
    print("FAILED" if table.failed else "all checks passed")
    sys.exit(table.failed)


if __name__ == "__main__":
    main()
