#!/usr/bin/env python3
"""Write layers.safetensors: what PyTorch computes with the layers of nn/classic_layers.h, in float64 stored as float32.

For each entry of LAYERS: <name>.x, y, dy, dx, and of every parameter p <name>.p.<p> and <name>.grad.<p>; images are
[N,H,W,C]. batch_norm is run in training on two batches (x0 and x), then evaluated on x: <name>.eval is that
answer, <name>.buffer.<b> the buffers before it.
"""

import zlib
from pathlib import Path

import torch
from safetensors.torch import save_file

IMAGE = (2, 6, 7, 3)
LAYERS = {
    "rms_norm": (torch.nn.RMSNorm(5, eps=1e-6), (3, 4, 5)),
    "layer_norm": (torch.nn.LayerNorm(5, elementwise_affine=False), (3, 4, 5)),
    "avg_pool": (torch.nn.AvgPool2d(3), IMAGE),
    "avg_pool_strided": (torch.nn.AvgPool2d(3, 2), IMAGE),
    "max_pool": (torch.nn.MaxPool2d(2), IMAGE),
    "max_pool_strided": (torch.nn.MaxPool2d(3, 1), IMAGE),
    "conv_transpose": (torch.nn.ConvTranspose2d(3, 4, 3, 2, padding=1, output_padding=1), IMAGE),
    "conv_transpose_plain": (torch.nn.ConvTranspose2d(3, 2, 2), IMAGE),
    "batch_norm": (torch.nn.BatchNorm2d(3), IMAGE),
}


def channels_last(x):
    return x.permute(0, 2, 3, 1) if x.ndim == 4 else x


def channels_first(x):
    return x.permute(0, 3, 1, 2) if x.ndim == 4 else x


def main():
    tensors = {}
    for name, (layer, shape) in LAYERS.items():
        generator = torch.Generator().manual_seed(zlib.crc32(name.encode()))

        def draw(size):
            return torch.randn(size, generator=generator).double()

        layer.double()
        for key, parameter in layer.named_parameters():
            parameter.data.copy_(draw(parameter.shape))
            tensors[f"{name}.p.{key}"] = parameter.detach().clone()
        if name == "batch_norm":
            tensors[f"{name}.x0"] = draw(shape) * 2 + 1
            layer(channels_first(tensors[f"{name}.x0"]))
        x = draw(shape).requires_grad_()
        y = channels_last(layer(channels_first(x)))
        dy = draw(y.shape)
        layer.zero_grad()
        y.backward(dy)
        tensors |= {f"{name}.x": x.detach(), f"{name}.y": y.detach(), f"{name}.dy": dy, f"{name}.dx": x.grad}
        tensors |= {f"{name}.grad.{key}": parameter.grad for key, parameter in layer.named_parameters()}
        tensors |= {f"{name}.buffer.{key}": buffer.clone() for key, buffer in layer.named_buffers()}
        if name == "batch_norm":
            tensors[f"{name}.eval"] = channels_last(layer.eval()(channels_first(x))).detach()
    stored = {k: (t if t.dtype == torch.int64 else t.float()).contiguous() for k, t in tensors.items()}
    save_file(stored, Path(__file__).parent / "layers.safetensors")


if __name__ == "__main__":
    main()
