"""Random numbers that are drawn again: of torch, NumPy and Python."""

from __future__ import annotations

import random
from typing import Any, NamedTuple

import numpy as np

from sfumato.learn.engine.fallback import RandomState, random_state, restore_random, same_random


class States(NamedTuple):
    """Of every generator that a module, a loss or an augmentation draws from without a name."""

    torch: RandomState
    numpy: Any
    python: Any


def states(kind: str) -> States:
    """The states as they are.

    Args:
        kind: The type of device whose generator is meant beside the CPU's.
    """
    # Whichever generator the user's code takes, NumPy's old one among them.
    return States(random_state(kind), np.random.get_state(), random.getstate())  # noqa: NPY002


def restore(kind: str, found: States) -> None:
    """Sets them back."""
    restore_random(kind, found.torch)
    np.random.set_state(found.numpy)  # noqa: NPY002
    random.setstate(found.python)


def same(before: States, after: States) -> bool:
    """Whether nothing was drawn in between."""
    numpys = zip(before.numpy, after.numpy, strict=True)
    return (
        same_random(before.torch, after.torch)
        and before.python == after.python
        and all(np.array_equal(x, y) for x, y in numpys)
    )
