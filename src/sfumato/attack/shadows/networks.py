"""A group of networks of one architecture as one network: convolutions in groups, batched products.

What ``torch.func.vmap`` would do, written out, because on a processor it is several times faster:
vmap's batched convolutions work in the slow memory layout.
"""

from __future__ import annotations

import threading
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from sfumato.errors import InputError
from sfumato.measure import cnn

if TYPE_CHECKING:
    from torch import Tensor, nn

FAMILIES = (cnn.CONVOLUTIONAL, cnn.DENSE, cnn.LINEAR)
_SEEDING = threading.Lock()  # torch's generator belongs to the whole process


@dataclass(frozen=True)
class Network:
    """An architecture of :mod:`sfumato.measure.cnn`.

    Args:
        family: ``cnn.CONVOLUTIONAL``, ``cnn.DENSE`` or ``cnn.LINEAR``.
        shape: Of one record: (c, h, w), or (p,) features.
        classes: K.

    Raises:
        InputError: If the family is unknown or does not fit the records.
    """

    family: str
    shape: tuple[int, ...]
    classes: int

    def __post_init__(self) -> None:
        if self.family not in FAMILIES:
            raise InputError(
                f"the shadow models' family is {self.family!r}", f"Known: {', '.join(FAMILIES)}."
            )
        if self.family == cnn.CONVOLUTIONAL and (len(self.shape) != 3 or min(self.shape[1:]) < 4):
            raise InputError(
                f"a {self.family} does not take records of shape {self.shape}",
                f"Use {cnn.DENSE!r} or {cnn.LINEAR!r}.",
            )

    def module(self) -> nn.Sequential:
        """One network, its weights drawn from torch's global generator."""
        return cnn.build(self.family, self.shape, self.classes)

    def initial(self, seeds: Sequence[int]) -> dict[str, Tensor]:
        """Untrained weights of a network a seed, stacked along the first axis."""
        import torch

        states = []
        with _SEEDING, torch.random.fork_rng(devices=[]):
            for seed in seeds:
                torch.manual_seed(seed)
                states.append(self.module().state_dict())
        return {name: torch.stack([state[name] for state in states]) for name in states[0]}

    def scores(self, weights: Mapping[str, Tensor], records: Tensor) -> Tensor:
        """What each network makes of its own records.

        Args:
            weights: As :meth:`initial` gives them, for m networks.
            records: (m, n, *shape).

        Returns:
            (m, n, K) unnormalised log-probabilities.

        >>> import torch
        >>> network = Network(cnn.LINEAR, (3,), 2)
        >>> network.scores(network.initial([0, 1]), torch.zeros(2, 5, 3)).shape
        torch.Size([2, 5, 2])
        """
        import torch
        from torch import nn
        from torch.nn import functional

        m, n = records.shape[:2]
        pictures = len(self.shape) == 3
        if pictures:  # networks side by side as channels
            flow = records.transpose(0, 1).reshape(n, m * self.shape[0], *self.shape[1:])
            flow = flow.contiguous(memory_format=torch.channels_last)
        else:
            flow = records
        for place, layer in enumerate(_layers(self)):
            weight, bias = weights.get(f"{place}.weight"), weights.get(f"{place}.bias")
            if isinstance(layer, nn.Conv2d):
                assert weight is not None
                assert bias is not None
                # Of one channel both layouts are the same, so the weight's strides decide.
                flow = functional.conv2d(
                    flow,
                    weight.flatten(0, 1).clone(memory_format=torch.channels_last),
                    bias.flatten(),
                    padding=layer.padding,
                    groups=m,
                )
            elif isinstance(layer, nn.Linear):
                assert weight is not None
                assert bias is not None
                if m == 1:  # a plain product is faster than a batch of one
                    flow = functional.linear(flow[0], weight[0], bias[0])[None]
                else:
                    flow = torch.baddbmm(bias[:, None], flow, weight.transpose(1, 2))
            elif isinstance(layer, nn.Flatten):
                if pictures:
                    flow = flow.reshape(n, m, -1).transpose(0, 1)
            else:
                flow = layer(flow)
        return flow


def _layers(network: Network) -> nn.Sequential:
    """The layers without weights."""
    import torch

    with torch.device("meta"):
        return network.module()
