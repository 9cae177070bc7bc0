"""A row as networks see it: for every column one of its public cells.

Networks give a logit for each cell of each column; a row is drawn from the softmax over each
column's own. Numbers are cells too (public bins), so that piles of zeros and missing values are
cells like any other, and nothing is scaled by what the data hold.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property

import torch
from torch import Tensor
from torch.nn import functional

_TINY = 1e-20


@dataclass(frozen=True)
class Heads:
    """The cells of every column, side by side.

    Args:
        sizes: Cells of each column, in order.
    """

    sizes: tuple[int, ...]

    @property
    def width(self) -> int:
        """Cells of all columns."""
        return sum(self.sizes)

    @cached_property
    def _starts(self) -> Tensor:
        return torch.tensor([sum(self.sizes[:j]) for j in range(len(self.sizes))])

    def encoded(self, places: Tensor) -> Tensor:
        """(n, width) float32, a one for each column's cell, of (n, d) places."""
        index = places.long() + self._starts.to(places.device)
        return torch.zeros(len(places), self.width, device=places.device).scatter_(1, index, 1.0)

    def parts(self, values: Tensor) -> Iterator[Tensor]:
        """(n, cells) of each column, of (n, width)."""
        return iter(torch.split(values, list(self.sizes), dim=1))

    def log_likelihood(self, logits: Tensor, places: Tensor) -> Tensor:
        """(n,) sum over the columns of the log-probability of the cell that a row is in.

        Args:
            logits: (n, width).
            places: (n, d).
        """
        index = places.long() + self._starts.to(places.device)
        chosen = logits.gather(1, index).sum(dim=1)
        totals = torch.stack([part.logsumexp(dim=1) for part in self.parts(logits)]).sum(dim=0)
        return chosen - totals

    def draw(self, logits: Tensor, generator: torch.Generator) -> Tensor:
        """(n, d) places, drawn from each column's softmax.

        Args:
            logits: (n, width).
            generator: Of the draw; on the CPU, so that devices agree.
        """
        noisy = logits + _gumbel(logits, generator)
        return torch.stack([part.argmax(dim=1) for part in self.parts(noisy)], dim=1)

    def relaxed(self, logits: Tensor, temperature: float, generator: torch.Generator) -> Tensor:
        """(n, width) rows drawn as by :meth:`draw`, with the gradient of a softmax.

        What is computed is a one for each column's cell, so that generated rows are no softer
        than real ones; what is differentiated is the softmax at a temperature.

        Source: Jang, Gu, Poole 2017 (straight-through Gumbel-softmax).
        """
        made = []
        for part in self.parts((logits + _gumbel(logits, generator)) / temperature):
            soft = part.softmax(dim=1)
            hard = functional.one_hot(part.argmax(dim=1), part.shape[1]).to(soft.dtype)
            made.append(hard + soft - soft.detach())
        return torch.cat(made, dim=1)

    def at(self, shares: Tensor, uniform: Tensor) -> Tensor:
        """(n, d) places where the columns' distribution functions reach ``uniform``.

        Args:
            shares: (n, width) probabilities; those of a column sum to 1.
            uniform: (n, d) in (0, 1).
        """
        return torch.stack(
            [
                (part.cumsum(dim=1)[:, :-1] < uniform[:, [j]]).sum(dim=1)
                for j, part in enumerate(self.parts(shares))
            ],
            dim=1,
        )


def _gumbel(logits: Tensor, generator: torch.Generator) -> Tensor:
    uniform = torch.rand(logits.shape, generator=generator).clamp_(_TINY, 1 - 1e-7)
    return (-(-uniform.log()).log()).to(logits.device)
