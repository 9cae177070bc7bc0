"""Types, bounds and levels estimated from rows under differential privacy.

Three queries, each of which a record enters at most once a column:

- *type* (CSV columns without a declared one): a histogram of what texts spell;
- *bounds*: a histogram over public bins that grow as 1, 2, 5, 10, 20, ...; the bounds are those of
  the outermost bins that stand out of the noise;
- *levels*: each value that occurs is counted with noise and named if the count passes a threshold
  that a value of one record passes with probability at most delta (Korolova et al., "Releasing
  search queries and clicks privately", 2009, with discrete Laplace noise).
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from decimal import ROUND_CEILING, ROUND_FLOOR, Decimal
from functools import cache
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from sfumato.data.arrays import is_text, read_numbers
from sfumato.data.encoding import blank
from sfumato.data.passes import CSV_NA, spelt
from sfumato.data.schema_file import UNKNOWN
from sfumato.data.sources import Source
from sfumato.errors import InputError

if TYPE_CHECKING:
    import pyarrow as pa

    from sfumato.privacy.budget import Budget
    from sfumato.privacy.guarantee import Central
    from sfumato.privacy.noise import NoiseSource

_VOTE_SHARE = 0.2
_FALSE_BIN = 1e-6  # chance that any empty bin of a column is taken for occupied
_LONGEST_LEVEL = 200
_SPELLINGS = ("integer", "number", "text")
_STEPS = 100_000  # grids of estimated bounds have at most about this many values


@dataclass(frozen=True)
class Sums:
    """What one column's rows add up to; exact, and therefore private.

    Args:
        spellings: (3,) rows that spell an integer, another number, anything else.
        bins: (len(edges()) + 1,) rows in each public bin, the last one for missing values.
        levels: Rows of each value as text; missing values are not counted.
        missing: Rows without a value.
    """

    spellings: NDArray[np.int64]
    bins: NDArray[np.int64]
    levels: Mapping[str, int]
    missing: int


@dataclass(frozen=True)
class Plan:
    """What each query of each column may spend.

    Args:
        budget: Of all columns together.
        epsilon: Of one column.
        delta: Of one column whose levels may be asked for.
        guarantee: What the whole draft proves.
    """

    budget: Budget
    epsilon: float
    delta: float
    guarantee: Central

    @classmethod
    def calibrate(cls, budget: Budget, declared: Mapping[str, str]) -> Plan:
        """Shares a budget evenly between columns.

        Args:
            budget: Of the whole draft; its delta is needed where levels may be asked for.
            declared: Type of each column, ``?`` where it is to be estimated.

        Raises:
            InputError: If levels may be asked for and delta is 0.
        """
        from sfumato.privacy.events import compose
        from sfumato.privacy.guarantee import Central

        asked = [kind for kind in declared.values() if kind != "bool"]
        named = [kind for kind in asked if kind not in ("integer", "number")]
        if named and budget.delta == 0:
            raise InputError(
                "levels cannot be estimated with a delta of 0",
                "Give --delta, well below 1/records, or declare types and drop columns of text.",
            )
        epsilon = budget.epsilon / max(1, len(asked))
        delta = budget.delta / max(1, len(named))
        events = [_event(kind, epsilon, delta) for kind in asked]
        return cls(budget, epsilon, delta, Central(compose(*events), budget.delta))


def _event(kind: str, epsilon: float, delta: float) -> Any:
    from sfumato.privacy.events import ApproximateDpEvent, compose

    if kind in ("integer", "number"):
        return _noise(epsilon).event
    if kind != UNKNOWN:
        return ApproximateDpEvent(epsilon, delta, "add-remove")
    vote, rest = _shares(epsilon)
    # Whichever of bounds and levels the vote leads to: both satisfy the second event.
    return compose(_noise(vote).event, ApproximateDpEvent(rest, delta, "add-remove"))


def _shares(epsilon: float) -> tuple[float, float]:
    return epsilon * _VOTE_SHARE, epsilon * (1 - _VOTE_SHARE)


def _noise(epsilon: float) -> Any:
    from sfumato.privacy.budget import Budget
    from sfumato.privacy.mechanisms import DiscreteLaplace
    from sfumato.privacy.neighbours import Neighbours

    return DiscreteLaplace.calibrate(Budget(epsilon), 1, Neighbours.ADD_REMOVE)


def count(data: Source, declared: Mapping[str, str]) -> tuple[dict[str, Sums], int]:
    """The exact sums of each column, in one pass; private, nothing is spent yet.

    Raises:
        InputError: If the files cannot be read to their end.
    """
    tokens = CSV_NA if spelt(data) else ()
    asked = [name for name, kind in declared.items() if kind != "bool"]
    spellings = {name: np.zeros(len(_SPELLINGS), np.int64) for name in declared}
    bins = {name: np.zeros(len(edges()) + 2, np.int64) for name in declared}
    levels: dict[str, Counter[str]] = {name: Counter() for name in declared}
    missing = dict.fromkeys(declared, 0)
    rows = 0
    for batch in data.batches(asked or list(declared)[:1]):
        rows += batch.num_rows
        for name in asked:
            array = blank(batch.column(name), None, tokens)
            kind = declared[name]
            absent = _add_levels(array, levels[name]) if kind not in ("integer", "number") else 0
            missing[name] += absent
            if kind in ("integer", "number", UNKNOWN):
                _add_numbers(array, name, spellings[name], bins[name])
    sums = {n: Sums(spellings[n], bins[n], levels[n], missing[n]) for n in declared}
    return sums, rows


def _add_levels(array: pa.Array, total: Counter[str]) -> int:
    import pyarrow as pa
    import pyarrow.compute as pc

    if pa.types.is_dictionary(array.type):
        array = array.dictionary_decode()
    if not is_text(array.type):
        array = pc.cast(array, pa.string())
    counted = pc.value_counts(array.drop_null())
    values, rows = counted.field("values").to_pylist(), counted.field("counts").to_pylist()
    for value, number in zip(values, rows, strict=True):
        total[value] += number
    return int(array.null_count)


def _add_numbers(
    array: pa.Array, name: str, spellings: NDArray[np.int64], bins: NDArray[np.int64]
) -> None:
    values, absent, unreadable = read_numbers(array, name)
    whole = values == np.floor(values)
    kinds = np.where(unreadable, 2, np.where(whole, 0, 1))
    spellings += np.bincount(kinds[~absent], minlength=len(_SPELLINGS))
    places = np.searchsorted(edges(), values, side="right")
    # A record is in one bin: text among numbers counts as missing.
    places[absent | unreadable] = len(edges()) + 1
    bins += np.bincount(places, minlength=len(bins))


def facts(sums: Sums, kind: str, plan: Plan, source: NoiseSource) -> dict[str, Any]:
    """Draws the noise for one column: its facts as a schema file names them.

    Args:
        sums: The column's exact sums.
        kind: Its declared type, or ``?``.
        plan: What may be spent; debited already.
        source: The noise.
    """
    epsilon = plan.epsilon
    if kind == "bool":
        return {"type": "categorical", "dtype": "bool", "levels": ["false", "true"]}
    if kind == UNKNOWN:
        vote, epsilon = _shares(plan.epsilon)
        kind = _elected(_noise(vote).release(sums.spellings, source))
    if kind in ("integer", "number"):
        return _bounds(sums, kind, epsilon, source)
    return _levels(sums, kind, epsilon, plan.delta, source)


def _elected(votes: NDArray[np.int64]) -> str:
    """The type that nearly all rows can have; more than one in twenty may not differ."""
    whole, fraction, text = np.maximum(votes, 0)
    total = whole + fraction + text
    if text * 20 > total or total == 0:
        return "categorical"
    return "number" if fraction * 20 > total else "integer"


def _bounds(sums: Sums, kind: str, epsilon: float, source: NoiseSource) -> dict[str, Any]:
    noisy = _noise(epsilon).release(sums.bins, source)
    stands_out = noisy >= tail(epsilon, _FALSE_BIN / len(noisy))
    missing = bool(stands_out[-1])
    occupied = np.flatnonzero(stands_out[:-1])
    if len(occupied) == 0:
        found: dict[str, Any] = {"lower": UNKNOWN, "upper": UNKNOWN, "granularity": UNKNOWN}
    else:
        # Bin i is edges[i - 1] <= x < edges[i]; the two outermost are cut at the last edges.
        last = len(edges()) - 1
        lower, upper = edges()[max(occupied[0] - 1, 0)], edges()[min(occupied[-1], last)]
        found = _grid(Decimal(repr(float(lower))), Decimal(repr(float(upper))), kind)
    return {"type": kind, **found, **({"missing": True} if missing else {}), "outside": "clamp"}


def _grid(lower: Decimal, upper: Decimal, kind: str) -> dict[str, Any]:
    """Bounds widened to a grid of at most about ``_STEPS`` steps of a power of ten."""
    exponent = math.ceil(math.log10(float(upper - lower) / _STEPS))
    step = Decimal(1).scaleb(max(exponent, 0) if kind == "integer" else exponent)
    low = (lower / step).to_integral_value(ROUND_FLOOR) * step
    high = (upper / step).to_integral_value(ROUND_CEILING) * step
    return {"lower": float(low), "upper": float(high), "granularity": float(step)}


def _levels(
    sums: Sums, kind: str, epsilon: float, delta: float, source: NoiseSource
) -> dict[str, Any]:
    # In alphabetical order, so that neither noise nor result depends on the order of rows.
    names = sorted(sums.levels)
    counts = np.array([sums.levels[name] for name in names], np.int64)
    # One above the exact threshold: the noise as drawn is wider than asked for by 2^-50.
    threshold = 2 + tail(epsilon, delta)
    noisy = _noise(epsilon).release(counts, source)
    kept = [
        name
        for name, number in zip(names, noisy, strict=True)
        if number >= threshold and 0 < len(name) <= _LONGEST_LEVEL
    ]
    found = {"type": kind, "levels": kept or [UNKNOWN]}
    return {**found, "missing": True, "outside": "missing"}


def tail(epsilon: float, chance: float) -> int:
    """The least whole ``m >= 1`` that discrete Laplace noise reaches with at most this chance.

    ``P(X >= m) = exp(-epsilon m) / (1 + exp(-epsilon))`` for ``P(x) ~ exp(-epsilon |x|)``.
    """
    at_least = math.log(1 / (chance * (1 + math.exp(-epsilon)))) / epsilon
    return max(1, math.ceil(at_least))


@cache
def edges() -> NDArray[np.float64]:
    """Public edges of the bins: 0 and plus and minus 1, 2, 5 times powers of ten."""
    positive = [float(f"{digit}e{power}") for power in range(-6, 16) for digit in (1, 2, 5)]
    return np.array([-x for x in reversed(positive)] + [0.0] + positive)
