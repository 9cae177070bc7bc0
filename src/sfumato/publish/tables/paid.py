"""``tables.adaptive`` with paid importance: a private model, noisy attributions, then the rows.

Three draws on the same records, composed: the model (Gaussian noise on gradients), the mean
attribution (discrete Laplace noise), and the rows' reports. The budget of each is fixed before
the run. Importance decides how the rows' part is divided, never how large it is, so the rows cost
the same whatever the importance turns out to be.

Source: perturbation.md A.2, P2.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from sfumato.data.columns import narrowest
from sfumato.errors import InputError
from sfumato.learn.features import Column as Shape
from sfumato.learn.features import Features
from sfumato.learn.passes import remembered
from sfumato.privacy.budget import Budget
from sfumato.privacy.guarantee import Central
from sfumato.privacy.neighbours import Neighbours
from sfumato.publish.method import Calibrated, Progress
from sfumato.publish.tables import importance
from sfumato.release.release import Artefact

if TYPE_CHECKING:
    from sfumato.data import Axis, Column, Schema, Table
    from sfumato.learn.logistic import LogisticRegression
    from sfumato.privacy.mechanisms import DiscreteLaplace
    from sfumato.privacy.noise import NoiseSource
    from sfumato.publish.tables.adaptive import Adaptive
    from sfumato.publish.tables.row import Row

TARGET_BINS = 8
"""Equal public bins of a numeric target, which the model learns as classes."""

KEPT_CELLS = 1 << 28
"""Codes (one to four bytes each) of tables up to this size are kept between the model's steps."""

CAVEATS = (
    "Importance is a statistic of all rows: the guarantee is for the release as a whole and needs "
    "a trusted curator; the rows alone are not local reports.",
)


def calibrate(method: Adaptive, budget: Budget, facts: Schema) -> Calibrated:
    """The run that spends ``budget`` on importance and rows.

    Raises:
        InputError: If there is no target or no public number of rows, or delta is 0.
    """
    if facts.target is None:
        raise InputError(
            "paid importance needs a target to predict", "Name one, or use importance=public."
        )
    if facts.records is None:
        raise InputError(
            "paid importance needs the public number of rows", "Declare records in the schema."
        )
    if budget.delta == 0:
        raise InputError(
            "delta is 0, but the importance model is trained under Gaussian noise",
            "Give a delta, or use importance=public.",
        )
    from sfumato.privacy import events

    gaussian = method.noise == "gaussian"
    rest = 1 - method.model_share - method.importance_share
    delta = budget.delta / 2 if gaussian else budget.delta
    for_model = Budget(method.model_share * budget.epsilon, delta)
    for_rows = Budget(rest * budget.epsilon, budget.delta / 2 if gaussian else 0.0)
    model = _model(facts, for_model)
    noise = importance.mechanism(method.importance_share * budget.epsilon)
    # Equal weights stand in for the importance to come: what they fix is the total, not the parts.
    equal = importance.declared(None, tuple(c.name for c in facts.features), facts.target)
    learning = events.compose(model.event, noise.event)
    row = method.row(for_rows, facts, equal, beside=(learning, budget))
    run = _Run(facts, model, noise, row)
    plan = {
        "model": {
            "epsilon": for_model.epsilon,
            "noise_multiplier": model.noise_multiplier,
            "steps": model.steps,
            "clip_norm": model.clip_norm,
            "learning_rate": model.learning_rate,
            "momentum": model.momentum,
        },
        "importance": {
            "epsilon": method.importance_share * budget.epsilon,
            "noise_scale_of_the_mean": noise.scale / importance.UNITS / facts.records,
        },
        "row_epsilon": for_rows.epsilon,
        "aligned": True,
    }
    return Calibrated(
        method=method,
        budget=budget,
        facts=facts,
        guarantee=Central(run.event, budget.delta, "record", Neighbours.REPLACE_ONE),
        plan=plan,
        run=run,
        caveats=CAVEATS,
    )


@dataclass(frozen=True)
class _Run:
    """The three draws.

    Args:
        facts: The table's schema.
        model: The private model of the label.
        noise: Of the summed attributions.
        row: A row's budget.
    """

    facts: Schema
    model: LogisticRegression
    noise: DiscreteLaplace
    row: Row

    @property
    def event(self) -> Any:
        """Everything that is drawn from the records, composed."""
        from sfumato.privacy import events

        return events.compose(self.model.event, self.noise.event, self.row.cost)

    def __call__(self, table: Table, source: NoiseSource, progress: Progress) -> Artefact:
        """Learns importance, then perturbs the rows by it."""
        from sfumato.publish.tables.adaptive import perturb

        names = [column.name for column in self.facts.features]
        label = _Label(self.facts[self.facts.target or ""])

        def narrow() -> Iterator[dict[str, NDArray[Any]]]:
            for codes in table.codes_batches(columns=[*names, label.column.name]):
                yield {n: c.astype(narrowest(self.facts[n].size)) for n, c in codes.items()}

        kept = remembered(narrow, lambda codes: sum(map(len, codes.values())), KEPT_CELLS)

        def batches() -> Iterator[tuple[NDArray[np.int32], NDArray[np.int64]]]:
            for codes in kept():
                yield _stack(codes, names), label.classes_of(codes[label.column.name])

        weights = self.model.fit(batches, source, progress)
        attribution = importance.Attribution(self.model.features, weights)
        learnt = importance.paid(attribution, _codes_of(batches), self.noise, source)
        released = perturb(table, self.row, learnt, source, progress)
        return Artefact(released, notes=self.row.describe(learnt))


@dataclass(frozen=True)
class _Label:
    """The target as classes: its levels, or public bins of its range; missing is one of them."""

    column: Column

    @property
    def classes(self) -> int:
        """How many classes there are."""
        return self._axis.size(self.column)

    def classes_of(self, codes: NDArray[np.integer]) -> NDArray[np.int64]:
        """(n,) classes of (n,) codes."""
        return self._axis.index(codes, self.column)

    @property
    def _axis(self) -> Axis:
        from sfumato.data import Axis, Numeric

        bins = TARGET_BINS if isinstance(self.column, Numeric) else None
        return Axis(self.column.name, bins)


def _model(facts: Schema, budget: Budget) -> LogisticRegression:
    """The private model, its noise calibrated to its steps."""
    from sfumato.learn.logistic import LogisticRegression
    from sfumato.privacy.calibration import calibrate_gaussian

    assert facts.target is not None
    assert facts.records is not None
    classes = _Label(facts[facts.target]).classes
    model = LogisticRegression(features(facts), classes, facts.records, noise_multiplier=1.0)
    noise = calibrate_gaussian(budget, Neighbours.REPLACE_ONE, steps=model.steps)
    return replace(model, noise_multiplier=noise)


def features(facts: Schema) -> Features:
    """The public shape of a row's attributes, as a model sees it."""
    from sfumato.data import Numeric

    return Features(
        tuple(
            Shape(column.size, column.cardinality if isinstance(column, Numeric) else None)
            for column in facts.features
        )
    )


def _stack(codes: dict[str, NDArray[Any]], names: list[str]) -> NDArray[np.int32]:
    return np.stack([codes[name].astype(np.int32) for name in names], axis=1)


def _codes_of(batches: Callable[[], Iterator[Any]]) -> Callable[[], Iterator[NDArray[np.int32]]]:
    return lambda: (codes for codes, _ in batches())
