"""What ``method="auto"`` takes, and why: a rule on public facts, from results on public data.

The rule looks at no row. What it rests on is committed with the benchmarks that it names; a method
that does not say where it was measured is not chosen.
"""

from __future__ import annotations

from typing import Any

USUAL = {
    "data": {"table": "tables.marginals", "images": "generators.taught"},
    "model": {"table": "learn.dpsgd", "images": "learn.recipe"},
}
"""By what is published and what it is made from."""

MANY_PAIRS = 20_000
"""Pairs of features beyond which counting them all takes longer than it is known to be worth."""

MANY_CLASSES = 64
"""Classes of the target beyond which a pair's table by the target is mostly noise."""

SMALLEST = 8
"""Pixels a side below which images have no scattering features, which a teacher learns from."""

WORTH_PAIRS = 16_000
"""Rows times epsilon from which pairs of columns bring more than their noise takes: of 21 measured
cases (diabetes to census-income, 199 to 32,000 rows) all four from there up are ahead, and none
below is behind by more than the draw."""

ENOUGH = 20_000
"""Records times epsilon from which a private teacher is worth its noise: measured at 1,437 (it is
not) and at 60,000 (it is)."""


def choose(gives: str, kind: str, facts: Any, *, records: int, epsilon: float) -> tuple[str, str]:
    """A method and the reason for it.

    Args:
        gives: ``"data"`` or ``"model"``.
        kind: ``"table"`` or ``"images"``.
        facts: The public facts.
        records: Of images, whose number every method here takes to be public. Of tables, whose
            number may be what is protected, only a declared one counts, in ``facts``.
        epsilon: The budget.
    """
    method = USUAL[gives][kind]
    if method == "generators.taught":
        return _for_images(facts, records * epsilon)
    if method != "tables.marginals":
        return method, f"{method}: of the methods for {kind}, it keeps most of the task"
    d = len(facts.features)
    if d * (d - 1) // 2 > MANY_PAIRS:
        return _floor(f"{d} features have more pairs than tables.marginals counts in short time")
    if facts.target is not None and _classes(facts) > MANY_CLASSES:
        return _floor(
            f"a target of more than {MANY_CLASSES} classes leaves a pair of features little to say"
        )
    return method, _for_tables(facts.records, epsilon)


def _for_tables(declared: int | None, epsilon: float) -> str:
    """Why pairs: what they gain by rows times epsilon, if the number of rows is public."""
    ahead = (
        "tables.marginals: on public tables, epsilon from 0.5 to 4, models trained on it rank "
        f"people best (AUROC; benchmarks/results/marginals.json): from about {WORTH_PAIRS:,} rows "
        "times epsilon up, and below as well as those of tables.independent (choosing.json)"
    )
    if declared is None:
        return ahead
    side = "above" if declared * epsilon >= WORTH_PAIRS else "below"
    return f"{ahead}; {declared:,} rows at epsilon {epsilon:g} are {side} that"


def _for_images(facts: Any, told: float) -> tuple[str, str]:
    if min(facts.shape[1:]) < SMALLEST or len(facts.classes) < 2:
        return "generators.merf", (
            f"generators.merf: it needs neither images of {SMALLEST} pixels a side nor classes to "
            "tell apart"
        )
    if told < ENOUGH:
        return "generators.merf", (
            "generators.merf: with so few images for this epsilon a private teacher knows too "
            "little (records times epsilon is below "
            f"{ENOUGH:,}; on 1,437 public digits at epsilon 1 it is right 77 % of the time, what "
            "a teacher labelled 22 %)"
        )
    return "generators.taught", (
        "generators.taught: on public images, MNIST and Fashion-MNIST, classifiers trained on it "
        "are right most often (benchmarks/results/taught.json)"
    )


def _floor(why: str) -> tuple[str, str]:
    return "tables.independent", f"tables.independent: {why}"


def _classes(facts: Any) -> int:
    """Of a target of levels; a numeric one is cut into a few bins."""
    from sfumato.data import Numeric

    target = facts[facts.target]
    return 1 if isinstance(target, Numeric) else int(target.size)
