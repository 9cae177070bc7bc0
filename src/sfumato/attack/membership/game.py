"""The game of membership inference: who is attacked, what the model says, what the scores show."""

from __future__ import annotations

import logging
import weakref
from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from sfumato.attack import blind, ceilings, margin, persons, roc, targets
from sfumato.attack.evidence import MINIMUM
from sfumato.attack.finding import Finding, PerRecord
from sfumato.attack.membership import scores
from sfumato.errors import InputError
from sfumato.measure import features, intervals
from sfumato.measure.task import task_of

if TYPE_CHECKING:
    from sfumato.attack.blind import Blind
    from sfumato.attack.ceilings import Ceiling
    from sfumato.attack.evidence import Evidence
    from sfumato.attack.settings import Settings
    from sfumato.data.imageset import ImageSet
    from sfumato.data.table import Table
    from sfumato.release.release import Release

LOW_FPR = (0.01, 0.001)
_MISORDERED = 0.25
_TOLD: weakref.WeakSet[Any] = weakref.WeakSet()


@dataclass(frozen=True, eq=False)
class Side:
    """Records of one side, as the attacked model takes them.

    Args:
        inputs: (n, c, h, w) float32 in [0, 1], or (n, d) codes of all columns but the target.
        labels: (n,) class numbers.
        records: The same as the baseline without access sees them.
        model: The attacked model; only its ``probabilities_from`` is used.
    """

    inputs: NDArray[Any]
    labels: NDArray[np.int64]
    records: targets.Records
    model: Any

    def __len__(self) -> int:
        return len(self.labels)

    @cached_property
    def probabilities(self) -> NDArray[np.float64]:
        """(n, K) what the attacked model makes of them."""
        found: NDArray[np.float64] = self.model.probabilities_from(self.inputs)
        return found

    @cached_property
    def log_odds(self) -> NDArray[np.float64]:
        """(n,) of the true class under the attacked model."""
        return scores.log_odds(self.probabilities, self.labels)

    @cached_property
    def correct(self) -> NDArray[np.bool_]:
        """(n,) whether the attacked model is right."""
        return scores.correct(self.probabilities, self.labels)

    def select(self, rows: NDArray[np.int64]) -> Side:
        """The records at row numbers."""
        return Side(self.inputs[rows], self.labels[rows], self.records[rows], self.model)


@dataclass(frozen=True, eq=False)
class Game:
    """Members and as many others, who are attacked, and further records that the attacker has.

    Args:
        model: What is attacked.
        rows: (m,) row numbers of those members in the evidence.
        members: m targets that the model was trained on.
        others: m targets that it was not trained on.
        auxiliary: Non-members that are not targets; empty where none were asked for.
        pool: Members and non-members together, targets first (members, then others), for attacks
            whose shadow models are trained on targets.
        ceiling: What the guarantee allows; None if it says nothing.
        evidence: What was given.
        seed: Of the attack.
        rng: The game's generator, for what follows.
    """

    model: Any
    rows: NDArray[np.int64]
    members: Side
    others: Side
    auxiliary: Side
    pool: Side
    ceiling: Ceiling | None
    evidence: Evidence
    seed: int
    rng: np.random.Generator

    @property
    def takes(self) -> str:
        """``"images"`` or ``"table"``."""
        return str(self.model.takes)

    @property
    def classes(self) -> int:
        """K."""
        return int(self.members.probabilities.shape[1])

    def both(self, values: NDArray[Any]) -> tuple[NDArray[Any], NDArray[Any]]:
        """Values of all targets, parted into the members' and the others'."""
        m = len(self.members)
        return values[..., :m], values[..., m : 2 * m]

    def baseline(self) -> Blind | None:
        """What an attacker without the model makes of the same targets; None where it is chance."""
        return blind.beside(self.evidence, self.members.records, self.others.records, self.rng)


def play(
    settings: Settings,
    release: Release,
    evidence: Evidence,
    seed: int,
    *,
    auxiliary: int = 0,
    pool: int = 0,
) -> Game:
    """Draws the targets and reads the records.

    Where an attack needs auxiliary records and the evidence has none, half of the non-members are
    taken as such, and targets are drawn from the rest. Of each person, where persons are known, one
    record plays.

    Args:
        settings: Of the attack.
        release: Holds the model.
        evidence: Members and non-members.
        seed: Of the draw.
        auxiliary: At most how many auxiliary records are read; 0 for none.
        pool: At most how many members and non-members together train shadow models; 0 for none.

    Raises:
        InputError: If the evidence does not fit the release, or there are too few records.
    """
    targets.check(release, evidence)
    rng = np.random.default_rng(seed)
    model = release.model
    _, read = task_of(model.schema, model.takes, seed, 1)
    outside, helpers = persons.one_each(evidence.non_members, rng), np.zeros(0, np.int64)
    held: Table | ImageSet | None = evidence.auxiliary
    if auxiliary and held is None:
        held = evidence.non_members
        outside, helpers = _halved(outside, evidence.together[outside], auxiliary, rng)
    elif auxiliary and held is not None:
        helpers = persons.choose(held, auxiliary, rng)
    inside = persons.one_each(evidence.members, rng)
    each = min(settings.max_targets, len(inside), len(outside))
    chosen, others = _choose(inside, each, rng), _choose(outside, each, rng)
    further = _further(inside, outside, chosen, others, pool, rng) if pool else None

    def side(data: Table | ImageSet, rows: NDArray[np.int64]) -> Side:
        found = read(data, rows)
        return Side(found.x, np.asarray(found.y, np.int64), targets.read(data, rows), model)

    members, strangers = side(evidence.members, chosen), side(evidence.non_members, others)
    empty = members.select(np.zeros(0, np.int64))
    together = empty
    if further is not None:
        more = zip((evidence.members, evidence.non_members), further, strict=True)
        parts = [members, strangers, *(side(data, rows) for data, rows in more if len(rows))]
        together = _joined(parts)
    return Game(
        model=model,
        rows=chosen,
        members=members,
        others=strangers,
        auxiliary=empty if held is None or not auxiliary else side(held, helpers),
        pool=together,
        ceiling=ceilings.of(release.card),
        evidence=evidence,
        seed=seed,
        rng=rng,
    )


def _halved(
    rows: NDArray[np.int64], whose: NDArray[np.int64], most: int, rng: np.random.Generator
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Rows that stay, and at most ``most`` that are set apart.

    Args:
        rows: (n,) of non-members.
        whose: (n,) numbers; rows that share one are not parted.
        most: How many.
        rng: Draws them.
    """
    apart_of = np.unique(whose)
    if len(apart_of) < 2 * MINIMUM:
        raise InputError(
            f"{len(apart_of)} non-members are too few to set half of them apart for calibration",
            f"Give auxiliary records, or at least {2 * MINIMUM} non-members.",
        )
    if len(apart_of) == len(rows):
        apart = rows[features.choose(len(rows), min(most, len(rows) // 2), rng)]
        return np.setdiff1d(rows, apart), apart
    held = np.isin(whose, rng.permutation(apart_of)[: len(apart_of) // 2])
    return rows[~held], _choose(rows[held], most, rng)


def _choose(rows: NDArray[np.int64], limit: int, rng: np.random.Generator) -> NDArray[np.int64]:
    return rows[features.choose(len(rows), limit, rng)]


def _further(
    inside: NDArray[np.int64],
    outside: NDArray[np.int64],
    chosen: NDArray[np.int64],
    others: NDArray[np.int64],
    pool: int,
    rng: np.random.Generator,
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Members and non-members beside the targets, of the larger side more, to fill the pool."""
    more_in, more_out = np.setdiff1d(inside, chosen), np.setdiff1d(outside, others)
    room = max(0, pool - 2 * len(chosen))
    out = min(len(more_out), max(room // 2, room - len(more_in)))
    return _choose(more_in, room - out, rng), _choose(more_out, out, rng)


def _joined(sides: list[Side]) -> Side:
    records = targets.Records(
        np.concatenate([side.records.values for side in sides]), sides[0].records.columns
    )
    return Side(
        np.concatenate([side.inputs for side in sides]),
        np.concatenate([side.labels for side in sides]),
        records,
        sides[0].model,
    )


def finding(
    settings: Settings,
    game: Game,
    inside: NDArray[np.float64],
    outside: NDArray[np.float64],
    *,
    attack: str,
    how: str,
    baseline: Blind | None,
    details: Mapping[str, Any] | None = None,
) -> Finding:
    """What scores of members and of others show.

    Args:
        settings: Of the attack.
        game: Whose scores they are.
        inside: (m,) of members; higher where membership is likelier.
        outside: (m,) of the others.
        attack: The registered name.
        how: What the attack goes by, in words, for the summary.
        baseline: What the attacker without access makes of the same targets; None where that is
            known to be chance.
        details: Further figures.
    """
    tell_misordered(game)
    area, interval = intervals.auc(inside, outside, settings.confidence)
    ceiling = game.ceiling
    found = Finding(
        attack=attack,
        metric="AUC",
        value=area,
        interval=interval,
        confidence=settings.confidence,
        chance=0.5,
        **margin.over_blind(inside, outside, baseline, settings.confidence),
        ceiling=None if ceiling is None else ceiling.auc,
        roc=roc.curve(inside, outside),
        details={
            "targets": len(inside),
            "tpr_at_fpr": roc.at_low_fpr(
                inside, outside, LOW_FPR, settings.confidence, ceiling, baseline
            ),
            "best_threshold": roc.at_best_threshold(inside, outside, settings.confidence, game.rng),
            "accuracy": {
                "members": float(game.members.correct.mean()),
                "non_members": float(game.others.correct.mean()),
            },
            "advantage_ceiling": None if ceiling is None else ceiling.advantage,
            **(details or {}),
        },
        records=PerRecord(game.rows, inside, outside) if len(game.rows) == len(inside) else None,
    )
    low, high = interval
    limit = ceilings.allowed(found.ceiling, percent=1)
    summary = (
        f"Shown two records, one of them trained on, the attack by {how} picks the "
        f"right one in {found.value:.1%} of cases (interval {low:.1%} to {high:.1%}, guessing "
        f"50 %{limit}): {found.verdict}."
    )
    return replace(found, summary=summary)


def tell_misordered(game: Game) -> None:
    """A warning, once a model, where the classes in another order fit its answers far better.

    A model of others that names no classes is taken to answer in the order of the schema. Where it
    does not, every figure is wrong, and nothing else shows it.
    """
    from scipy.optimize import linear_sum_assignment

    if getattr(game.model, "named", None) != () or game.model in _TOLD:
        return
    classes = game.model.classes
    counts = np.zeros((len(classes), len(classes)), np.int64)
    for side in (game.members, game.others):
        np.add.at(counts, (side.probabilities.argmax(axis=1), side.labels), 1)
    answered, meant = linear_sum_assignment(-counts)
    right, given = counts[answered, meant].sum() / counts.sum(), np.trace(counts) / counts.sum()
    if right - given < _MISORDERED:
        return
    _TOLD.add(game.model)
    order = ", ".join(str(classes[k]) for k in meant)
    logging.getLogger("sfumato").warning(
        f"the model is right about {given:.0%} of the records, and about {right:.0%} if its "
        f"classes are taken as {order}; it names none, so they were taken in the order of the "
        f"schema ({', '.join(map(str, classes))}). If the other order is its own, put the schema's "
        "levels in it, or have the model name its classes: every figure here depends on it."
    )
