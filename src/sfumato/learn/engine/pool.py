"""Memory that formed gradients are written to, chunk after chunk."""

from __future__ import annotations

from collections import defaultdict

import torch
from torch import Tensor

_Key = tuple[tuple[int, ...], torch.dtype, torch.device]


class Pool:
    """Tensors to write to; fresh pages cost more than the arithmetic on a CPU.

    What was taken stays taken until :meth:`release`; the values are whatever stood there.

    Attributes:
        rows: How long chunks may become: asked for at once, so that nothing is asked for twice.
    """

    def __init__(self) -> None:
        self.rows = 0
        self._free: dict[_Key, list[Tensor]] = defaultdict(list)
        self._taken: list[Tensor] = []
        self._scratch: Tensor | None = None

    def scratch(self, size: int, like: Tensor) -> Tensor:
        """At least so many numbers, free until the next one asks."""
        found = self._scratch
        if (
            found is None
            or found.numel() < size
            or (found.dtype, found.device) != (like.dtype, like.device)
        ):
            found = self._scratch = torch.empty(size, dtype=like.dtype, device=like.device)
        return found

    def take(self, shape: tuple[int, ...], like: Tensor) -> Tensor:
        """A tensor of that shape with the dtype and device of ``like``."""
        free = self._free[(shape[1:], like.dtype, like.device)]
        # Chunks differ in length: a longer one's memory serves a shorter one, a shorter one's is
        # given up before more is asked for.
        found = free.pop() if free else None
        if found is None or len(found) < shape[0]:
            del found
            room = (max(shape[0], self.rows), *shape[1:])
            found = torch.empty(room, dtype=like.dtype, device=like.device)
        self._taken.append(found)
        return found[: shape[0]]

    def release(self) -> None:
        """Gives everything back, and forgets what the last chunk had no use for."""
        if not self._taken:  # released before: what is free must stay
            return
        self._free.clear()
        for tensor in self._taken:
            self._free[(tuple(tensor.shape[1:]), tensor.dtype, tensor.device)].append(tensor)
        self._taken.clear()
