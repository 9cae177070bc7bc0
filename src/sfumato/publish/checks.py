"""Checks of settings that methods share."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from sfumato.errors import InputError

if TYPE_CHECKING:
    from sfumato.data import ImageSchema, Schema
    from sfumato.privacy.budget import Budget

DEVICES = ("auto", "cpu", "cuda")
_SMALLEST, _LARGEST = 1e-30, 1e30
MOST = (1 << 63) - 1
"""The largest whole number that a machine counts in one step."""


def whole(name: str, value: object, least: int) -> None:
    """Refuses what is no whole number from ``least`` up, or more than a machine counts."""
    if isinstance(value, bool) or not isinstance(value, int) or value < least:
        raise InputError(f"{name} is {value!r}", f"Give a whole number from {least} up.")
    if value > MOST:
        raise InputError(f"{name} is {value!r}", "Give a whole number below 2**63.")


def number(
    name: str, value: Any, low: float, high: float = math.inf, *, closed: bool = True
) -> None:
    """Refuses what is no finite number from ``low`` (above it if not closed) to ``high``.

    Numbers that float32, in which networks compute, takes for 0 or for infinite are refused too.
    """
    real = isinstance(value, int | float) and not isinstance(value, bool)
    if not (real and math.isfinite(value) and low <= value <= high and (closed or value > low)):
        from_low = f"from {low:g}" if closed else f"above {low:g}"
        upto = f" to {high:g}" if high < math.inf else ""
        raise InputError(f"{name} is {value!r}", f"Give a number {from_low}{upto}.")
    if value != 0 and not _SMALLEST <= abs(value) <= _LARGEST:
        raise InputError(
            f"{name} is {value!r}", f"Give a number between {_SMALLEST:g} and {_LARGEST:g}."
        )


def optional(method: object, **least: int) -> None:
    """Refuses settings that are neither None nor a whole number from their least up."""
    for name, lowest in least.items():
        if getattr(method, name) is not None:
            whole(name, getattr(method, name), lowest)


def trained(method: Any) -> None:
    """Refuses what no training by noisy steps can have, whatever it trains.

    Of the settings ``epochs``, ``expected_batch_size`` and ``max_grad_norm``, and those of
    :func:`clocked`.
    """
    number("epochs", method.epochs, 0, closed=False)
    number("max_grad_norm", method.max_grad_norm, 0, closed=False)
    optional(method, expected_batch_size=1)
    clocked(method)


def clocked(method: Any) -> None:
    """Refuses ``max_minutes``, ``seed`` and ``device`` that no long run can have."""
    optional(method, seed=0)
    if method.max_minutes is not None:
        number("max_minutes", method.max_minutes, 0, closed=False)
    one_of("device", method.device, DEVICES)


def one_of(name: str, value: object, known: Sequence[str]) -> None:
    """Refuses what is none of the known names."""
    if value not in known:
        raise InputError(f"{name} is {value!r}", f"Use one of {', '.join(known)}.")


def idle(method: Any, names: Sequence[str], why: str) -> None:
    """Refuses settings that were given and would do nothing.

    Args:
        method: Of the settings; what a preset of it gives counts as not given.
        names: Settings without a meaning beside the others.
        why: What it is that makes them so.
    """
    for name in names:
        value, default = getattr(method, name), getattr(type(method), name)
        presets = type(method).presets.values()
        if value not in (default, *(preset.get(name, default) for preset in presets)):
            raise InputError(f"{name} is {value!r}, and {why}", f"Leave {name} out.")


def device(asked: str) -> str:
    """As torch names it.

    Raises:
        InputError: If there is no such device here.
    """
    if asked == "cpu":
        return "cpu"
    import torch

    if torch.cuda.is_available():
        return "cuda"
    if asked == "cuda":
        raise InputError("device is 'cuda', and there is none here", "Use auto or cpu.")
    return "cpu"


def widths(hidden: object) -> tuple[int, ...]:
    """The widths of hidden layers.

    Raises:
        InputError: If they are no list of whole numbers from 1 up.
    """
    if isinstance(hidden, str) or not isinstance(hidden, Sequence):
        raise InputError(f"hidden is {hidden!r}", "Give a list of widths: [128, 64].")
    for width in hidden:
        whole("a width in hidden", width, 1)
    return tuple(hidden)


def steps(epochs: float, records: int, batch: int) -> int:
    """How many steps of so many records on average are so many passes; one at least.

    Raises:
        InputError: If they are more than can be counted.
    """
    taken = max(1, round(epochs * records / batch))
    if taken > MOST:
        raise InputError(f"epochs is {epochs!r}: {taken:.3g} steps", "Give fewer epochs.")
    return taken


def batch_size(asked: int | None, records: int) -> int:
    """Records a step: as asked for, or a hundredth of all, 64 at least.

    Raises:
        InputError: If there are fewer records.
    """
    size = asked or min(records, max(64, round(records / 100)))
    if size > records:
        raise InputError(
            f"expected_batch_size is {size} of {records} records", "Give a smaller one."
        )
    return size


def records(facts: ImageSchema | Schema, budget: Budget) -> int:
    """The declared number of records, which delta has to be small beside.

    Raises:
        InputError: If it is not declared, or the budget's delta is too large for it.
    """
    declared = facts.records
    if declared is None:
        raise InputError(
            "the number of records is not declared",
            "Declare records in the schema: sampling and the divisor of noisy sums rest on it.",
        )
    budget.check_records(declared)
    return declared
