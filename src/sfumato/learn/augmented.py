"""Whether an augmentation, or a loader's collate function, makes examples one by one.

What comes out of it for an example is clipped as that example's own: if another one was mixed in
(mixup, CutMix, a batch's own mean, padding to the longest), that one moves two gradients, and noise
is there for one.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
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
    part, kind = (inputs, targets), targets.device.type
    partners = partners_of(part)
    what = f"the augmentation {name_of(augment)!r}"

    def made(rows: list[int]) -> Any:
        return augment(*pytree.tree_map_only(Tensor, _taken(rows), part))

    _check(made, partners, what, "Change each example by itself, whatever stands beside it", kind)
    return bool(partners)


def check_collate(collate: Callable[[list[Any]], Any], records: Sequence[Any]) -> bool:
    """Runs a collate function on a few records in changing company.

    Args:
        collate: Makes a batch of a list of records.
        records: Two or more.

    Returns:
        Whether two of the records differ: else there was nothing to see.

    Raises:
        InputError: If one record moves what is made of another, or its shape, or their number.
    """
    what = f"the collate function {name_of(collate)!r}"

    def made(rows: list[int]) -> Any:
        return collate([records[row] for row in rows])

    before = replay.states("cpu")
    alone = rows_of(made([0] * _SIZE))
    others = dict.fromkeys((1, len(records) // 2, len(records) - 1))
    partners = [row for row in others if _moved(alone, rows_of(made([row] * _SIZE)), slice(None))]
    replay.restore("cpu", before)
    _check(made, partners, what, "Make each example by itself; pad all to one length", "cpu")
    return bool(partners)


def _check(
    made: Callable[[list[int]], Any], partners: list[int], what: str, remedy: str, kind: str
) -> None:
    """Refuses what makes of one example something else if others stand beside it."""
    before = replay.states(kind)
    try:
        for _ in range(_DRAWS):
            for other in partners:
                if not _apart(made, other, what, kind):
                    raise InputError(
                        f"{what} mixes examples: what it makes of one changes with the others of "
                        "its batch",
                        remedy,
                    )
    finally:
        replay.restore(kind, before)


def _apart(made: Callable[[list[int]], Any], other: int, what: str, kind: str) -> bool:
    """Whether, of one draw, examples stay as they are where another one is changed."""
    start = replay.states(kind)

    def run(rows: list[int]) -> list[Tensor]:
        replay.restore(kind, start)
        return rows_of(made(rows))

    base = run([0] * _SIZE)
    again, first, last = run([0] * _SIZE), run([other, 0, 0]), run([0, 0, other])
    count = {len(values) for values in base} - {_SIZE}
    if count:
        raise InputError(
            f"{what} makes {min(count)} examples of {_SIZE}",
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
