"""All contributions of a chunk at once, where C can read them; else one by one, in torch.

On a small network most of a step is the calls, not the arithmetic.
"""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor

from sfumato.learn.engine import kernels
from sfumato.learn.engine.contributions import Contribution, Direct, Outer, wide_type
from sfumato.learn.engine.convolutions import Formed


def squared_norms(found: Mapping[str, Contribution]) -> dict[str, Tensor]:
    """(n,) squared norms of each parameter's gradients."""
    fast = kernels.rows()
    asked: list[Tensor] = []
    who: list[tuple[str, int]] = []
    if fast is not None:
        for name, part in found.items():
            needed = _rows(part)
            if needed and all(map(fast.takes, needed)):
                who.append((name, len(needed)))
                asked += needed
    known: dict[str, Tensor] = {}
    if fast is not None and asked:
        squares = iter(fast.squared_norms(asked))
        for name, count in who:
            one = next(squares)
            known[name] = one if count == 1 else one * next(squares)
    return {
        name: known[name] if name in known else part.squared_norms() for name, part in found.items()
    }


def add_weighted(
    found: Mapping[str, Contribution],
    factors: Mapping[str, Tensor],
    totals: dict[str, Tensor],
    parameters: Mapping[str, Tensor],
) -> None:
    """Adds each parameter's weighted sum over examples to its total, in place.

    Args:
        found: By parameter.
        factors: (n,) of each parameter.
        totals: So far; a parameter that has none is given one.
        parameters: Whose totals they are.
    """
    fast = kernels.rows()
    together: list[tuple[Tensor, Tensor, Tensor]] = []
    turned: list[tuple[Tensor, Tensor]] = []
    for name, part in found.items():
        own = factors[name]
        if name not in totals:
            if isinstance(part, Outer) and part.gradients.dtype == wide_type(parameters[name]):
                totals[name] = part.weighted(own)  # no zeros to write and to read again
                continue
            totals[name] = zeros(parameters[name])
        total = totals[name]
        if (
            fast is not None
            and isinstance(part, Direct | Formed)
            and fast.takes(part.gradients)
            and own.dtype == total.dtype == torch.float32
            and own.is_contiguous()
        ):
            order = total.permute(0, 2, 3, 1) if isinstance(part, Formed) else total
            if order.is_contiguous():
                together.append((part.gradients, own, order))
                continue
            if isinstance(part, Formed):
                sums = torch.zeros(order.shape)
                together.append((part.gradients, own, sums))
                turned.append((order, sums))
                continue
        part.add_weighted(own, total)
    if fast is not None and together:
        fast.add_weighted(together)
    for order, sums in turned:
        order.add_(sums)


def zeros(parameter: Tensor) -> Tensor:
    """A total to begin with, in float32 at least."""
    return torch.zeros_like(parameter, dtype=wide_type(parameter), requires_grad=False)


def _rows(part: Contribution) -> tuple[Tensor, ...]:
    """The tensors whose rows' squared norms, multiplied, are the contribution's; or nothing."""
    if isinstance(part, Direct) and part.squares is None:
        return (part.gradients,)
    if isinstance(part, Outer) and part.inputs.shape[1] == 1:
        return part.inputs, part.gradients
    return ()
