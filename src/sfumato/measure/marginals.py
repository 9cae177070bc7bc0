"""How far the released one- and two-way marginals are from the real ones."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from itertools import combinations
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from sfumato.errors import InputError
from sfumato.measure import features

if TYPE_CHECKING:
    from sfumato.data.columns import Column
    from sfumato.data.table import Table

BINS = 20
PAIRS = 300
ROWS = 200_000


@dataclass(frozen=True)
class MarginalError:
    """Total variation distances between released and real marginals, each in [0, 1].

    Args:
        one_way: By column.
        one_way_floor: What a second sample of the real population scores, by column; empty if
            there was none. An error near its floor is sampling, not the release.
        two_way_mean: Mean over the pairs of columns that were compared.
        two_way_max: The worst pair.
        two_way_floor: What a second real sample scores, on average, or None.
        worst_pair: The names of the worst pair, empty if no pair was compared.
        pairs: How many pairs were compared.
        pairs_total: How many there are.
        bins: How many equal-width public bins a numeric column was grouped into.
    """

    one_way: Mapping[str, float]
    two_way_mean: float | None
    two_way_max: float | None
    worst_pair: tuple[str, ...]
    pairs: int
    pairs_total: int
    bins: int
    one_way_floor: Mapping[str, float] = field(default_factory=dict)
    two_way_floor: float | None = None

    @property
    def one_way_mean(self) -> float:
        """Mean over the columns."""
        return sum(self.one_way.values()) / len(self.one_way)

    @property
    def one_way_max(self) -> float:
        """The worst column."""
        return max(self.one_way.values())

    def to_dict(self) -> dict[str, Any]:
        """The errors as plain JSON values."""
        return {
            "one_way": dict(self.one_way),
            "one_way_mean": self.one_way_mean,
            "one_way_max": self.one_way_max,
            "one_way_floor": dict(self.one_way_floor),
            "two_way_mean": self.two_way_mean,
            "two_way_max": self.two_way_max,
            "two_way_floor": self.two_way_floor,
            "worst_pair": list(self.worst_pair),
            "pairs": self.pairs,
            "pairs_total": self.pairs_total,
            "bins": self.bins,
        }

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> MarginalError:
        """Reads the errors back.

        Raises:
            InputError: If a field is missing or is not what it should be.
        """
        try:
            return cls(
                one_way={str(k): float(v) for k, v in values["one_way"].items()},
                one_way_floor={str(k): float(v) for k, v in values["one_way_floor"].items()},
                two_way_mean=_optional(values["two_way_mean"]),
                two_way_max=_optional(values["two_way_max"]),
                two_way_floor=_optional(values["two_way_floor"]),
                worst_pair=tuple(str(name) for name in values["worst_pair"]),
                pairs=int(values["pairs"]),
                pairs_total=int(values["pairs_total"]),
                bins=int(values["bins"]),
            )
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            raise InputError(
                f"marginal errors cannot be read ({error!r})",
                "The evaluation is damaged; run it again.",
            ) from None


def _optional(value: Any) -> float | None:
    return None if value is None else float(value)


def marginal_error(
    released: Table,
    real: Table,
    reference: Table | None = None,
    *,
    bins: int = BINS,
    pairs: int = PAIRS,
    seed: int = 0,
) -> MarginalError:
    """Compares all columns, and pairs of columns, of a release with the real table.

    Args:
        released: The released table.
        real: The table that it was made from.
        reference: A second sample of the real population, for the floors.
        bins: A number is grouped into this many equal parts of its public range.
        pairs: The most pairs to compare; those with the target first, the rest by the seed.
        seed: Of the pairs, and of the rows where a table has more than 200,000.

    Raises:
        InputError: If the tables' columns differ, or one is empty.
    """
    rng = np.random.default_rng(seed)
    features.check_alike(released, real, "real records")
    columns = real.schema.columns
    sides = [_binned(table, columns, bins, rng) for table in (released, real)]
    if reference is not None:
        features.check_alike(released, reference, "reference records")
        sides.append(_binned(reference, columns, bins, rng))
    chosen, total = _pairs(real.schema.names, real.schema.target, pairs, rng)
    one_way, one_floor = {}, {}
    for j, name in enumerate(real.schema.names):
        shares = [distribution(side[:, j]) for side in sides]
        one_way[name] = distance(shares[0], shares[1])
        if reference is not None:
            one_floor[name] = distance(shares[2], shares[1])
    two_way, two_floor = [], []
    for i, j in chosen:
        wide = int(max(side[:, j].max() for side in sides)) + 1
        shares = [distribution(side[:, i] * wide + side[:, j]) for side in sides]
        two_way.append(distance(shares[0], shares[1]))
        if reference is not None:
            two_floor.append(distance(shares[2], shares[1]))
    worst = int(np.argmax(two_way)) if two_way else None
    return MarginalError(
        one_way=one_way,
        two_way_mean=float(np.mean(two_way)) if two_way else None,
        two_way_max=None if worst is None else two_way[worst],
        worst_pair=()
        if worst is None
        else tuple(real.schema.names[position] for position in chosen[worst]),
        pairs=len(chosen),
        pairs_total=total,
        bins=bins,
        one_way_floor=one_floor,
        two_way_floor=float(np.mean(two_floor)) if two_floor else None,
    )


def grouped(codes: NDArray[Any], column: Column, bins: int) -> NDArray[np.int64]:
    """Codes, a number's in equal parts of its public range; missing is the last group."""
    if not column.ordered or column.cardinality <= bins:
        return np.asarray(codes, dtype=np.int64)
    part = codes.astype(np.int64) * bins // column.cardinality
    return np.where(codes == column.cardinality, bins, part)


def distribution(values: NDArray[np.int64]) -> dict[int, float]:
    """The share of each value that occurs; pairs of columns with many levels stay sparse."""
    found, counts = np.unique(values, return_counts=True)
    return dict(zip(found.tolist(), (counts / len(values)).tolist(), strict=True))


def distance(one: Mapping[int, float], other: Mapping[int, float]) -> float:
    """Total variation distance: half the sum of the differences of all shares.

    >>> distance({0: 0.5, 1: 0.5}, {1: 0.5, 2: 0.5})
    0.5
    """
    values = one.keys() | other.keys()
    return min(1.0, sum(abs(one.get(v, 0.0) - other.get(v, 0.0)) for v in values) / 2)


def _binned(
    table: Table, columns: tuple[Column, ...], bins: int, rng: np.random.Generator
) -> NDArray[np.int64]:
    total = features.size(table)
    if total == 0:
        raise InputError("a table has no rows", "There is nothing to compare.")
    rows = None if total <= ROWS else features.choose(total, ROWS, rng)
    codes = features.codes(table, rows)
    binned = np.empty(codes.shape, dtype=np.int64, order="F")
    for j, column in enumerate(columns):
        binned[:, j] = grouped(codes[:, j], column, bins)
    return binned


def _pairs(
    names: tuple[str, ...], target: str | None, limit: int, rng: np.random.Generator
) -> tuple[list[tuple[int, int]], int]:
    """Positions of the pairs to compare, and how many pairs there are."""
    every = list(combinations(range(len(names)), 2))
    goal = names.index(target) if target is not None else -1
    first = [pair for pair in every if goal in pair]
    rest = [pair for pair in every if goal not in pair]
    order = rng.permutation(len(rest))
    return (first + [rest[k] for k in order])[:limit], len(every)
