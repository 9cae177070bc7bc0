"""The utility matrix as values: one figure a cell, each with its interval."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from sfumato.errors import InputError

SETTINGS: Mapping[str, str] = {
    "p1": "trained on real data, tested on real data",
    "p2": "trained on the release, tested on real data",
    "p3": "trained on real data, tested on the release",
    "p4": "trained on the release, tested on the release",
}
"""The four cells of the matrix; p2 is what a recipient of the release can hope for."""


@dataclass(frozen=True)
class Score:
    """One figure of one model.

    Args:
        model: The model family, such as ``"random forest"``.
        setting: ``"p1"`` to ``"p4"``, see :data:`SETTINGS`.
        metric: ``"accuracy"``, ``"balanced accuracy"``, ``"AUROC"``; ``"R2"``, ``"MAE"``.
        value: The figure, or None where it is undefined (an AUROC with one class).
        interval: Over the drawing of the test records, or None where ``value`` is.
    """

    model: str
    setting: str
    metric: str
    value: float | None
    interval: tuple[float, float] | None


@dataclass(frozen=True)
class Utility:
    """How well models do with the release in place of the real data.

    Args:
        task: ``"classification"`` or ``"regression"``.
        target: The column that is predicted, or ``"label"``.
        scores: One for each model, setting and metric.
        majority: What predicting the commonest class (or the mean) of the real training data
            scores on the real test data, by metric.
        confidence: Of the intervals, which cover the drawing of the test records, not the
            training.
        records: How many records each part used: ``train``, ``released``, ``test``,
            ``released_test``.
        notes: What a reader must know, such as a class that the release lacks.
        of: ``"data"``, or ``"model"`` where the release is the model that is judged: its scores
            then stand under p2, those of models trained without privacy under p1.
    """

    task: str
    target: str
    scores: tuple[Score, ...]
    majority: Mapping[str, float | None]
    confidence: float = 0.95
    records: Mapping[str, int] = field(default_factory=dict)
    notes: tuple[str, ...] = ()
    of: str = "data"

    @property
    def models(self) -> tuple[str, ...]:
        """The model families, in the order they ran."""
        return tuple(dict.fromkeys(score.model for score in self.scores))

    @property
    def metrics(self) -> tuple[str, ...]:
        """The metrics; the first is the one to read first."""
        return tuple(dict.fromkeys(score.metric for score in self.scores))

    def score(self, model: str, setting: str, metric: str) -> Score:
        """One cell of the matrix; an undefined score where it was not measured.

        Raises:
            KeyError: If no such model, setting or metric is in the matrix.
        """
        for score in self.scores:
            if (score.model, score.setting, score.metric) == (model, setting, metric):
                return score
        if model not in self.models or setting not in SETTINGS or metric not in self.metrics:
            raise KeyError((model, setting, metric))
        return Score(model, setting, metric, None, None)

    def best(self, setting: str, metric: str | None = None) -> Score:
        """The best model's score in a setting (for a description, not for selection)."""
        name = metric or self.metrics[0]
        cells = [self.score(model, setting, name) for model in self.models]
        defined = [cell for cell in cells if cell.value is not None]
        sign = -1.0 if name == "MAE" else 1.0
        return max(defined or cells, key=lambda cell: sign * (cell.value or 0.0))

    @property
    def loss(self) -> dict[str, float | None]:
        """p1 - p2 of the first metric by model: what working from the release costs."""
        lost: dict[str, float | None] = {}
        for model in self.models:
            real = self.score(model, "p1", self.metrics[0]).value
            released = self.score(model, "p2", self.metrics[0]).value
            lost[model] = None if real is None or released is None else real - released
        return lost

    @property
    def summary(self) -> str:
        """One plain sentence for a custodian."""
        metric = self.metrics[0]
        released, real = self.best("p2"), self.best("p1")
        if released.value is None or real.value is None:
            return f"{metric} of predicting {self.target!r} cannot be measured on these records."

        def show(value: float | None) -> str:
            if value is None:
                return "undefined"
            return f"{value:.3f}" if self.task == "regression" else f"{value:.1%}"

        blind = show(self.majority.get(metric))
        if self.of == "model":
            reached = f"the released model reaches {metric} {show(released.value)}, one trained "
            reached += f"on the real data without privacy {show(real.value)}"
        else:
            reached = f"models trained on the release reach {metric} {show(released.value)}, "
            reached += f"trained on the real data {show(real.value)}"
        return (
            f"Predicting {self.target!r} for real people, {reached}; always giving the commonest "
            f"answer scores {blind}."
        )

    def to_dict(self) -> dict[str, Any]:
        """The matrix as plain JSON values."""
        return {
            "task": self.task,
            "target": self.target,
            "scores": [
                {
                    "model": score.model,
                    "setting": score.setting,
                    "metric": score.metric,
                    "value": score.value,
                    "interval": None if score.interval is None else list(score.interval),
                }
                for score in self.scores
            ],
            "majority": dict(self.majority),
            "confidence": self.confidence,
            "records": dict(self.records),
            "notes": list(self.notes),
            "of": self.of,
            "loss": self.loss,
        }

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> Utility:
        """Reads a matrix back.

        Raises:
            InputError: If a field is missing or is not what it should be.
        """
        try:
            scores = tuple(
                Score(
                    model=str(score["model"]),
                    setting=str(score["setting"]),
                    metric=str(score["metric"]),
                    value=_optional(score["value"]),
                    interval=None
                    if score["interval"] is None
                    else (float(score["interval"][0]), float(score["interval"][1])),
                )
                for score in values["scores"]
            )
            return cls(
                task=str(values["task"]),
                target=str(values["target"]),
                scores=scores,
                majority={str(k): _optional(v) for k, v in values["majority"].items()},
                confidence=float(values["confidence"]),
                records={str(k): int(v) for k, v in values["records"].items()},
                notes=tuple(str(note) for note in values["notes"]),
                of=str(values.get("of", "data")),
            )
        except (KeyError, TypeError, ValueError, AttributeError, IndexError) as error:
            raise InputError(
                f"a utility matrix cannot be read ({error!r})",
                "The evaluation is damaged; run it again.",
            ) from None


def _optional(value: Any) -> float | None:
    return None if value is None else float(value)
