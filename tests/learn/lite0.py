"""Weights under their published names, small random ones, and the network written out once more."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from sfumato.vision import efficientnet_lite

# (expansion, kernel, stride, channels in, channels out) of the 16 blocks
BLOCKS = (
    (1, 3, 1, 32, 16),
    (6, 3, 2, 16, 24),
    (6, 3, 1, 24, 24),
    (6, 5, 2, 24, 40),
    (6, 5, 1, 40, 40),
    (6, 3, 2, 40, 80),
    (6, 3, 1, 80, 80),
    (6, 3, 1, 80, 80),
    (6, 5, 1, 80, 112),
    (6, 5, 1, 112, 112),
    (6, 5, 1, 112, 112),
    (6, 5, 2, 112, 192),
    (6, 5, 1, 192, 192),
    (6, 5, 1, 192, 192),
    (6, 5, 1, 192, 192),
    (6, 3, 1, 192, 320),
)


def published(seed: int = 0) -> dict[str, Tensor]:
    """Weights as the package's file names them."""
    generator = torch.Generator().manual_seed(seed)
    found: dict[str, Tensor] = {}

    def conv(name: str, *shape: int) -> None:
        scale = (shape[1] * shape[2] * shape[3]) ** -0.5
        found[f"{name}.weight"] = 2 * scale * torch.randn(*shape, generator=generator)

    def norm(name: str, channels: int) -> None:
        found[f"{name}.weight"] = 0.5 + torch.rand(channels, generator=generator)
        found[f"{name}.bias"] = torch.randn(channels, generator=generator)
        found[f"{name}.running_mean"] = 0.3 * torch.randn(channels, generator=generator)
        found[f"{name}.running_var"] = 0.5 + torch.rand(channels, generator=generator)
        found[f"{name}.num_batches_tracked"] = torch.tensor(7)

    conv("_conv_stem", 32, 3, 3, 3)
    norm("_bn0", 32)
    for i, (expansion, kernel, _, inside, outside) in enumerate(BLOCKS):
        middle = expansion * inside
        if expansion > 1:
            conv(f"_blocks.{i}._expand_conv", middle, inside, 1, 1)
            norm(f"_blocks.{i}._bn0", middle)
        conv(f"_blocks.{i}._depthwise_conv", middle, 1, kernel, kernel)
        norm(f"_blocks.{i}._bn1", middle)
        conv(f"_blocks.{i}._project_conv", outside, middle, 1, 1)
        norm(f"_blocks.{i}._bn2", outside)
    conv("_conv_head", 1280, 320, 1, 1)
    norm("_bn1", 1280)
    found["_fc.weight"] = torch.zeros(1000, 1280)
    found["_fc.bias"] = torch.zeros(1000)
    return found


def written_out(weights: dict[str, Tensor], images: Tensor) -> Tensor:
    """(n, 3, s, s) prepared images to (n, 1280) averages: the definition, layer by layer."""

    def normed(x: Tensor, name: str) -> Tensor:
        w, b, mean, var = (
            weights[f"{name}.{kind}"][:, None, None].to(x)
            for kind in ("weight", "bias", "running_mean", "running_var")
        )
        return (x - mean) / (var + 1e-3).sqrt() * w + b

    def strided(x: Tensor, name: str, stride: int, groups: int = 1) -> Tensor:
        filters = weights[f"{name}.weight"].to(x)
        kernel, side = filters.shape[-1], x.shape[-1]
        missing = max(0, (-(-side // stride) - 1) * stride + kernel - side)
        grown = x.new_zeros(*x.shape[:2], side + missing, side + missing)
        start = missing // 2
        grown[..., start : start + side, start : start + side] = x
        return F.conv2d(grown, filters, stride=stride, groups=groups)

    def relu6(x: Tensor) -> Tensor:
        return torch.minimum(torch.maximum(x, x.new_zeros(())), x.new_tensor(6.0))

    x = relu6(normed(strided(images, "_conv_stem", 2), "_bn0"))
    for i, (expansion, _, stride, inside, outside) in enumerate(BLOCKS):
        place, before = f"_blocks.{i}", x
        if expansion > 1:
            x = relu6(normed(strided(x, f"{place}._expand_conv", 1), f"{place}._bn0"))
        groups = expansion * inside
        x = relu6(normed(strided(x, f"{place}._depthwise_conv", stride, groups), f"{place}._bn1"))
        x = normed(strided(x, f"{place}._project_conv", 1), f"{place}._bn2")
        if stride == 1 and inside == outside:
            x = x + before
    x = relu6(normed(strided(x, "_conv_head", 1), "_bn1"))
    return x.mean((2, 3))


def random_network(side: int = 32, seed: int = 0) -> nn.Sequential:
    """The network in parts with random weights: what tests tune in ImageNet's place."""
    network = efficientnet_lite.network(side)
    efficientnet_lite.load_weights(network, published(seed))
    return network
