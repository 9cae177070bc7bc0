"""Records that a module or a loss cannot take: found before anything is paid, or told by number.

A class number that the network has no output for, a token outside of a vocabulary: torch raises
when a sample happens to hold the record, which may be the last step of a training that was paid for
before its first. A number that is none raises never: the record's gradient is none either, and
counts as zero in every step.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from sfumato.errors import InputError
from sfumato.learn.mechanism import Summed
from sfumato.learn.records import Records

_REMEDY = (
    "Give targets that the loss takes (class numbers from 0 to the outputs less 1), tokens of the "
    "vocabulary, and finite numbers; leave other records out, or mask them in the loss."
)
_SHOWN = 60
_WORDS = (
    "out of bounds",
    "out of range",
    "smaller than num_classes",
    "must be non-negative",
    "between 0 and 1",
)
"""What torch says of numbers that are out of their range."""


def check(
    records: Records,
    rows: NDArray[np.int64],
    clipped_sum: Callable[[NDArray[np.int64]], Summed],
) -> None:
    """Refuses a training with a record that cannot be taken, or none of which has a gradient.

    Args:
        records: All of them.
        rows: A few, from all over.
        clipped_sum: Of the records of some rows.

    Raises:
        InputError: Naming a record; or if no norm of ``rows`` is a finite number.
    """
    telling = [int(row) for row in records.telling()]
    try:
        norms = clipped_sum(rows).norms
    except Exception as error:
        for row in telling if _is_of_a_record(error) else ():
            _check_telling(records, row, clipped_sum)
        raise
    if norms.numel() and not bool(torch.isfinite(norms).all(0).any()):
        raise InputError(
            f"the gradients of all {norms.shape[-1]} records that were tried are no finite numbers,"
            " and count as zero; nothing was paid",
            "Look for NaN in the records, and for losses that overflow.",
        )
    for row in telling:
        _check_telling(records, row, clipped_sum)


def _check_telling(
    records: Records, row: int, clipped_sum: Callable[[NDArray[np.int64]], Summed]
) -> None:
    """Refuses a record that a training would stumble over, or leave out in silence."""
    rows = np.array([row], dtype=np.int64)
    try:
        total = clipped_sum(rows)
    except Exception as error:
        if not _is_of_a_record(error):
            raise
        raise InputError(
            f"record {row}, {_target(records, row)}, cannot be taken ({_line(error)}); nothing was "
            "paid",
            _REMEDY,
        ) from error
    if not bool(torch.isfinite(total.norms).all()):
        raise InputError(
            f"the gradient of record {row}, {_target(records, row)}, is no finite number: it would "
            "count as zero in every step; nothing was paid",
            _REMEDY,
        )


@contextmanager
def explained(
    module: nn.Module,
    records: Records,
    rows: NDArray[np.int64],
    clipped_sum: Callable[[NDArray[np.int64]], Summed],
) -> Iterator[None]:
    """Says of which record an error is that comes up in the middle of a training.

    Args:
        module: That is trained; on a GPU, where an error of one record spoils all that follows,
            nothing is looked for.
        records: All of them.
        rows: Those that are taken.
        clipped_sum: Of the records of some rows.

    Raises:
        InputError: In place of what torch raises for one of them by itself.
    """
    try:
        yield
    except Exception as error:
        on_cpu = all(parameter.device.type == "cpu" for parameter in module.parameters())
        for row in rows if on_cpu and _is_of_a_record(error) else ():
            if (alone := _alone(int(row), clipped_sum)) is not None:
                raise InputError(
                    f"record {row}, {_target(records, int(row))}, cannot be taken ({_line(alone)})",
                    f"{_REMEDY} The step counts as taken: go on from a checkpoint, with that "
                    "record mended.",
                ) from error
        raise


def _alone(row: int, clipped_sum: Callable[[NDArray[np.int64]], Summed]) -> Exception | None:
    """The error that a record gives rise to by itself."""
    try:
        clipped_sum(np.array([row], dtype=np.int64))
    except Exception as error:
        return error if _is_of_a_record(error) else None
    return None


def _is_of_a_record(error: Exception) -> bool:
    """Whether torch says so of a number that is out of its range; other errors are left alone."""
    return isinstance(error, IndexError) or (
        isinstance(error, RuntimeError) and any(words in str(error) for words in _WORDS)
    )


def _target(records: Records, row: int) -> str:
    """A record's target, in words."""
    _, targets = records.fetch(np.array([row], dtype=np.int64), torch.device("cpu"))
    shown = str(targets[0].item()) if targets[0].numel() == 1 else str(targets[0].tolist())
    return f"whose target is {shown if len(shown) <= _SHOWN else shown[:_SHOWN] + '...'}"


def _line(error: Exception) -> str:
    words = " ".join(str(error).split())
    return f"{type(error).__name__}: {words[:200]}"
