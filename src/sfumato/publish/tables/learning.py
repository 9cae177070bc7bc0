"""Learning importance under a guarantee: a private model, and the noisy mean of attributions.

Two draws on the records that importance is learnt from: the model of the label, and the sum of the
records' attributions under it. Which model there is follows from the attribution: a logistic
regression has attributions in closed form (``"squared"``), all others explain a network.

Source: perturbation.md A.2 (P1 and P2).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
from numpy.typing import NDArray

from sfumato.data.columns import narrowest
from sfumato.errors import InputError
from sfumato.learn.features import Column as Shape
from sfumato.learn.features import Features
from sfumato.learn.passes import remembered
from sfumato.privacy.budget import Budget
from sfumato.privacy.neighbours import Neighbours
from sfumato.publish.method import Progress
from sfumato.publish.tables import importance

if TYPE_CHECKING:
    from dp_accounting import DpEvent

    from sfumato.data import Axis, Column, Schema, Table
    from sfumato.privacy.mechanisms import DiscreteLaplace
    from sfumato.privacy.noise import NoiseSource

SQUARED = "squared"
ATTRIBUTIONS: dict[str, str] = {
    SQUARED: "squared move of the logits, in closed form, of a logistic regression",
    "gradient": "squared gradient times range (Captum's Saliency)",
    "integrated-gradients": "integrated gradients from the public centre of the domain",
    "deeplift": "DeepLIFT against the public centre of the domain",
    "lrp": "layer-wise relevance propagation, epsilon rule",
    "shap": "DeepLIFT SHAP against records drawn from the public domain",
    "permutation": "what putting public draws in an attribute's place changes",
}
"""What a record's attributions can be."""

TARGET_BINS = 8
"""Equal public bins of a numeric target, which the model learns as classes."""

KEPT_CELLS = 1 << 28
"""Codes (one to four bytes each) of tables up to this size are kept between the model's steps."""

Batches = Callable[[], Iterator[tuple[NDArray[np.int32], NDArray[np.int64]]]]
"""Starts a pass: ``(codes (b, d), classes (b,))`` batches."""


class Model(Protocol):
    """A calibrated private model of the label whose predictions can be attributed."""

    @property
    def event(self) -> DpEvent:
        """What fitting it draws."""
        ...

    def attributions(
        self, batches: Batches, source: NoiseSource, progress: Progress
    ) -> importance.Attributions:
        """Fits the model; what records are attributed under it."""
        ...

    def describe(self) -> dict[str, Any]:
        """Its public parameters, for a card."""
        ...


@dataclass(frozen=True)
class Learner:
    """Importance, learnt from records under noise.

    Args:
        facts: The table's schema.
        model: The private model of the label.
        noise: Of the summed attributions.
        squared: Whether the mean attribution is squared afterwards: a first-order attribution is
            the root of what the allocation weighs. Post-processing.
    """

    facts: Schema
    model: Model
    noise: DiscreteLaplace
    squared: bool = False

    @classmethod
    def calibrate(
        cls,
        facts: Schema,
        records: int,
        for_model: Budget,
        for_importance: float,
        attribution: str,
        seed: int | None,
    ) -> Learner:
        """A learner that spends a budget on its model and an epsilon on the mean attribution.

        Args:
            facts: The table's schema, with a target.
            records: The public number of records that importance is learnt from.
            for_model: What the model may cost.
            for_importance: The epsilon of the mean attribution.
            attribution: One of :data:`ATTRIBUTIONS`.
            seed: Of a network's first weights.
        """
        model: Model
        if attribution == SQUARED:
            model = _logistic(facts, records, for_model)
        else:
            from sfumato.publish.tables.network import NetworkModel

            model = NetworkModel.calibrate(
                features(facts), classes(facts), records, for_model, attribution, seed
            )
        squared = attribution not in (SQUARED, "gradient")
        return cls(facts, model, importance.mechanism(for_importance), squared)

    @property
    def event(self) -> DpEvent:
        """The model and the mean attribution."""
        from sfumato.privacy import events

        return events.compose(self.model.event, self.noise.event)

    def learn(self, table: Table, source: NoiseSource, progress: Progress) -> NDArray[np.float64]:
        """(features,) importance of the table's attributes: all that is drawn is ``event``."""
        names = [column.name for column in self.facts.features]
        label = _Label(self.facts[self.facts.target or ""])

        def narrow() -> Iterator[dict[str, NDArray[Any]]]:
            for codes in table.codes_batches(columns=[*names, label.column.name]):
                yield {n: c.astype(narrowest(self.facts[n].size)) for n, c in codes.items()}

        kept = remembered(narrow, lambda codes: sum(map(len, codes.values())), KEPT_CELLS)

        def batches() -> Iterator[tuple[NDArray[np.int32], NDArray[np.int64]]]:
            for codes in kept():
                yield _stack(codes, names), label.classes_of(codes[label.column.name])

        found = self.model.attributions(batches, source, progress)
        return importance.paid(found, _codes_of(batches), self.noise, source, self.squared)

    def describe(self, records: int) -> dict[str, Any]:
        """The model and the mean attribution, for a card."""
        scale = self.noise.scale / importance.UNITS / records
        return {
            "model": self.model.describe(),
            "importance": {"noise_scale_of_the_mean": scale},
        }


def check(facts: Schema, budget: Budget) -> int:
    """The public number of records, of facts that importance can be learnt under.

    Raises:
        InputError: If there is no target or no public number of rows, or delta is 0, or not small
            against one over that number.
    """
    if facts.target is None:
        raise InputError(
            "learnt importance needs a target to predict", "Name one, or use importance=public."
        )
    if facts.records is None:
        raise InputError(
            "learnt importance needs the public number of rows", "Declare records in the schema."
        )
    if budget.delta == 0:
        raise InputError(
            "delta is 0, but the importance model is trained under Gaussian noise",
            "Give a delta, or use importance=public.",
        )
    budget.check_records(facts.records)
    return facts.records


def check_attribution(name: str) -> None:
    """Refuses an unknown attribution.

    Raises:
        InputError: If there is none of that name.
    """
    if not isinstance(name, str) or name not in ATTRIBUTIONS:
        raise InputError(f"attribution is {name!r}", f"Use one of {', '.join(ATTRIBUTIONS)}.")


def features(facts: Schema) -> Features:
    """The public shape of a row's attributes, as a model sees it."""
    from sfumato.data import Numeric

    return Features(
        tuple(
            Shape(column.size, column.cardinality if isinstance(column, Numeric) else None)
            for column in facts.features
        )
    )


def classes(facts: Schema) -> int:
    """How many classes a model of the target tells apart."""
    return _Label(facts[facts.target or ""]).classes


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


@dataclass(frozen=True)
class LogisticModel:
    """A private logistic regression, explained in closed form.

    Args:
        regression: With its noise.
        epsilon: What it was calibrated for.
    """

    regression: Any
    epsilon: float

    @property
    def event(self) -> DpEvent:
        """Its steps."""
        event: DpEvent = self.regression.event
        return event

    def attributions(
        self, batches: Batches, source: NoiseSource, progress: Progress
    ) -> importance.Attribution:
        """Squared moves of the logits."""
        weights = self.regression.fit(batches, source, progress)
        return importance.Attribution(self.regression.features, weights)

    def describe(self) -> dict[str, Any]:
        """Its public parameters, for a card."""
        names = ("noise_multiplier", "steps", "clip_norm", "learning_rate", "momentum")
        return {"epsilon": self.epsilon, **{n: getattr(self.regression, n) for n in names}}


def _logistic(facts: Schema, records: int, budget: Budget) -> LogisticModel:
    """The private model, its noise calibrated to its steps."""
    from sfumato.learn.logistic import LogisticRegression
    from sfumato.privacy.calibration import calibrate_gaussian

    model = LogisticRegression(features(facts), classes(facts), records, noise_multiplier=1.0)
    noise = calibrate_gaussian(budget, Neighbours.REPLACE_ONE, steps=model.steps)
    return LogisticModel(replace(model, noise_multiplier=noise), budget.epsilon)


def _stack(codes: dict[str, NDArray[Any]], names: list[str]) -> NDArray[np.int32]:
    return np.stack([codes[name].astype(np.int32) for name in names], axis=1)


def _codes_of(batches: Batches) -> Callable[[], Iterator[NDArray[np.int32]]]:
    return lambda: (codes for codes, _ in batches())
