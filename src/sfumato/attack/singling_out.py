"""Singling out: a description that fits exactly one person of those in the data."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from sfumato.attack import controlled, margin, targets
from sfumato.attack.controlled import Tries
from sfumato.attack.finding import Finding
from sfumato.attack.margin import Margin
from sfumato.attack.settings import Settings, whole
from sfumato.errors import InputError
from sfumato.registry import attack

if TYPE_CHECKING:
    from sfumato.attack.evidence import Evidence
    from sfumato.data.columns import Column
    from sfumato.measure.features import Codes
    from sfumato.release.release import Release

MODES = ("univariate", "multivariate")
DESCRIPTIONS = "descriptions"
_ATTEMPTS = 20
_NONE = -1


@dataclass(frozen=True)
class Query:
    """A description: one condition a column.

    Args:
        conditions: ``(column, comparison, code)``; the comparison is ``==``, ``<=`` or ``>=``.
    """

    conditions: tuple[tuple[int, str, int], ...]

    def fits(self, codes: Codes, columns: Sequence[Column]) -> NDArray[np.int64]:
        """Numbers of the rows that the description fits; a missing number is in no range."""
        rows: NDArray[np.int64] | None = None  # all
        for at, comparison, value in self.conditions:
            held = codes[:, at] if rows is None else codes[rows, at]
            if comparison == "==":
                right = held == value
            elif comparison == "<=":
                right = held <= value
            else:
                right = (held >= value) & (held < columns[at].cardinality)
            rows = right.nonzero()[0] if rows is None else rows[right]
        return np.arange(len(codes)) if rows is None else rows

    def isolates(self, codes: Codes, columns: Sequence[Column]) -> int:
        """The only row that it fits, or -1."""
        rows = self.fits(codes, columns)
        return int(rows[0]) if len(rows) == 1 else _NONE


@attack("anonymeter.singling_out")
@dataclass(frozen=True)
class SinglingOut(Settings):
    """Describes single released rows, and sees how often exactly one member fits.

    A description is a value that only one released row has (univariate), or a few conditions on
    some columns that only one released row meets (multivariate). The control is how often exactly
    one of as many people fits who are not in the release. Descriptions that single out somebody
    again are not counted again.

    A guarantee bounds what is said about one record; how many of all members a description fits
    depends on all of them, so that no ceiling is given.

    Args:
        max_targets: Members, and as many non-members, among whom one is singled out.
        queries: Descriptions tried in each mode.
        columns: How many columns a multivariate description names.
    """

    kinds: ClassVar[tuple[str, ...]] = ("table",)
    source: ClassVar[str] = controlled.SOURCE

    max_targets: int = 50_000
    queries: int = 500
    columns: int = 3

    def __post_init__(self) -> None:
        super().__post_init__()
        whole(self.queries, "queries", 1)
        whole(self.columns, "columns", 1)

    def __call__(self, release: Release, evidence: Evidence, *, seed: int = 0) -> Finding:
        """The risk of being singled out, in the mode where it is most certain."""
        targets.check(release, evidence)
        if release.data.kind != "table":
            raise InputError("only rows can be described", "Leave this attack out.")
        rng = np.random.default_rng(seed)
        chosen, others = targets.balanced(evidence, self.max_targets, rng)
        inside: Any = targets.read(evidence.members, chosen)
        outside: Any = targets.read(evidence.non_members, others)
        published: Any = targets.released(release, self.max_released, rng)
        columns = inside.columns
        sides = inside.values, outside.values
        confidence = 1 - (1 - self.confidence) / len(MODES)
        makers = (
            _univariate(published.values, columns, rng),
            _multivariate(published.values, columns, self.columns, rng),
        )
        modes = []
        for mode, made in zip(MODES, makers, strict=True):
            limit = _ATTEMPTS * self.queries
            found = _telling(made, published.values, columns, self.queries, limit)
            modes.append(self._judged(mode, found, sides, columns, rng, confidence))
        # Somebody is singled out where both are above 0, so that is how sure it is; also where
        # coins said who is in: tried on the same people, descriptions are not quite independent.
        worst = max(
            modes,
            key=lambda row: (min(row["interval"][0], row["margin"]["interval"][0]), row["tried"]),
        )
        finding = Finding(
            attack="anonymeter.singling_out",
            metric="risk: success beyond the control's",
            value=worst["risk"],
            interval=(worst["interval"][0], worst["interval"][1]),
            confidence=self.confidence,
            chance=0.0,
            baseline=worst["naive_risk"],
            margin=Margin.from_dict(worst["margin"]),
            ceiling=None,
            details={"mode": worst["mode"], "among": len(chosen), "modes": modes},
        )
        return replace(finding, summary=_summary(finding, worst))

    def _judged(
        self,
        mode: str,
        queries: list[Query],
        sides: tuple[Codes, Codes],
        columns: Sequence[Column],
        rng: np.random.Generator,
        confidence: float,
    ) -> dict[str, Any]:
        """One mode's figures; its interval holds together with that of the other."""
        if not queries:
            unknown = Margin(0.0, (-2.0, 2.0), 0, DESCRIPTIONS).to_dict()
            nothing = {"tried": 0, "risk": 0.0, "interval": [-1.0, 1.0], "naive_risk": 0.0}
            return {"mode": mode, **nothing, "margin": unknown}
        wide = 1 if mode == MODES[0] else self.columns
        guesses = [_random(columns, wide, rng) for _ in queries]
        (attack, control), raw = _tries(queries, sides, columns)
        (naive, naive_control), _ = _tries(guesses, sides, columns)
        value, interval = controlled.risk(attack, control, confidence)
        blind, around = controlled.risk(naive, naive_control, confidence)
        beaten = margin.of_figures((value, blind), (interval, around), attack.of, DESCRIPTIONS)
        return {
            "mode": mode,
            "tried": attack.of,
            "risk": value,
            "interval": list(interval),
            "naive_risk": max(0.0, blind),
            "margin": beaten.to_dict(),
            "counted_each_time": {"queries": len(queries), "members": raw[0], "control": raw[1]},
            **controlled.figures(attack, control, naive, naive_control, confidence),
        }


def _tries(
    queries: Sequence[Query], sides: tuple[Codes, Codes], columns: Sequence[Column]
) -> tuple[tuple[Tries, Tries], tuple[int, int]]:
    """Successes on both sides, each person once; and those of all descriptions.

    A description that fits somebody who was singled out before is left out on both sides alike,
    so that neither is favoured.
    """
    seen: tuple[set[int], set[int]] = (set(), set())
    right, every, fresh = [0, 0], [0, 0], 0
    for query in queries:
        hit = [query.isolates(codes, columns) for codes in sides]
        for side in (0, 1):
            every[side] += hit[side] != _NONE
        if any(row in known for row, known in zip(hit, seen, strict=True)):
            continue
        fresh += 1
        for side in (0, 1):
            if hit[side] != _NONE:
                right[side] += 1
                seen[side].add(hit[side])
    return (Tries(right[0], fresh), Tries(right[1], fresh)), (every[0], every[1])


def _telling(
    made: Iterator[Query], released: Codes, columns: Sequence[Column], wanted: int, limit: int
) -> list[Query]:
    """Different descriptions that fit exactly one released row."""
    kept: dict[Query, None] = {}
    for tried, query in enumerate(made):
        if len(kept) == wanted or tried == limit:
            break
        if query not in kept and query.isolates(released, columns) != _NONE:
            kept[query] = None
    return list(kept)


def _univariate(
    released: Codes, columns: Sequence[Column], rng: np.random.Generator
) -> Iterator[Query]:
    """Values that one released row has, and the ends of what was released, in random order."""
    found = []
    for at, column in enumerate(columns):
        values, counts = np.unique(released[:, at], return_counts=True)
        found += [Query(((at, "==", int(value)),)) for value in values[counts == 1]]
        known = values[values < column.cardinality]
        if column.ordered and len(known):
            found.append(Query(((at, "<=", int(known[0])),)))
            found.append(Query(((at, ">=", int(known[-1])),)))
    for row in rng.permutation(len(found)):
        yield found[row]


def _multivariate(
    released: Codes, columns: Sequence[Column], width: int, rng: np.random.Generator
) -> Iterator[Query]:
    """What a random released row is in some columns: on its side of the median, or equal."""
    middle = []
    for at, column in enumerate(columns):
        known = released[released[:, at] < column.cardinality, at]
        middle.append(float(np.median(known)) if column.ordered and len(known) else 0.0)
    width = min(width, len(columns))
    ends = [column.cardinality if column.ordered else 0 for column in columns]
    while True:  # thousands of times: what need not be an array is none
        row = released[rng.integers(len(released))].tolist()
        conditions = []
        for at in sorted(rng.choice(len(columns), width, replace=False).tolist()):
            comparison = "=="
            if row[at] < ends[at]:  # of a number that is there
                comparison = ">=" if row[at] > middle[at] else "<="
            conditions.append((at, comparison, row[at]))
        yield Query(tuple(conditions))


def _random(columns: Sequence[Column], width: int, rng: np.random.Generator) -> Query:
    """A description from the public facts alone."""
    conditions = []
    for at in np.sort(rng.choice(len(columns), min(width, len(columns)), replace=False)):
        column = columns[at]
        value = int(rng.integers(column.size))
        ranged = column.ordered and value < column.cardinality
        conditions.append((int(at), str(rng.choice(["<=", ">="])) if ranged else "==", value))
    return Query(tuple(conditions))


def _summary(finding: Finding, worst: dict[str, Any]) -> str:
    if not worst["tried"]:
        return (
            "No description of a released row could be made that fits that row alone, so nobody "
            f"could be singled out: {finding.verdict}."
        )
    low, high = finding.interval
    among = finding.details["among"]
    tries = [Tries(*worst["success"][name]) for name in ("members", "control", "naive")]
    return (
        f"Descriptions that fit one released row ({worst['mode']}) fit exactly one person among "
        f"{among}: {controlled.told(*tries)}; a risk of {finding.value:+.3f} (interval {low:+.3f} "
        f"to {high:+.3f}): {finding.verdict}."
    )
