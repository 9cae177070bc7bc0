"""Whether an augmentation changes examples one by one.

What comes out of it for an example is clipped as that example's own: if another one was mixed in
(mixup, CutMix), that one moves two gradients, and noise is there for one.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torch.utils import _pytree as pytree

from sfumato.errors import InputError
from sfumato.learn.engine import replay
from sfumato.learn.engine.apart import differ, name_of, partners_of, rows_of

_SIZE = 3
_DRAWS = 8
"""Times that random changes are drawn: a permutation may leave everything in its place."""
_TOLERANCE = 1e-4


def check_augment(augment: Callable[..., Any], inputs: Any, targets: Tensor) -> bool:
    """Runs an augmentation on a few examples in changing company.

    Random numbers of torch, NumPy and Python are drawn again for each; those of a generator of its
    own cannot be, and nothing is seen then.

    Args:
        augment: ``augment(inputs, targets)``, new inputs and targets.
        inputs: (n, ...), or several such.
        targets: (n, ...).

    Returns:
        Whether two of the examples differ: else there was nothing to see.

    Raises:
        InputError: If one example moves another, or the number of examples.
    """
    part = inputs, targets
    kind = targets.device.type
    before = replay.states(kind)
    try:
        partners = partners_of(part)
        for _ in range(_DRAWS):
            for other in partners:
                if not _apart(augment, part, other, kind):
                    raise InputError(
                        f"the augmentation {name_of(augment)!r} mixes examples: what it makes of "
                        "one changes with the others of its batch",
                        "Change each example by itself, whatever stands beside it",
                    )
    finally:
        replay.restore(kind, before)
    return bool(partners)


def _apart(augment: Callable[..., Any], part: Any, other: int, kind: str) -> bool:
    """Whether, of one draw, examples stay as they are where another one is changed."""
    start = replay.states(kind)

    def run(rows: list[int]) -> list[Tensor]:
        replay.restore(kind, start)
        return rows_of(augment(*pytree.tree_map_only(Tensor, _taken(rows), part)))

    base = run([0] * _SIZE)
    again, first, last = run([0] * _SIZE), run([other, 0, 0]), run([0, 0, other])
    count = {len(values) for values in base} - {_SIZE}
    if count:
        raise InputError(
            f"the augmentation {name_of(augment)!r} makes {min(count)} examples of {_SIZE}",
            "Return every example that it is given, changed",
        )
    if _moved(base, again, slice(None)):
        return True  # drawn by a generator of its own: nothing to be seen
    return not (_moved(base, first, slice(1, None)) or _moved(base, last, slice(None, -1)))


def _moved(before: list[Tensor], after: list[Tensor], rows: slice) -> bool:
    pairs = zip(before, after, strict=True)
    return any(x.shape != y.shape or differ(x, y, rows, _TOLERANCE) for x, y in pairs)


def _taken(rows: list[int]) -> Callable[[Tensor], Tensor]:
    return lambda values: torch.stack([values[row] for row in rows])
