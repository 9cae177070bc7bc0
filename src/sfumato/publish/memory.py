"""How much memory a run takes: told before anything is spent, from public facts alone.

An estimate, not a bound: what the run keeps of every record and every released one is counted, and
to that comes an allowance for what a step works with, as the benchmark of it found
(``benchmarks/memory.py``). Rows of tables are streamed, and their runs say nothing here.

It is told by the logger ``sfumato``: as information, or as a warning if there is not so much.
"""

from __future__ import annotations

import logging
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from sfumato.data import ImageSchema
    from sfumato.publish.method import Calibrated

LOG = logging.getLogger("sfumato")

FLOAT = 4
WORK = 256 << 20
"""Bytes of libraries that a run loads, and of what lies about between its steps."""
_PER_NUMBER = 64 * FLOAT  # activations, gradients and what is drawn, for each number of a batch
_UNITS = (
    ("EiB", 2**60),
    ("TiB", 2**40),
    ("GiB", 2**30),
    ("MiB", 2**20),
    ("KiB", 2**10),
)
_GROUP = Path("/sys/fs/cgroup")


def images(records: int, facts: ImageSchema, samples: int | None) -> dict[str, int]:
    """Bytes of private images as numbers, and of released ones as they are stored.

    Args:
        records: Private images that are in memory all at once.
        facts: Of the images.
        samples: Released ones; None for as many as there are private ones.
    """
    numbers = math.prod(facts.shape)
    released = records if samples is None else samples
    held = {"images": records * numbers * FLOAT, "released images": released * numbers}
    return {what: count for what, count in held.items() if count}


def step(batch: float, shape: Sequence[int]) -> int:
    """Bytes for steps of a network on so many records of this shape, beside what is kept."""
    return WORK + int(batch * math.prod(shape) * _PER_NUMBER)


def needed(calibrated: Calibrated) -> Mapping[str, int] | None:
    """Bytes at the run's peak, beside what this process holds now, by what they are for.

    None of a run whose memory does not grow with its records.
    """
    holds: Mapping[str, int] | None = getattr(calibrated.run, "holds", None)
    return holds


def free() -> int:
    """Bytes that this process may still take without swapping: of the machine or its container."""
    import psutil

    room = int(psutil.virtual_memory().available)
    try:
        most, taken = (
            int((_GROUP / f"memory.{name}").read_text("ascii")) for name in ("max", "current")
        )
        return min(room, most - taken)
    except (OSError, ValueError):  # no container, or one without a limit
        return room


def whole() -> int:
    """Bytes of memory and swap that the machine, or this process's container, has in all."""
    import psutil

    room = int(psutil.virtual_memory().total + psutil.swap_memory().total)
    try:
        return min(room, int((_GROUP / "memory.max").read_text("ascii")))
    except (OSError, ValueError):  # no container, or one without a limit
        return room


def tell(calibrated: Calibrated) -> None:
    """Says what a run will take, beside what is free; a warning where that is less."""
    import psutil

    holds = needed(calibrated)
    if holds is None:
        return
    name, more, room = calibrated.method.name, sum(holds.values()), free()
    whole = more + int(psutil.Process().memory_info().rss)
    parts = ", ".join(f"{what} {size(held)}" for what, held in holds.items())
    said = f"{name}: about {size(whole)} of memory ({parts}); {size(room)} are free"
    if more <= room:
        LOG.info(said)
    else:
        LOG.warning("%s. Publish fewer images, or where there is more memory.", said)


def size(count: int) -> str:
    """A number of bytes for people.

    >>> size(3 << 29), size(200 << 20), size(1000)
    ('1.5 GiB', '200.0 MiB', '1000 bytes')
    """
    for unit, factor in _UNITS:
        if count >= factor:
            return f"{count / factor:.1f} {unit}"
    return f"{count} bytes"
