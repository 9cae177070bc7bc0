"""What a proof lets everybody see: each noisy value that a run draws, in the order of drawing.

A guarantee is of all of them together, and what is released is made of them. Where much lies in
between (a generator is trained on noisy sums, and draws images) a release shows little of what was
paid for; an audit that listens here plays against the adversary that the proof is about (Nasr et
al., IEEE S&P 2021). Nothing is kept unless somebody listens, and nothing passes here before its
noise is on it.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

_T = TypeVar("_T")

Transcript = list[NDArray[np.float64]]
"""The noisy values of each draw, flattened."""

_HEARD: ContextVar[Transcript | None] = ContextVar("heard", default=None)


@contextmanager
def listening() -> Iterator[Transcript]:
    """Collects what is drawn in this thread meanwhile.

    >>> from sfumato.privacy.mechanisms import DiscreteLaplace
    >>> with listening() as heard:
    ...     noisy = DiscreteLaplace(2.0, 1).release([5, 3])
    >>> bool((heard[0] == noisy).all())
    True
    """
    heard: Transcript = []
    before = _HEARD.set(heard)
    try:
        yield heard
    finally:
        _HEARD.reset(before)


def seen(noisy: _T) -> _T:
    """Tells whoever listens of one draw, and hands it on.

    Args:
        noisy: An array or a tensor of any shape, or a list of them, with their noise on them.
    """
    heard = _HEARD.get()
    if heard is not None:
        parts = noisy if isinstance(noisy, list) else [noisy]
        flat = [np.ravel(np.array(_here(part), np.float64)) for part in parts]
        heard.append(np.concatenate(flat) if flat else np.zeros(0))
    return noisy


def choice_seen(index: int, of: int) -> int:
    """Tells whoever listens of a private choice, and hands it on.

    Args:
        index: What was chosen.
        of: Among how many.
    """
    if _HEARD.get() is not None:
        seen(np.eye(1, of, index)[0])
    return index


def _here(part: Any) -> Any:
    """A tensor of any device, as an array."""
    return part.detach().cpu().numpy() if hasattr(part, "detach") else part
