#!/usr/bin/env python3
"""Write the golden files of lucidrains' U-Net: the folders lucid_*, networks with their inputs, outputs and gradients.

The U-Net of the package denoising-diffusion-pytorch is written down here from its published architecture, in plain
PyTorch, under the package's parameter names. --package FOLDER, an unpacked release of the package, checks that it is the
same function: --package 2.0=FOLDER --package 1.9=FOLDER ... (needs einops).

Each case has a config.json as nn/lucid_unet_config.h reads it. lucid_checkpoint.safetensors is what the package's trainer
would keep of a small network: its names have prefixes, and the tables of GaussianDiffusion stand beside it.
"""

import argparse
import importlib
import json
import math
import sys
import types
import zlib
from pathlib import Path
from unittest import mock

import torch
from safetensors.torch import save_file
from torch import nn
from torch.nn import functional as F

# What the package imports for its trainer.
UNUSED = (
    "torchvision", "torchvision.transforms", "torchvision.utils", "PIL", "tqdm.auto", "ema_pytorch", "accelerate",
    "scipy.optimize", "pytorch_fid.fid_score", "pytorch_fid.inception",
)
WEIGHTS = "diffusion_pytorch_model.safetensors"
BATCH = 2

# What the releases differ in: (blocks normalise by RMSNorm, learned keys and values, attention by RMSNorm, filters are
# standardised and attention's names wrapped and its values averaged).
VERSIONS = {
    "2.0": (True, True, True, False),
    "1.9": (False, True, True, False),
    "1.8": (False, False, True, False),
    "1.7": (False, False, True, True),
    "1.0": (False, False, False, True),
}

SMALL = dict(dim=4, dim_mults=(1, 2), channels=1, size=8)
CASES = {
    "lucid_2_0": dict(**SMALL, attn_heads=2, attn_dim_head=4),
    "lucid_full": dict(
        dim=4, init_dim=6, dim_mults=(2, 1, 1), channels=3, learned_variance=True, attn_heads=(1, 2, 3),
        attn_dim_head=(4, 3, 2), full_attn=(True, False, True), size=8,
    ),
    "lucid_1_9": dict(**SMALL, package_version="1.9", resnet_block_groups=2, full_attn=(False, True), attn_heads=2, attn_dim_head=4),
    "lucid_1_8": dict(**SMALL, package_version="1.8", resnet_block_groups=2, full_attn=(False, True)),
    "lucid_1_7": dict(**SMALL, package_version="1.7", resnet_block_groups=2, full_attn=(False, False)),
    "lucid_1_0": dict(**SMALL, package_version="1.0", resnet_block_groups=2, full_attn=(False, False)),
}


class ChannelNorm(nn.Module):
    def __init__(self, width, rms):
        super().__init__()
        self.g, self.rms = nn.Parameter(torch.ones(1, width, 1, 1)), rms

    def forward(self, x):
        if self.rms:
            return x / x.square().mean(1, keepdim=True).sqrt() * self.g
        centred = x - x.mean(1, keepdim=True)
        return centred / (centred.square().mean(1, keepdim=True) + 1e-5).sqrt() * self.g


class Filters(nn.Conv2d):
    """A 3x3 convolution whose filters have mean 0 and variance 1 if `standard`."""

    def __init__(self, width, out, standard):
        super().__init__(width, out, 3, padding=1)
        self.standard = standard

    def forward(self, x):
        w = self.weight
        if self.standard:
            w = w - w.mean((1, 2, 3), keepdim=True)
            w = w / (w.square().mean((1, 2, 3), keepdim=True) + 1e-5).sqrt()
        return F.conv2d(x, w, self.bias, padding=1)


class Block(nn.Module):
    def __init__(self, width, out, version, groups):
        super().__init__()
        rms, _, _, old = VERSIONS[version]
        self.proj = Filters(width, out, old)
        self.norm = ChannelNorm(out, True) if rms else nn.GroupNorm(groups, out)

    def forward(self, x, told=None):
        y = self.norm(self.proj(x))
        if told is not None:
            scale, shift = told[:, :, None, None].chunk(2, 1)
            y = y * (1 + scale) + shift
        return F.silu(y)


class Resnet(nn.Module):
    def __init__(self, width, out, time, version, groups):
        super().__init__()
        self.mlp = nn.Sequential(nn.SiLU(), nn.Linear(time, 2 * out))
        self.block1, self.block2 = Block(width, out, version, groups), Block(out, out, version, groups)
        if width != out:
            self.res_conv = nn.Conv2d(width, out, 1)

    def forward(self, x, time):
        return self.block2(self.block1(x, self.mlp(time))) + (self.res_conv(x) if hasattr(self, "res_conv") else x)


class Attention(nn.Module):
    def __init__(self, width, heads, head, full, version):
        super().__init__()
        _, memory, rms, self.old = VERSIONS[version]
        self.heads, self.full = heads, full
        self.to_qkv = nn.Conv2d(width, 3 * heads * head, 1, bias=False)
        out = nn.Conv2d(heads * head, width, 1)
        self.to_out = out if full else nn.Sequential(out, ChannelNorm(width, rms))
        self.norm = ChannelNorm(width, rms)
        if memory:
            self.mem_kv = nn.Parameter(torch.randn((2, heads, 4, head) if full else (2, heads, head, 4)))

    def forward(self, x):
        n, _, height, width = x.shape
        # [n, heads, d, pixels]
        q, k, v = (part.reshape(n, self.heads, -1, height * width) for part in self.to_qkv(self.norm(x)).chunk(3, 1))
        if hasattr(self, "mem_kv"):
            memory = self.mem_kv.transpose(2, 3) if self.full else self.mem_kv
            k, v = (torch.cat([m.expand(n, -1, -1, -1), part], 3) for m, part in zip(memory, (k, v)))
        scale = q.shape[2] ** -0.5
        if self.full:
            y = v @ (q.transpose(2, 3) @ k * scale).softmax(3).transpose(2, 3)
        else:
            y = (k.softmax(3) @ v.transpose(2, 3)).transpose(2, 3) @ q.softmax(2) * scale
            y = y / (height * width) if self.old else y
        return x + self.to_out(y.reshape(n, -1, height, width))


class Unshuffle(nn.Module):
    def forward(self, x):
        return F.pixel_unshuffle(x, 2)


def each(value, levels):
    return value if isinstance(value, (tuple, list)) else (value,) * levels


class Unet(nn.Module):
    def __init__(self, dim, dim_mults, channels, size, init_dim=None, learned_variance=False, attn_heads=4,
                 attn_dim_head=32, full_attn=None, resnet_block_groups=8, package_version="2.0"):
        super().__init__()
        levels, first = len(dim_mults), init_dim or dim
        heads, head = each(attn_heads, levels), each(attn_dim_head, levels)
        full = each(full_attn, levels) if full_attn else (False,) * (levels - 1) + (True,)
        widths = [first] + [dim * m for m in dim_mults]
        self.dim, self.size, self.channels = dim, size, channels
        self.out = channels * (2 if learned_variance else 1)

        def resnet(width, out):
            return Resnet(width, out, 4 * dim, package_version, resnet_block_groups)

        def attention(width, i, is_full):
            return Attention(width, heads[i], head[i], is_full, package_version)

        def level(i, up):
            below, above = widths[i], widths[i + 1]
            same = i == (0 if up else levels - 1)
            to, of = (below, above) if up else (above, below)
            if same:
                resample = nn.Conv2d(of, to, 3, padding=1)
            elif up:
                resample = nn.Sequential(nn.Upsample(scale_factor=2), nn.Conv2d(of, to, 3, padding=1))
            else:
                resample = nn.Sequential(Unshuffle(), nn.Conv2d(4 * of, to, 1))
            width = above + below if up else below
            return nn.ModuleList([resnet(width, of), resnet(width, of), attention(of, i, full[i]), resample])

        self.init_conv = nn.Conv2d(channels, first, 7, padding=3)
        self.time_mlp = nn.Sequential(
            nn.Identity(), nn.Linear(dim, 4 * dim), nn.GELU(), nn.Linear(4 * dim, 4 * dim))
        self.downs = nn.ModuleList([level(i, False) for i in range(levels)])
        self.mid_block1 = resnet(widths[-1], widths[-1])
        self.mid_attn = attention(widths[-1], levels - 1, True)
        self.mid_block2 = resnet(widths[-1], widths[-1])
        self.ups = nn.ModuleList([level(i, True) for i in reversed(range(levels))])
        self.final_res_block = resnet(2 * first, first)
        self.final_conv = nn.Conv2d(first, self.out, 1)

    def features(self, t):
        """Sines and cosines in float32, as the package computes them."""
        half = self.dim // 2
        omega = torch.exp(torch.arange(half) * (-math.log(10000) / (half - 1)))
        angle = t.float()[:, None] * omega[None]
        return torch.cat([angle.sin(), angle.cos()], 1)

    def forward(self, x, t):
        x = first = self.init_conv(x)
        time = self.time_mlp(self.features(t).to(x.dtype))
        skips = []
        for block1, block2, attention, resample in self.downs:
            skips.append(block1(x, time))
            skips.append(attention(block2(skips[-1], time)))
            x = resample(skips[-1])
        x = self.mid_block2(self.mid_attn(self.mid_block1(x, time)), time)
        for block1, block2, attention, resample in self.ups:
            x = block1(torch.cat([x, skips.pop()], 1), time)
            x = resample(attention(block2(torch.cat([x, skips.pop()], 1), time)))
        return self.final_conv(self.final_res_block(torch.cat([x, first], 1), time))


def package_name(name, version):
    """The package's name of a parameter: up to release 1.7 attention is wrapped in Residual and PreNorm."""
    parts = name.split(".")
    at = 1 if parts[0] == "mid_attn" else 3 if parts[0] in ("downs", "ups") and parts[2] == "2" else 0
    if not at or not VERSIONS[version][3]:
        return name
    wrap = ["fn"] if parts[at] == "norm" else ["fn", "fn"]
    return ".".join(parts[:at] + wrap + parts[at:])


def randomise(model, generator):
    for name, parameter in model.named_parameters():
        noise = torch.randn(parameter.shape, generator=generator)
        if name.endswith("mem_kv"):
            pass
        elif name.endswith(".g") or (parameter.ndim == 1 and name.endswith("weight")):
            noise = 1 + 0.3 * noise
        elif parameter.ndim > 1:
            noise /= parameter[0].numel() ** 0.5
        else:
            noise *= 0.3
        parameter.data.copy_(noise)


def config_of(case):
    config = {key: value for key, value in case.items() if key != "size"}
    return {"_class_name": "Unet", "package_version": "2.0", **config, "sample_size": case["size"]}


def make_case(out, name, case):
    generator = torch.Generator().manual_seed(zlib.crc32(name.encode()))
    version = case.get("package_version", "2.0")
    model = Unet(**case)
    randomise(model, generator)
    (out / name / "unet").mkdir(parents=True, exist_ok=True)
    (out / name / "unet" / "config.json").write_text(json.dumps(config_of(case), indent=2) + "\n")
    weights = {package_name(key, version): value.clone() for key, value in model.state_dict().items()}
    save_file({key: value.contiguous() for key, value in weights.items()}, out / name / "unet" / WEIGHTS,
              {"format": "pt"})
    size = case["size"]
    inputs = {
        "sample": torch.randn([BATCH, case["channels"], size, size + 4], generator=generator),
        "timestep": torch.tensor([17, 999]),
        "target": torch.randn([BATCH, model.out, size, size + 4], generator=generator),
    }
    save_file(inputs, out / name / "in.safetensors")
    model.double()
    sample = model(inputs["sample"].double(), inputs["timestep"])
    loss = F.mse_loss(sample, inputs["target"].double())
    loss.backward()
    outputs = {"sample": sample.detach(), "loss": loss.detach()}
    outputs |= {f"grad.{package_name(key, version)}": p.grad for key, p in model.named_parameters()}
    save_file({key: value.float().contiguous() for key, value in outputs.items()}, out / name / "out.safetensors")
    return weights, inputs, sample.detach()


def sigmoid_tables(steps):
    """ᾱ of Jabri 2022 ("Scalable adaptive computation"), start -3, end 3, as the package keeps it."""
    t = torch.linspace(0, steps, steps + 1, dtype=torch.float64) / steps
    low, high = torch.sigmoid(torch.tensor(-3.0)), torch.sigmoid(torch.tensor(3.0))
    alpha_bar = (high - torch.sigmoid(6 * t - 3)) / (high - low)
    alpha_bar = alpha_bar / alpha_bar[0]
    betas = (1 - alpha_bar[1:] / alpha_bar[:-1]).clip(0, 0.999)
    alpha_bar = torch.cumprod(1 - betas, 0)
    snr = alpha_bar / (1 - alpha_bar)
    return {key: value.float() for key, value in
            dict(betas=betas, alphas_cumprod=alpha_bar, loss_weight=snr / (snr + 1)).items()}


def make_checkpoint(out, weights):
    """Two copies of the weights, the second one as the moving average, with the diffusion's tables, T = 50."""
    tensors = {"step": torch.tensor(7), "ema.initted": torch.tensor(True), "ema.step": torch.tensor(7)}
    for prefix, factor in (("model.", 0.5), ("ema.ema_model.", 1.0)):
        tensors |= {f"{prefix}model.{key}": value * factor for key, value in weights.items()}
        tensors |= {f"{prefix}{key}": value for key, value in sigmoid_tables(50).items()}
    save_file({key: value.contiguous() for key, value in tensors.items()}, out / "lucid_checkpoint.safetensors")


def check_package(folder, name, case, weights, inputs, sample):
    """That a release of the package computes the same."""
    for unused in UNUSED:
        try:
            importlib.import_module(unused)
        except ImportError:
            sys.modules[unused] = mock.MagicMock()
    for module in [key for key in sys.modules if key.startswith("denoising_diffusion_pytorch")]:
        del sys.modules[module]
    package = types.ModuleType("denoising_diffusion_pytorch")
    package.__path__ = [str(Path(folder) / "denoising_diffusion_pytorch")]
    sys.modules["denoising_diffusion_pytorch"] = package
    theirs = importlib.import_module("denoising_diffusion_pytorch.denoising_diffusion_pytorch").Unet
    arguments = {key: value for key, value in case.items() if key not in ("size", "package_version")}
    if VERSIONS[case.get("package_version", "2.0")][3]:
        del arguments["full_attn"]  # is not open there
    model = theirs(**arguments)
    model.load_state_dict(weights)
    with torch.no_grad():
        difference = (model(inputs["sample"], inputs["timestep"]) - sample).norm() / sample.norm()
    print(f"{name}: {difference:.1e} from {folder}")
    assert difference < 1e-5


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, default=Path(__file__).parent, help="default: this script's folder")
    parser.add_argument("--package", action="append", default=[], metavar="VERSION=FOLDER")
    arguments = parser.parse_args()
    packages = dict(pair.split("=") for pair in arguments.package)
    for name, case in CASES.items():
        weights, inputs, sample = make_case(arguments.out, name, case)
        if name == "lucid_2_0":
            make_checkpoint(arguments.out, weights)
        if folder := packages.get(case.get("package_version", "2.0")):
            check_package(folder, name, case, weights, inputs, sample)


if __name__ == "__main__":
    main()
