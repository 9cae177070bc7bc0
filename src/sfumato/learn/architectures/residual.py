"""Wide residual networks with group normalisation and standardised weights.

Neither mixes examples: group normalisation averages within one image, weight standardisation
within one filter.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional

from sfumato.learn.architectures import family

_GROUPS = 16
_STAGES = ((1, 1), (2, 2), (4, 2))  # width over the first stage's, and stride


@family("wide-resnet")
def wide_resnet(
    *, shape: Sequence[int], classes: int, depth: int = 16, width: int = 4
) -> nn.Module:
    """A wide residual network, ``WRN-depth-width``.

    Args:
        shape: ``(channels, height, width)``.
        classes: K.
        depth: ``6 n + 4`` for ``n`` blocks a stage.
        width: Factor on the 16 channels of the first stage.

    Source: De et al. 2022, "Unlocking High-Accuracy Differentially Private Image Classification
    through Scale".
    """
    blocks = (depth - 4) // 6
    layers: list[nn.Module] = [_Standardised(shape[0], 16, 3, padding=1)]
    inner = 16
    for factor, stride in _STAGES:
        outer = 16 * width * factor
        for place in range(blocks):
            layers.append(_Block(inner, outer, stride if place == 0 else 1))
            inner = outer
    head = [nn.GroupNorm(_GROUPS, inner), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten()]
    return nn.Sequential(*layers, *head, nn.Linear(inner, classes))


class _Standardised(nn.Conv2d):
    """A convolution whose filters have mean 0 and variance 1 / fan-in, times a learnt gain."""

    def __init__(self, inner: int, outer: int, size: int, stride: int = 1, padding: int = 0):
        super().__init__(inner, outer, size, stride, padding)
        self.gain = nn.Parameter(torch.ones(outer, 1, 1, 1))

    def forward(self, values: Tensor) -> Tensor:
        """values: (n, inner, h, w)."""
        weight = self.weight
        fan_in = weight[0].numel()
        centred = weight - weight.mean(dim=(1, 2, 3), keepdim=True)
        spread = (weight.var(dim=(1, 2, 3), unbiased=False, keepdim=True) * fan_in + 1e-4).rsqrt()
        return functional.conv2d(
            values, centred * spread * self.gain, self.bias, self.stride, self.padding
        )


class _Block(nn.Module):
    """Normalise, activate, convolve, twice, beside a short cut."""

    def __init__(self, inner: int, outer: int, stride: int) -> None:
        super().__init__()
        self.norm1, self.norm2 = nn.GroupNorm(_GROUPS, inner), nn.GroupNorm(_GROUPS, outer)
        self.conv1 = _Standardised(inner, outer, 3, stride, 1)
        self.conv2 = _Standardised(outer, outer, 3, 1, 1)
        same = inner == outer and stride == 1
        self.short = None if same else _Standardised(inner, outer, 1, stride)

    def forward(self, values: Tensor) -> Tensor:
        """values: (n, inner, h, w)."""
        active = functional.relu(self.norm1(values))
        deep = self.conv2(functional.relu(self.norm2(self.conv1(active))))
        summed: Tensor = deep + (values if self.short is None else self.short(active))
        return summed
