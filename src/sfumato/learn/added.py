"""A clipped sum over more records than are in memory at a time: that of its parts."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import NamedTuple

import torch
from torch import Tensor

from sfumato.learn.mechanism import Summed


class Added(NamedTuple):
    """A sum over several parts.

    Attributes:
        gradients: By parameter the sum of the records' clipped gradients, float32.
        norms: (groups, n) of the records' gradients before the clip. Private.
    """

    gradients: dict[str, Tensor]
    norms: Tensor


def added(parts: Iterable[Summed], trainable: Mapping[str, Tensor], groups: int) -> Summed:
    """The sum of parts, taken one by one; of none, zeros.

    Args:
        parts: Clipped sums of disjoint records.
        trainable: The parameters, for their shapes.
        groups: How many groups of parameters are clipped by themselves.
    """
    totals = {name: torch.zeros_like(p, dtype=torch.float32) for name, p in trainable.items()}
    norms = [torch.zeros(groups, 0)]
    for part in parts:
        for name, total in totals.items():  # the engine may use its tensors again
            total += part.gradients[name]
        norms.append(part.norms.detach().cpu())
    return Added(totals, torch.cat(norms, dim=1))
