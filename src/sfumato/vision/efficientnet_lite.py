"""EfficientNet-Lite0: a small image network whose ImageNet weights a package of its own ships.

Written from the papers: inverted bottlenecks without squeeze-and-excitation, ReLU6 throughout,
zero padding as TensorFlow does it (an odd pixel goes to the far side). It is cut into *parts* so
that what is frozen can be computed once and what is trained can be small: the preparation of the
picture, the stem, 16 blocks, the widening at the top, the average over the picture.

No part ever sees more than one image at a time: batch norms are frozen to the statistics that
came with the weights, which are ImageNet's, whatever mode the module is in.

Source: Tan and Le, "EfficientNet", ICML 2019, Table 1; Sandler et al., "MobileNetV2", CVPR 2018
(the blocks); the Lite variant is described in TensorFlow's release notes of 2020.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Mapping
from typing import Any, NamedTuple

import torch.nn.functional as F
from torch import Tensor, nn

from sfumato.errors import InputError

FEATURES = 1280
"""Numbers that the last part gives for one image."""
SMALLEST_SIDE = 32
"""The network halves a picture five times."""
PIXEL_MEAN = 127 / 255
PIXEL_STDDEV = 128 / 255
"""What the weights were trained with, in all three channels."""
_EPSILON = 1e-3


class Stage(NamedTuple):
    """Blocks of one resolution.

    Attributes:
        blocks: How many.
        kernel: Side of the depthwise filters.
        stride: Of the first block.
        expansion: Width inside a block over the width that goes in.
        channels: Width that comes out.
    """

    blocks: int
    kernel: int
    stride: int
    expansion: int
    channels: int


STAGES = (
    Stage(1, 3, 1, 1, 16),
    Stage(2, 3, 2, 6, 24),
    Stage(2, 5, 2, 6, 40),
    Stage(3, 3, 2, 6, 80),
    Stage(3, 5, 1, 6, 112),
    Stage(4, 5, 2, 6, 192),
    Stage(1, 3, 1, 6, 320),
)
STEM = 32


class FrozenNorm(nn.BatchNorm2d):
    """A batch norm that never looks at a batch: it is in eval mode, always.

    Its mean and variance are those that came with the weights; ``weight`` and ``bias`` may be
    trained.
    """

    def __init__(self, channels: int) -> None:
        super().__init__(channels, eps=_EPSILON)
        self.num_batches_tracked = None  # nothing is tracked
        self.eval()

    def train(self, mode: bool = True) -> FrozenNorm:
        """Stays in eval mode."""
        super().train(False)
        return self

    def _load_from_state_dict(
        self, state_dict: dict[str, Any], prefix: str, local_metadata: dict[str, Any], *more: Any
    ) -> None:
        # Plain tensors carry no version, for which torch would ask for the count of batches.
        super()._load_from_state_dict(state_dict, prefix, {**local_metadata, "version": 2}, *more)


class SamePad(nn.Module):
    """Zeros around a picture so that a stride divides it up: ``ceil(side / stride)`` come out.

    Args:
        kernel: Side of the filter that follows.
        stride: Of it.
    """

    def __init__(self, kernel: int, stride: int) -> None:
        super().__init__()
        self.kernel, self.stride = kernel, stride

    def forward(self, images: Tensor) -> Tensor:
        """(n, c, h, w) to (n, c, h', w'), the odd zero on the right and below."""
        above, below = self._around(images.shape[-2])
        left, right = self._around(images.shape[-1])
        return F.pad(images, (left, right, above, below))

    def _around(self, side: int) -> tuple[int, int]:
        steps = -(-side // self.stride)
        missing = max(0, (steps - 1) * self.stride + self.kernel - side)
        return missing // 2, missing - missing // 2


class Prepare(nn.Module):
    """The picture as the network expects it: a public function of each image alone.

    Args:
        side: What pictures are resized to, in pixels; a multiple of 32 wastes nothing.

    Raises:
        InputError: If the side is too small for the network.
    """

    def __init__(self, side: int) -> None:
        super().__init__()
        if not (isinstance(side, int) and SMALLEST_SIDE <= side <= 1024):
            raise InputError(
                f"the side of the network's pictures is {side!r}",
                f"Give a whole number of pixels from {SMALLEST_SIDE} to 1024.",
            )
        self.side = side

    def forward(self, images: Tensor) -> Tensor:
        """(n, 1 or 3, h, w) floats in [0, 1] to (n, 3, side, side), about 0."""
        size = (self.side, self.side)
        if images.shape[-2:] != size:
            images = F.interpolate(images, size, mode="bilinear", antialias=True)
        if images.shape[1] == 1:
            images = images.expand(-1, 3, -1, -1)
        return (images - PIXEL_MEAN) / PIXEL_STDDEV


class Block(nn.Module):
    """An inverted bottleneck: widen, filter each channel, narrow; added to what went in.

    Args:
        wide: Expansion, 1 for none.
        inside: Channels that go in.
        outside: Channels that come out.
        kernel: Side of the depthwise filters.
        stride: Of them.
    """

    def __init__(self, wide: int, inside: int, outside: int, kernel: int, stride: int) -> None:
        super().__init__()
        middle = wide * inside
        layers: OrderedDict[str, nn.Module] = OrderedDict()
        if wide > 1:
            layers["expand"] = nn.Conv2d(inside, middle, 1, bias=False)
            layers["expand_norm"] = FrozenNorm(middle)
            layers["expand_relu"] = nn.ReLU6()
        layers["pad"] = SamePad(kernel, stride)
        layers["filter"] = nn.Conv2d(middle, middle, kernel, stride, groups=middle, bias=False)
        layers["filter_norm"] = FrozenNorm(middle)
        layers["filter_relu"] = nn.ReLU6()
        layers["project"] = nn.Conv2d(middle, outside, 1, bias=False)
        layers["project_norm"] = FrozenNorm(outside)
        self.layers = nn.Sequential(layers)
        self.added = stride == 1 and inside == outside

    def forward(self, images: Tensor) -> Tensor:
        """(n, inside, h, w) to (n, outside, h / stride, w / stride)."""
        changed: Tensor = self.layers(images)
        return images + changed if self.added else changed


class Pool(nn.Module):
    """The average of each feature over the picture."""

    def forward(self, images: Tensor) -> Tensor:
        """(n, 1280, h, w) to (n, 1280)."""
        return images.mean((2, 3))


def network(side: int) -> nn.Sequential:
    """The network in named parts, with weights at random and nothing to be trained.

    Args:
        side: See :class:`Prepare`.

    Returns:
        ``prepare``, ``stem``, ``block1`` to ``block16``, ``top``, ``pool``: together they take
        (n, 1 or 3, h, w) in [0, 1] and give (n, 1280).
    """
    parts: OrderedDict[str, nn.Module] = OrderedDict(prepare=Prepare(side))
    parts["stem"] = nn.Sequential(
        OrderedDict(
            pad=SamePad(3, 2),
            conv=nn.Conv2d(3, STEM, 3, 2, bias=False),
            norm=FrozenNorm(STEM),
            relu=nn.ReLU6(),
        )
    )
    channels = STEM
    for stage in STAGES:
        for number in range(stage.blocks):
            stride = stage.stride if number == 0 else 1
            block = Block(stage.expansion, channels, stage.channels, stage.kernel, stride)
            parts[f"block{len(parts) - 1}"] = block
            channels = stage.channels
    parts["top"] = nn.Sequential(
        OrderedDict(
            conv=nn.Conv2d(channels, FEATURES, 1, bias=False),
            norm=FrozenNorm(FEATURES),
            relu=nn.ReLU6(),
        )
    )
    parts["pool"] = Pool()
    return nn.Sequential(parts).requires_grad_(False)


def between(network: nn.Sequential, start: int, stop: int) -> nn.Sequential:
    """The parts from ``start`` to before ``stop``, under their names; not copied."""
    return nn.Sequential(OrderedDict(list(network.named_children())[start:stop]))


def load_weights(network: nn.Sequential, weights: Mapping[str, Tensor]) -> None:
    """Copies weights under the names of the published file into the parts.

    Args:
        network: From :func:`network`.
        weights: By published name; the 1000-class layer ``_fc`` is not used.

    Raises:
        InputError: If a tensor is missing, left over or of another shape.
    """
    theirs = {
        name: value
        for name, value in weights.items()
        if not name.startswith("_fc.") and not name.endswith("num_batches_tracked")
    }
    published = {_published(name): value for name, value in network.state_dict().items()}
    for name in sorted(set(published) ^ set(theirs)):
        where = "missing" if name in published else "not part of the network"
        raise InputError(f"the weights are not of EfficientNet-Lite0: {name} is {where}", _SAME)
    for name, value in theirs.items():
        if published[name].shape != value.shape:
            raise InputError(f"{name} of the weights has shape {tuple(value.shape)}", _SAME)
        published[name].copy_(value)


_SAME = "Use the file of the package that the extra installs."
_LAYERS = {
    "expand": "_expand_conv",
    "expand_norm": "_bn0",
    "filter": "_depthwise_conv",
    "filter_norm": "_bn1",
    "project": "_project_conv",
    "project_norm": "_bn2",
}


def _published(name: str) -> str:
    """The published name of one of our tensors."""
    part, *path, kind = name.split(".")
    if part == "stem":
        return f"{'_conv_stem' if path == ['conv'] else '_bn0'}.{kind}"
    if part == "top":
        return f"{'_conv_head' if path == ['conv'] else '_bn1'}.{kind}"
    return f"_blocks.{int(part.removeprefix('block')) - 1}.{_LAYERS[path[-1]]}.{kind}"
