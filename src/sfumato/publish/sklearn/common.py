"""What the estimators share: public bounds and classes, rows as codes, the ledger parameter."""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from sfumato.data import Categorical, Numeric, Schema, Table
from sfumato.errors import InputError
from sfumato.privacy.ledger import Ledger

if TYPE_CHECKING:
    from collections.abc import Sequence

    Bound = float | Sequence[float]
    LedgerLike = Ledger | str | Path | None

GRID = 1024
"""Steps of the default granularity between two bounds."""

TARGET = "target"
"""The name of the labels' column."""


def facts_of(estimator: Any, classes: Sequence[Any] | None) -> Schema:
    """The public facts: one grid for each feature, and the classes."""
    count = estimator.n_features_in_
    lower = each("lower", estimator.lower, count)
    upper = each("upper", estimator.upper, count)
    if estimator.granularity is None:
        steps = [(high - low) / GRID for low, high in zip(lower, upper, strict=True)]
    else:
        steps = each("granularity", estimator.granularity, count)
    numbers = tuple(
        Numeric(f"feature{j}", low, high, step if step > 0 else 1.0, outside="clamp")
        for j, (low, high, step) in enumerate(zip(lower, upper, steps, strict=True))
    )
    if classes is None:
        return Schema(numbers)
    levels = tuple(f"{code}: {label}" for code, label in enumerate(classes))
    return Schema((*numbers, Categorical(TARGET, levels)), target=TARGET)


def each(name: str, value: Bound, count: int) -> list[float]:
    """One number for each feature."""
    given = np.asarray(value, dtype=np.float64)
    if given.ndim == 0:
        return [float(given)] * count
    if given.shape != (count,):
        raise InputError(f"{name} has shape {given.shape}", f"Give one number, or {count}.")
    return [float(number) for number in given]


def plain(value: Any) -> Any:
    """A parameter without numpy's types, which grids and distributions of a search are made of."""
    return value.tolist() if isinstance(value, np.generic | np.ndarray) else value


def table_of(rows: NDArray[np.float64], facts: Schema, labels: Any = None) -> Table:
    """Rows as codes; values beyond the bounds are clamped."""
    import pyarrow as pa

    codes = {c.name: c.encode(pa.array(rows[:, j])) for j, c in enumerate(facts.features)}
    if labels is not None:
        codes[TARGET] = labels
    return Table.from_codes(codes, facts)


def codes_of(labels: NDArray[Any], classes: Sequence[Any]) -> NDArray[np.int64]:
    """(n,) places of labels among the declared ones.

    Raises:
        ValueError: If a label is none of them.
    """
    places = {label: code for code, label in enumerate(classes)}
    try:
        return np.array([places[label] for label in labels.tolist()], dtype=np.int64)
    except KeyError as error:
        known = ", ".join(map(repr, classes))
        raise ValueError(
            f"label {error.args[0]!r} was not declared. The classes are {known}."
        ) from None


def warn_without(ledger: LedgerLike) -> None:
    """Warns where no ledger was given; the warning points at the caller of ``fit``."""
    if ledger is None:
        warnings.warn(
            "no ledger was given: nothing will remember what is spent; pass ledger=PATH",
            stacklevel=3,
        )


def opened(ledger: LedgerLike) -> Ledger:
    """The ledger of an estimator's parameter."""
    if ledger is None or ledger == ":memory:":
        return Ledger.in_memory()
    return Ledger.open(ledger) if isinstance(ledger, str | Path) else ledger
