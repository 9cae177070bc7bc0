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
    found: dict[str, Contribution],
    factors: Mapping[str, Tensor],
    totals: dict[str, Tensor],
    parameters: Mapping[str, Tensor],
) -> None:
    """Adds each parameter's weighted sum over examples to its total, in place.

    Args:
        found: By parameter; emptied, so that what a sum was made of is gone when the next is made.
        factors: (n,) of each parameter.
        totals: So far; a parameter that has none is given one.
        parameters: Whose totals they are.
    """
    _add_rows(found, factors, totals, parameters)
    while found:
        name = next(iter(found))
        part, own = found.pop(name), factors[name]
        if (
            name not in totals
            and isinstance(part, Outer)
            and part.gradients.dtype == wide_type(parameters[name])
        ):
            totals[name] = part.weighted(own)  # no zeros to write and to read again
        else:
            part.add_weighted(own, _total(name, totals, parameters))


def _add_rows(
    found: dict[str, Contribution],
    factors: Mapping[str, Tensor],
    totals: dict[str, Tensor],
    parameters: Mapping[str, Tensor],
) -> None:
    """Takes those that are rows of memory, and adds them in one call into C if there is one."""
    fast = kernels.rows()
    if fast is None:
        return
    together: list[tuple[Tensor, Tensor, Tensor]] = []
    turned: list[tuple[Tensor, Tensor]] = []
    for name, part in list(found.items()):
        own, wanted = factors[name], wide_type(parameters[name])
        if not (
            isinstance(part, Direct | Formed)
            and fast.takes(part.gradients)
            and own.dtype == wanted == torch.float32
            and own.is_contiguous()
        ):
            continue
        total = _total(name, totals, parameters)
        order = total.permute(0, 2, 3, 1) if isinstance(part, Formed) else total
        if order.is_contiguous():
            together.append((part.gradients, own, order))
        elif isinstance(part, Formed):
            sums = torch.zeros(order.shape)
            together.append((part.gradients, own, sums))
            turned.append((order, sums))
        else:
            continue
        del found[name]
    if together:
        fast.add_weighted(together)
    for order, sums in turned:
        order.add_(sums)


def _total(name: str, totals: dict[str, Tensor], parameters: Mapping[str, Tensor]) -> Tensor:
    """The total of a parameter, begun if there is none."""
    if name not in totals:
        totals[name] = zeros(parameters[name])
    return totals[name]


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
