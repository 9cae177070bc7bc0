"""Inference after Anonymeter's protocol: a secret guessed from the nearest released row."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from sfumato.attack import ceilings, controlled, margin, targets
from sfumato.attack.controlled import Tries
from sfumato.attack.finding import Finding
from sfumato.attack.nearest import nearest_codes
from sfumato.attack.settings import Settings, names, whole
from sfumato.errors import InputError
from sfumato.measure import intervals
from sfumato.registry import attack

if TYPE_CHECKING:
    from sfumato.attack.evidence import Evidence
    from sfumato.attack.targets import Records
    from sfumato.data.columns import Column
    from sfumato.data.schema import Schema
    from sfumato.release.release import Release


@attack("anonymeter.inference")
@dataclass(frozen=True)
class ProtocolInference(Settings):
    """Guesses each secret column from the others, as the nearest released row has it.

    A level is guessed if it is equal, a number if it is off by at most a share of its own size.
    The control guesses the secrets of people who are not in the release. The naive guess is any of
    the column's public values alike; one drawn from the released values, as the protocol's library
    makes it, looks at the release and is in the details only. Unlike
    ``attribute.inference``, which counts differences in percentage points within parts of a range,
    the risk is relative to what the control leaves to be found.

    Args:
        secrets: Columns to guess; empty takes the target and the first others.
        max_secrets: How many where ``secrets`` is empty.
        tolerance: How far a number may be off, as a share of its size.
    """

    kinds: ClassVar[tuple[str, ...]] = ("table",)
    source: ClassVar[str] = controlled.SOURCE

    secrets: tuple[str, ...] = ()
    max_secrets: int = 5
    tolerance: float = 0.05

    def __post_init__(self) -> None:
        super().__post_init__()
        whole(self.max_secrets, "max_secrets", 1)
        object.__setattr__(self, "secrets", names(self.secrets, "secrets"))
        good = isinstance(self.tolerance, int | float) and not isinstance(self.tolerance, bool)
        if not (good and 0 <= self.tolerance < 1):
            raise InputError(f"tolerance is {self.tolerance!r}", "Give a number in [0, 1).")

    def __call__(self, release: Release, evidence: Evidence, *, seed: int = 0) -> Finding:
        """The risk for the secret where it is most certain."""
        targets.check(release, evidence)
        rng = np.random.default_rng(seed)
        chosen, others = targets.balanced(evidence, self.max_targets, rng)
        sides = targets.read(evidence.members, chosen), targets.read(evidence.non_members, others)
        published = targets.released(release, self.max_released, rng)
        published = published[rng.permutation(len(published))]  # the first of equals is taken
        names = self._names(release.facts)
        confidence = 1 - (1 - self.confidence) / len(names)
        rows = self._rows(sides, published, names, confidence, rng)
        rows = margin.known(rows, evidence.by_coins)
        # A secret is told where both are above 0, so that is how sure it is.
        worst = max(rows, key=margin.sureness)
        base = Tries(*worst["success"]["control"])
        finding = Finding(
            attack="anonymeter.inference",
            metric="risk: success beyond the control's",
            value=worst["risk"],
            interval=(worst["interval"][0], worst["interval"][1]),
            confidence=self.confidence,
            chance=0.0,
            baseline=0.0 if evidence.by_coins else worst["naive_risk"],
            margin=margin.of_row(worst),
            ceiling=controlled.ceiling_of(ceilings.of(release.card), base, confidence),
            details={"secret": worst["secret"], "targets": len(chosen), "secrets": rows},
        )
        low, high = finding.interval
        limit = ceilings.allowed(finding.ceiling)
        tries = [Tries(*worst["success"][name]) for name in ("members", "control", "naive")]
        summary = (
            f"From all other columns, {worst['secret']!r} is guessed right through the release: "
            f"{controlled.told(*tries)}; a risk of {finding.value:+.3f} (interval {low:+.3f} to "
            f"{high:+.3f}{limit}): {finding.verdict}."
        )
        return replace(finding, summary=summary)

    def _names(self, schema: Schema) -> tuple[str, ...]:
        if len(schema) < 2:
            raise InputError(
                "the release has one column", "There is nothing to infer it from; leave this out."
            )
        if self.secrets:
            return tuple(schema[name].name for name in self.secrets)
        first = [] if schema.target is None else [schema.target]
        return tuple((first + [c.name for c in schema.features])[: self.max_secrets])

    def _rows(
        self,
        sides: tuple[Records, Records],
        published: Records,
        names: tuple[str, ...],
        confidence: float,
        rng: np.random.Generator,
    ) -> list[dict[str, Any]]:
        columns = sides[0].columns
        at = [[column.name for column in columns].index(name) for name in names]
        found = [nearest_codes(s.values, published.values, columns, at) for s in sides]  # type: ignore[arg-type]
        rows = []
        for k, (name, j) in enumerate(zip(names, at, strict=True)):
            tries: list[Tries] = []
            blind: list[NDArray[np.float64]] = []
            shares: list[Tries] = []
            for side, near in zip(sides, found, strict=True):
                truth = side.values[:, j]
                guess = published.values[near[k][1], j]
                drawn = published.values[rng.integers(len(published), size=len(truth)), j]
                blind.append(_guessed(truth, columns[j], self.tolerance))
                for kept, values in ((tries, guess), (shares, drawn)):
                    right = close(values, truth, columns[j], self.tolerance)
                    kept.append(Tries(int(right.sum()), len(truth)))
            value, interval = controlled.risk(tries[0], tries[1], confidence)
            naive, naive_control = (Tries(float(one.sum()), len(one)) for one in blind)
            without, around = controlled.risk_of(
                (naive.rate, naive_control.rate),
                (_around(blind[0], confidence), _around(blind[1], confidence)),
            )
            tried = len(blind[0]) + len(blind[1])
            beaten = margin.of_figures((value, without), (interval, around), tried)
            rows.append(
                {
                    "secret": name,
                    "risk": value,
                    "interval": list(interval),
                    "drawn_from_the_release": [[side.right, side.of] for side in shares],
                    "naive_risk": max(0.0, without),
                    "margin": beaten.to_dict(),
                    **controlled.figures(tries[0], tries[1], naive, naive_control, confidence),
                }
            )
        return rows


def _guessed(truth: NDArray[Any], column: Column, tolerance: float) -> NDArray[np.float64]:
    """(n,) how likely one of the column's public values, each alike, is right of (n,) codes.

    Reckoned, not drawn: guesses that were drawn would be right about some by luck.
    """
    from sfumato.data.columns import Numeric

    right = np.ones(len(truth))
    if isinstance(column, Numeric):
        known = truth < column.cardinality
        code = np.where(known, truth, 0)
        within = tolerance * np.abs(column.values(code)) + 1e-12
        reach = np.floor(within / column.granularity * (1 + 1e-9))
        near = np.minimum(code, reach) + np.minimum(column.cardinality - 1 - code, reach) + 1
        right = np.where(known, near, right)
    return np.asarray(right / column.size, np.float64)


def _around(chances: NDArray[np.float64], confidence: float) -> intervals.Interval:
    """The interval of their mean over people; none wide where all people have the same."""
    from scipy.special import stdtrit

    n, mean = len(chances), float(chances.mean())
    error = float(chances.std(ddof=1)) / math.sqrt(n)
    reach = float(stdtrit(n - 1, (1 + confidence) / 2)) * error
    return max(0.0, mean - reach), min(1.0, mean + reach)


def close(
    guess: NDArray[Any], truth: NDArray[Any], column: Column, tolerance: float
) -> NDArray[np.bool_]:
    """Whether guessed codes are right: equal, or numbers off by at most a share of the true size.

    The share is of the size without its sign: divided by a negative number, every error is small.

    >>> from sfumato.data import Numeric
    >>> debt = Numeric("debt", -100, 0, 1)
    >>> close(np.array([0, 4]), np.array([90, 0]), debt, 0.05)  # -100 for -10, -96 for -100
    array([False,  True])
    """
    from sfumato.data.columns import Numeric

    equal = np.asarray(guess == truth)
    if not isinstance(column, Numeric):
        return equal
    known = (guess < column.cardinality) & (truth < column.cardinality)
    a, b = (column.values(np.where(known, codes, 0)) for codes in (guess, truth))
    within = np.abs(a - b) <= tolerance * np.abs(b) + 1e-12
    return np.asarray(np.where(known, within, equal), dtype=np.bool_)
