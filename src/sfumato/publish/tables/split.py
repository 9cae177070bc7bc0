"""``tables.adaptive`` with split importance: learnt from some records, which are not released.

Each record is in one of two parts, by a hash of its row number: the seed decides, never a value.
The first part teaches importance (a private model, then the noisy mean of attributions) and is
then put away; the rows of the second part are reported. Two tables that differ in the value of one
record have the same parts. If the record is in the first, the second part's reports are
post-processing of what it taught, and it costs what learning costs. If it is in the second,
importance has the same distribution for both tables, and it costs what its own report costs,
whatever the importance turned out to be. So the release is (epsilon, delta)-DP for the *larger* of
the two costs, not their sum, and each is calibrated to the whole budget: parallel composition. This
holds given the seed, which may be published: no secrecy of who was held out is claimed, and none is
needed. It does not hold for add/remove neighbours: a row gone moves all later rows' numbers.

The second part's owners need trust nobody with their rows, given the importance: their reports are
local. The first part's owners need a trusted curator. The one guarantee that holds for both is the
central one, so that is what is stated.

Source: perturbation.md A.2, P1; McSherry 2009 (parallel composition).
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from sfumato.errors import InputError
from sfumato.privacy.budget import Budget
from sfumato.privacy.guarantee import Central
from sfumato.privacy.neighbours import Neighbours
from sfumato.publish.method import Calibrated, Progress
from sfumato.publish.tables import importance, learning
from sfumato.release.release import Artefact

if TYPE_CHECKING:
    from dp_accounting import DpEvent

    from sfumato.data import Schema, Table
    from sfumato.privacy.noise import NoiseSource
    from sfumato.publish.tables.adaptive import Adaptive
    from sfumato.publish.tables.row import Row

FEWEST = 20
"""Importance is not learnt from fewer records than this."""

EXACT = 10_000_000
"""Tables of up to so many rows are parted exactly as asked; see ``Table.split``."""

CAVEATS = (
    "Importance is learnt from a part of the records, which needs a trusted curator and is not "
    "released; the others' rows are reports that their owners could make themselves.",
    "A record pays for importance or for its own row, whichever it is used for: the guarantee is "
    "the larger of the two, and holds between tables with the same number of rows in one order.",
)


def calibrate(method: Adaptive, budget: Budget, facts: Schema) -> Calibrated:
    """The run that spends ``budget`` on each part of the records.

    Raises:
        InputError: If there is no target or no public number of rows, delta is 0, or a part is
            too small.
    """
    from sfumato.privacy import accounting, events

    records = learning.check(facts, budget)
    held = round(method.held_out * records)
    if held < FEWEST or held == records:
        raise InputError(
            f"{held} of {records} records would be held out to learn importance from",
            f"Hold out at least {FEWEST}, and not all.",
        )
    if records > EXACT and method.attribution != learning.SQUARED:
        raise InputError(
            f"{records} records are parted to about a share, and a network's sampling wants to "
            "know exactly how many there are",
            f"Use attribution=squared above {EXACT} records.",
        )
    of_model = method.model_share / (method.model_share + method.importance_share)
    for_model = Budget(of_model * budget.epsilon, budget.delta)
    for_importance = budget.epsilon - for_model.epsilon
    learner = learning.Learner.calibrate(
        facts, held, for_model, for_importance, method.attribution, method.seed
    )
    for_rows = Budget(budget.epsilon, budget.delta if method.noise == "gaussian" else 0.0)
    equal = importance.declared(None, tuple(c.name for c in facts.features), facts.target)
    row = method.row(for_rows, facts, equal, beside=(_nothing(), for_rows))
    run = Run(learner, row, method.held_out, method.seed)
    event = events.ParallelDpEvent((learner.event, row.cost))
    costs = [accounting.epsilon(e, budget.delta, Neighbours.REPLACE_ONE) for e in event.events]
    described = learner.describe(held)
    described["importance"]["epsilon"] = for_importance
    return Calibrated(
        method=method,
        budget=budget,
        facts=facts,
        guarantee=Central(event, budget.delta, "record", Neighbours.REPLACE_ONE),
        plan={
            **described,
            "row_epsilon": for_rows.epsilon,
            "held_out_records": held,
            "parts": dict(zip(("held_out", "released"), costs, strict=True)),
        },
        run=run,
        caveats=CAVEATS,
    )


def _nothing() -> DpEvent:
    from sfumato.privacy import events

    return events.NoOpDpEvent()


@dataclass(frozen=True)
class Run:
    """What is learnt from one part, and the other part's reports.

    Args:
        learner: Of importance.
        row: A row's budget.
        held_out: The share of rows that importance is learnt from.
        seed: See ``Adaptive``.
    """

    learner: learning.Learner
    row: Row
    held_out: float
    seed: int | None

    def check(self, table: Table) -> None:
        """Refuses, before anything is paid for, rows that have no place to be parted by.

        Parted by their values instead, one value more or less would move a record from one part to
        the other: it would be in both of two neighbouring tables, and cost the sum.
        """
        if not table.ordered:
            raise InputError(
                "importance=split parts rows by their place, and the table gives rows in no order",
                "Name a folder for a private copy of its rows (--spool DIR), export the table to "
                "Parquet, or take importance=paid.",
            )

    def __call__(self, table: Table, source: NoiseSource, progress: Progress) -> Artefact:
        """Learns importance from the rows that are held out, then perturbs the others by it.

        Raises:
            InputError: If the table gave its rows in another order in another pass: a record might
                have been in both parts. Nothing is released.
        """
        from sfumato.publish.tables.adaptive import drawn, reported

        seed = drawn(self.seed)
        rest, held = table.split(self.held_out, seed)
        before = _digest(held)
        learnt = self.learner.learn(held, source, progress)
        released, seeds = reported(rest, self.row, learnt, source, progress, seed)
        if _digest(held) != before:
            raise InputError(
                "the rows came in another order in another pass",
                "Write the table to a Parquet file first, and publish that.",
            )
        seeds = {"held_out": seed, **seeds}
        return Artefact(released, seeds=seeds, notes=self.row.describe(learnt))


def _digest(table: Table) -> bytes:
    """Of all rows in their order; never published."""
    names = table.schema.names
    digests = {name: hashlib.blake2b() for name in names}
    for codes in table.codes_batches():
        for name, values in codes.items():
            digests[name].update(np.ascontiguousarray(values, np.int64).tobytes())
    return b"".join(digests[name].digest() for name in names)
