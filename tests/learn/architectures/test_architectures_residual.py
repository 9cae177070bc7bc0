"""Wide residual networks: standardised filters, and the layers that were asked for."""

from __future__ import annotations

import torch

from sfumato.learn.architectures import build
from sfumato.learn.architectures.residual import _Standardised


def test_filters_act_with_mean_0_and_variance_1_over_the_fan_in() -> None:
    layer = _Standardised(3, 4, 3, padding=1)
    with torch.no_grad():
        layer.weight.mul_(7).add_(2)
        layer.bias.zero_()
    images = torch.randn(5, 3, 6, 6)
    flat = layer.weight.detach().flatten(1)
    centred = flat - flat.mean(dim=1, keepdim=True)
    unit = centred / (flat.var(dim=1, unbiased=False, keepdim=True) * 27).sqrt()
    wanted = torch.nn.functional.conv2d(images, unit.view_as(layer.weight), padding=1)
    torch.testing.assert_close(layer(images), wanted, rtol=1e-4, atol=1e-4)


def test_depth_and_width_are_those_asked_for_and_no_layer_keeps_batch_statistics() -> None:
    module = build(
        {"family": "wide-resnet", "shape": [3, 8, 8], "classes": 5, "depth": 16, "width": 2}
    )
    layers = list(module.modules())
    convolutions = [m for m in layers if isinstance(m, _Standardised)]
    # One at first, two in each of 2 x 3 blocks, and a short cut where the width changes.
    assert len(convolutions) == 1 + 12 + 3
    assert max(c.out_channels for c in convolutions) == 128
    assert not any("BatchNorm" in type(m).__name__ for m in layers)
    assert list(module.buffers()) == []
    assert module(torch.rand(2, 3, 8, 8)).shape == (2, 5)
