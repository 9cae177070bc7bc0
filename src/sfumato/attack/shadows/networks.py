"""A group of networks of one architecture, computed at once where that is faster: batched products.

What ``torch.func.vmap`` would do, written out, because on a processor it is several times faster.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING

from sfumato.errors import InputError
from sfumato.measure import cnn

if TYPE_CHECKING:
    from torch import Tensor, nn

    Layers = tuple[tuple[str, nn.Module], ...]

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

        layers = _layers(self)
        if self.family == cnn.CONVOLUTIONAL:  # several at once are no faster than in turn
            return torch.stack(
                [
                    _alone(layers, own, some)
                    for own, some in zip(_each(weights), records, strict=True)
                ]
            )
        flow = records.flatten(2)
        for name, layer in layers:
            if isinstance(layer, nn.Linear):
                weight, bias = weights[f"{name}.weight"], weights[f"{name}.bias"]
                if len(flow) == 1:  # a plain product is faster than a batch of one
                    flow = nn.functional.linear(flow[0], weight[0], bias[0])[None]
                else:
                    flow = torch.baddbmm(bias[:, None], flow, weight.transpose(1, 2))
            elif not isinstance(layer, nn.Flatten):
                flow = layer(flow)
        return flow


def _each(weights: Mapping[str, Tensor]) -> Iterator[dict[str, Tensor]]:
    """The weights of each network; of a single one they are not copied, nor their gradients."""
    split = (part.unbind() if len(part) > 1 else (part.squeeze(0),) for part in weights.values())
    for own in zip(*split, strict=True):
        yield dict(zip(weights, own, strict=True))


def _alone(layers: Layers, weights: Mapping[str, Tensor], flow: Tensor) -> Tensor:
    """(n, K) of one network's records; the layers, which threads share, are not touched."""
    from torch import nn

    from sfumato.measure.pooled import Pooled, convolve

    for name, layer in layers:
        if isinstance(layer, Pooled):
            flow = convolve(flow, weights[f"{name}.weight"], weights[f"{name}.bias"])
        elif isinstance(layer, nn.Linear):
            flow = nn.functional.linear(flow, weights[f"{name}.weight"], weights[f"{name}.bias"])
        else:
            flow = layer(flow)
    return flow


@lru_cache
def _layers(network: Network) -> Layers:
    """The layers by name, without weights."""
    import torch

    from sfumato.measure.pooled import fused

    with torch.device("meta"):
        return tuple(fused(network.module()).named_children())
