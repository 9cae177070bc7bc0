"""What one use of a parameter adds to each example's gradient, kept in the cheapest form.

Four forms: a per-example gradient (:class:`Direct`), a sum of outer products over positions
(:class:`Outer`, a linear layer), rows picked by an index (:class:`Lookup`, an embedding), and a
convolution (in ``convolutions.py``). Each knows its examples' squared norms and its weighted sum
over examples without forming what it can avoid. Norms and sums are never computed below float32.

Sources: Goodfellow 2015 (outer norms), Li et al. 2022 (ghost norms), Bu et al. 2022-23
(choice by shape, book-keeping).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from math import prod
from typing import Protocol

import torch
from torch import Tensor

# A Gram pair costs T²(d+p); the outer product T·d·p is needed anyway for the sum, and then only
# pays for being kept and streamed. Measured crossover on CPU: T(d+p) against a share of d·p.
_GRAM_SHARE = 0.15
# Above this many positions an embedding's Gram costs more than sorting its indices.
_LOOKUP_GRAM = 256
# Of a large linear layer so many columns are scaled at a time on a CPU: no copy of all of them.
_COLUMNS = 64
_LARGE_WEIGHT = 1 << 16
# Below this share of the square of what its terms could add up to, a Gram norm is taken again (one
# in float64 is good for longer). Terms that do not know of each other come to one over T.
_CANCELLED = {torch.float32: 2.0**-8, torch.float64: 2.0**-30}
# Of what its terms could add up to, this is added to such a norm, squared: what should have
# cancelled moves the weighted sum, too, by what is rounded of it.
_LEFT = {torch.float32: 1e-4, torch.float64: 1e-7}


class Contribution(Protocol):
    """What one or more uses of a parameter add to the gradient of each of n examples."""

    def squared_norms(self) -> Tensor:
        """Squared L2 norms, (n,), of the examples' gradients."""

    def add_weighted(self, factors: Tensor, total: Tensor) -> None:
        """Adds the sum over examples of factor times gradient to ``total``, in place."""

    def per_example(self) -> Tensor:
        """The examples' gradients, (n, *shape), formed."""

    def kept(self, good: Tensor) -> Contribution:
        """The same with zeros, whatever stood there, for examples where ``good`` is false."""


def wide(values: Tensor) -> Tensor:
    """The values in float32 if they are in a shorter floating type."""
    return values.to(wide_type(values))


def wide_type(values: Tensor) -> torch.dtype:
    """The type of their norms and sums: their own, or float32 if that is longer."""
    return torch.float32 if values.dtype in (torch.float16, torch.bfloat16) else values.dtype


def zeroed(values: Tensor, good: Tensor) -> Tensor:
    """A copy with zeros for the examples (dimension 0) that are not good, NaN included."""
    shape = (-1,) + (1,) * (values.ndim - 1)
    return torch.where(good.view(shape), values, values.new_zeros(()))


def scaled(values: Tensor, factors: Tensor) -> Tensor:
    """Each example (dimension 0) times its factor."""
    return values * factors.view((-1,) + (1,) * (values.ndim - 1))


def rows(values: Tensor) -> Tensor:
    """(n, numbers) of each example: one of a parameter that is a number."""
    return values.flatten(1) if values.ndim > 1 else values.unsqueeze(1)


def lost_below(dtype: torch.dtype, terms: int) -> float:
    """What a sum of so many products may lack of those too small for a number, at most.

    An input of 1e19 and an output gradient of 1e-23, whose square is 0, make a gradient that is
    not: with this added, norms are too large by a trifle instead.
    """
    return terms * torch.finfo(dtype).tiny


def _squares(values: Tensor) -> Tensor:
    """Sum of squares of each example, (n,); never too small: see :func:`lost_below`."""
    flat = rows(values)
    if flat.shape[1] == 0:
        return flat.new_zeros(len(flat))
    norms: Tensor = torch.linalg.vector_norm(flat, dim=1)
    return norms.square().add_(lost_below(flat.dtype, flat.shape[1]))


def careful(
    squares: Tensor, reach: Tensor, again: Callable[[Tensor], tuple[Tensor, Tensor]]
) -> Tensor:
    """Squared norms that Gram matrices gave, (n,), never too small where their terms cancel.

    Positions of opposite sign leave little but what was rounded of them: an example with terms of
    1e5 and a gradient of norm 12 had one of 0, and was not clipped. There the norm is taken in
    float64, and a trifle too large.

    Args:
        squares: As they were summed.
        reach: (n,) the sum of the norms of the terms.
        again: The same two in float64, of the examples at these indices.
    """
    lost = squares < _CANCELLED[squares.dtype] * reach.square()
    if not bool(lost.any()):
        return squares
    which = lost.nonzero()[:, 0]
    exact, most = again(which)
    exact = exact + (_LEFT[squares.dtype] * most).square()
    return squares.index_copy(0, which, exact.to(squares.dtype))


def gram_product(left: Tensor, right: Tensor, terms: tuple[int, int]) -> tuple[Tensor, Tensor]:
    """(n,) squared norms of sums over T products, and the reach of these; see :func:`careful`.

    Args:
        left, right: (n, T, T), the Gram matrices of the factors.
        terms: How many products each of their entries is a sum of.
    """
    own = [gram.diagonal(dim1=1, dim2=2).clamp(min=0) for gram in (left, right)]
    positions = left.shape[1]
    lost = [lost_below(left.dtype, count * positions) for count in terms]
    # Rounding may leave a tiny negative number where positions cancel; NaN stays NaN.
    squares = (left.flatten(1) * right.flatten(1)).sum(1).clamp(min=0)
    # All entries of a Gram matrix add up to T times those of its diagonal, at most.
    squares = squares + own[0].sum(1) * lost[1] + own[1].sum(1) * lost[0]
    return squares, (own[0].sqrt() * own[1].sqrt()).sum(1)


def doubled(values: Tensor, which: Tensor) -> Tensor:
    """These examples in float64."""
    return values[which].double()


@dataclass(frozen=True)
class Direct:
    """Per-example gradients that are there already: (n, *shape).

    Args:
        gradients: Them.
        squares: (n,) their squared norms, where they are known.
    """

    gradients: Tensor
    squares: Tensor | None = None

    def squared_norms(self) -> Tensor:
        """See :meth:`Contribution.squared_norms`."""
        return _squares(self.gradients) if self.squares is None else self.squares

    def add_weighted(self, factors: Tensor, total: Tensor) -> None:
        """See :meth:`Contribution.add_weighted`."""
        # A view with explicit sizes: an empty batch leaves nothing for -1 to be inferred from.
        flat = self.gradients.reshape(len(self.gradients), total.numel())
        if total.is_contiguous():
            total.view(-1).addmv_(flat.t(), factors.to(flat.dtype))
        else:
            total += (flat.t() @ factors.to(flat.dtype)).view(total.shape)

    def per_example(self) -> Tensor:
        """See :meth:`Contribution.per_example`."""
        return self.gradients

    def kept(self, good: Tensor) -> Direct:
        """See :meth:`Contribution.kept`."""
        return Direct(zeroed(self.gradients, good))


@dataclass(frozen=True)
class Outer:
    """A linear map's weight: the sum over T positions of output gradient times input.

    Args:
        inputs: (n, T, d).
        gradients: (n, T, p), of the outputs. The weight is (p, d).
    """

    inputs: Tensor
    gradients: Tensor

    def squared_norms(self) -> Tensor:
        """See :meth:`Contribution.squared_norms`."""
        if self.inputs.shape[1] == 1:
            return _squares(self.inputs) * _squares(self.gradients)
        return careful(*self.gram(), lambda which: self.doubled(which).gram())

    def gram(self) -> tuple[Tensor, Tensor]:
        """Squared norms by Gram matrices, and the reach of their terms; see :func:`careful`."""
        left = torch.bmm(self.inputs, self.inputs.transpose(1, 2))
        right = torch.bmm(self.gradients, self.gradients.transpose(1, 2))
        return gram_product(left, right, (self.inputs.shape[2], self.gradients.shape[2]))

    def doubled(self, which: Tensor) -> Outer:
        """These examples in float64."""
        return Outer(doubled(self.inputs, which), doubled(self.gradients, which))

    def add_weighted(self, factors: Tensor, total: Tensor) -> None:
        """See :meth:`Contribution.add_weighted`."""
        left, right = self._weighted(factors)
        total.addmm_(left.t(), right)

    def weighted(self, factors: Tensor) -> Tensor:
        """The sum over examples of factor times gradient, (p, d): nothing to add it to yet."""
        n, positions, d = self.inputs.shape
        p = self.gradients.shape[2]
        large = d * p >= _LARGE_WEIGHT and n > 1
        if positions > 1 or not large or self.inputs.device.type != "cpu":
            left, right = self._weighted(factors)
            return left.t() @ right
        total = self.inputs.new_empty(p, d)
        left, right = self.gradients.flatten(0, 1), self.inputs.flatten(0, 1)
        for start in range(0, p, _COLUMNS):
            some = slice(start, start + _COLUMNS)
            torch.mm(scaled(left[:, some], factors.to(left.dtype)).t(), right, out=total[some])
        return total

    def _weighted(self, factors: Tensor) -> tuple[Tensor, Tensor]:
        left, right = self.gradients, self.inputs
        if left.shape[-1] <= right.shape[-1]:
            left = scaled(left, factors.to(left.dtype))
        else:
            right = scaled(right, factors.to(right.dtype))
        return left.flatten(0, 1), right.flatten(0, 1)

    def per_example(self) -> Tensor:
        """See :meth:`Contribution.per_example`."""
        return torch.bmm(self.gradients.transpose(1, 2), self.inputs)

    def kept(self, good: Tensor) -> Outer:
        """See :meth:`Contribution.kept`."""
        return Outer(zeroed(self.inputs, good), zeroed(self.gradients, good))


@dataclass(frozen=True)
class Lookup:
    """An embedding's weight: rows ``indices`` receive ``gradients``.

    Args:
        indices: (n, T) int64, in [0, rows).
        gradients: (n, T, d).
        rows: The number of rows of the weight, (rows, d).
    """

    indices: Tensor
    gradients: Tensor
    rows: int

    def squared_norms(self) -> Tensor:
        """See :meth:`Contribution.squared_norms`."""
        positions = self.indices.shape[1]
        if positions == 1:
            return _squares(self.gradients)
        return careful(*self.gram(), lambda which: self.doubled(which).gram())

    def gram(self) -> tuple[Tensor, Tensor]:
        """Squared norms, and the reach of their terms; see :func:`careful`."""
        n, positions, width = self.gradients.shape
        lost = lost_below(self.gradients.dtype, positions * width)
        norms = torch.linalg.vector_norm(self.gradients, dim=2)
        if positions <= _LOOKUP_GRAM:
            same = self.indices.unsqueeze(2) == self.indices.unsqueeze(1)
            gram = torch.bmm(self.gradients, self.gradients.transpose(1, 2))
            # A NaN must stay visible even where two positions hold different indices.
            squares = torch.where(same, gram, gram * 0).flatten(1).sum(1).clamp(min=0)
            return squares + positions * lost, norms.sum(1)
        examples = torch.arange(n, device=self.indices.device).unsqueeze(1)
        keys, where = torch.unique(self.indices + examples * self.rows, return_inverse=True)
        sums = self.gradients.new_zeros(len(keys), width)
        sums.index_add_(0, where.flatten(), self.gradients.flatten(0, 1))
        most = norms.new_zeros(len(keys)).index_add_(0, where.flatten(), norms.flatten())
        both = norms.new_zeros(2, n)
        found = torch.stack([sums.square().sum(1), most.square()])
        squares, reach = both.index_add_(1, keys // self.rows, found)
        return squares + lost, reach.sqrt()

    def doubled(self, which: Tensor) -> Lookup:
        """These examples in float64."""
        return Lookup(self.indices[which], doubled(self.gradients, which), self.rows)

    def add_weighted(self, factors: Tensor, total: Tensor) -> None:
        """See :meth:`Contribution.add_weighted`."""
        weighted = scaled(self.gradients, factors.to(self.gradients.dtype))
        total.index_add_(0, self.indices.flatten(), weighted.flatten(0, 1))

    def per_example(self) -> Tensor:
        """See :meth:`Contribution.per_example`."""
        n = len(self.indices)
        examples = torch.arange(n, device=self.indices.device).unsqueeze(1)
        width = self.gradients.shape[-1]
        dense = self.gradients.new_zeros(n * self.rows, width)
        dense.index_add_(
            0, (self.indices + examples * self.rows).flatten(), self.gradients.flatten(0, 1)
        )
        return dense.view(n, self.rows, width)

    def kept(self, good: Tensor) -> Lookup:
        """See :meth:`Contribution.kept`."""
        return Lookup(self.indices, zeroed(self.gradients, good), self.rows)


@dataclass(frozen=True)
class Tied:
    """One weight that is both looked up and multiplied by (an embedding tied to a decoder).

    The norm is that of the sum of both: the cross term is a Gram of its own, so that the two
    gradients of vocabulary size are never formed for each example.
    """

    lookup: Lookup
    outer: Outer

    def squared_norms(self) -> Tensor:
        """See :meth:`Contribution.squared_norms`."""
        return careful(*self.gram(), lambda which: self.doubled(which).gram())

    def gram(self) -> tuple[Tensor, Tensor]:
        """Squared norms, and the reach of their terms; see :func:`careful`."""
        outer, lookup = self.outer, self.lookup
        (squares, reach), (others, further) = outer.gram(), lookup.gram()
        meet = torch.bmm(outer.inputs, lookup.gradients.transpose(1, 2))
        picked = outer.gradients.gather(
            2, lookup.indices.unsqueeze(1).expand(-1, outer.gradients.shape[1], -1)
        )
        cross = (meet * picked).flatten(1).sum(1)
        return (squares + others + 2 * cross).clamp(min=0), reach + further

    def doubled(self, which: Tensor) -> Tied:
        """These examples in float64."""
        return Tied(self.lookup.doubled(which), self.outer.doubled(which))

    def add_weighted(self, factors: Tensor, total: Tensor) -> None:
        """See :meth:`Contribution.add_weighted`."""
        self.outer.add_weighted(factors, total)
        self.lookup.add_weighted(factors, total)

    def per_example(self) -> Tensor:
        """See :meth:`Contribution.per_example`."""
        return self.outer.per_example() + self.lookup.per_example()

    def kept(self, good: Tensor) -> Tied:
        """See :meth:`Contribution.kept`."""
        return Tied(self.lookup.kept(good), self.outer.kept(good))


def merge(parts: Sequence[Contribution]) -> Contribution:
    """All uses of one parameter as one contribution: the norm of a sum has cross terms."""
    if len(parts) == 1:
        part = parts[0]
        return Direct(part.per_example()) if _better_formed(part) else part
    outers = [part for part in parts if isinstance(part, Outer)]
    lookups = [part for part in parts if isinstance(part, Lookup)]
    merged: list[Contribution] = [
        part for part in parts if not isinstance(part, Outer) and not isinstance(part, Lookup)
    ]
    if outers:
        inputs = torch.cat([part.inputs for part in outers], 1)
        merged.append(Outer(inputs, torch.cat([part.gradients for part in outers], 1)))
    if lookups:
        indices = torch.cat([part.indices for part in lookups], 1)
        gradients = torch.cat([part.gradients for part in lookups], 1)
        merged.append(Lookup(indices, gradients, lookups[0].rows))
    if len(merged) == 1:
        return merge(merged)
    if len(merged) == 2 and isinstance(merged[0], Outer) and isinstance(merged[1], Lookup):
        return Tied(merged[1], merged[0])
    total = merged[0].per_example().clone()
    for part in merged[1:]:
        total += part.per_example()
    return Direct(total)


def _better_formed(part: Contribution) -> bool:
    if not isinstance(part, Outer):
        return False
    return prefer_outer_product(part.inputs.shape, part.gradients.shape)


def prefer_outer_product(inputs: torch.Size, gradients: torch.Size) -> bool:
    """Whether forming each example's product is cheaper than two Gram matrices."""
    positions, d, p = inputs[1], inputs[2], gradients[2]
    return positions > 1 and positions * (d + p) >= _GRAM_SHARE * d * p


def bytes_of(part: Contribution) -> int:
    """Memory that a contribution holds; what the automatic chunk is chosen by."""
    held = 0
    for value in vars(part).values():
        if isinstance(value, Tensor):
            held += prod(value.shape) * value.element_size()
        elif isinstance(value, Outer | Lookup):
            held += bytes_of(value)
    return held
