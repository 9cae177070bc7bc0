"""Model stealing: a copy of a model, made of nothing but its answers."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from sfumato.attack import auxiliary, margin, targets
from sfumato.attack.finding import Finding
from sfumato.attack.margin import Margin
from sfumato.attack.settings import Settings, whole
from sfumato.errors import InputError
from sfumato.measure import cnn, intervals, models
from sfumato.measure.features import Design
from sfumato.measure.threads import one_thread
from sfumato.registry import attack

if TYPE_CHECKING:
    from sfumato.attack.evidence import Evidence
    from sfumato.release.model import Model
    from sfumato.release.release import Release

SCORES, LABELS = "scores", "labels"
_LEAST = 1e-6
Copy = Callable[[Any], NDArray[np.float64]]


@attack("stealing.surrogate")
@dataclass(frozen=True)
class Surrogate(Settings):
    """Trains a copy of a model on its answers to the attacker's own records.

    Of a few kinds of copy the attacker takes the one that agrees best with the answers to fifths
    of his records that it was not trained on. What counts is on how many strangers copy and model
    name the same class. The attacker without the model trains the same copies on the true labels
    of as many of his records: what he then gets, he had already. Differential privacy does not
    limit this attack, which is about the model and not about its records.

    Args:
        queries: Records that the model is asked about.
        answers: ``"scores"``, or ``"labels"``: the likeliest class only.
        epochs: Passes of copies of image models.

    Source: Tramèr et al., USENIX Security 2016; Orekondy et al., CVPR 2019 (Knockoff nets).
    """

    kinds: ClassVar[tuple[str, ...]] = ("model",)
    source: ClassVar[str] = "Tramèr et al. Stealing machine learning models. USENIX Security 2016"
    costly: ClassVar[bool] = True

    queries: int = 1000
    answers: str = SCORES
    epochs: int = 3

    def __post_init__(self) -> None:
        super().__post_init__()
        whole(self.queries, "queries", 10)
        whole(self.epochs, "epochs", 1)
        if self.answers not in (SCORES, LABELS):
            raise InputError(f"answers is {self.answers!r}", f"Use {SCORES!r} or {LABELS!r}.")

    def __call__(self, release: Release, evidence: Evidence, *, seed: int = 0) -> Finding:
        """The share of strangers of whom copy and model say the same."""
        targets.check(release, evidence)
        rng = np.random.default_rng(seed)
        model = release.model
        judged, held = auxiliary.parted(evidence, seed)
        test = auxiliary.labelled(model, judged, self.max_targets, rng)
        own = auxiliary.labelled(model, held, self.queries, rng)
        order = rng.permutation(len(own.y))
        own = replace(own, x=own.x[order], y=own.y[order])
        told = model.probabilities_from(own.x)
        if self.answers == LABELS:
            told = np.eye(told.shape[1])[told.argmax(axis=1)]
        truth = np.eye(told.shape[1])[own.y]
        said = model.probabilities_from(test.x).argmax(axis=1)
        copies = {
            "stolen": _best(model, own.x, told, seed, self.epochs),
            "own": _best(model, own.x, truth, seed, self.epochs),
        }
        kinds = {name: kind for name, (kind, _) in copies.items()}
        guesses = {name: copy(test.x).argmax(axis=1) for name, (_, copy) in copies.items()}
        n = len(said)
        alike = {name: int(np.sum(guess == said)) for name, guess in guesses.items()}
        right = {name: float(np.mean(guess == test.y)) for name, guess in guesses.items()}
        guesses["commonest"] = np.full(n, np.bincount(said).argmax())
        same = {name: guess == said for name, guess in guesses.items()}

        def beaten(confidence: float) -> list[Margin]:
            return [
                margin.of_same(same["stolen"], same[name], confidence)
                for name in ("own", "commonest")
            ]

        finding = Finding(
            attack="stealing.surrogate",
            metric="share of strangers of whom copy and model say the same",
            value=alike["stolen"] / n,
            interval=intervals.clopper_pearson(alike["stolen"], n, self.confidence),
            confidence=self.confidence,
            chance=1 / len(model.classes),
            baseline=float(max(same[name].mean() for name in ("own", "commonest"))),
            margin=margin.least(beaten, self.confidence),
            details={
                "queries": len(own.y),
                "answers": self.answers,
                "targets": n,
                "copy": kinds,
                "agreement": {name: count / n for name, count in alike.items()},
                "commonest_answer": float(same["commonest"].mean()),
                "accuracy": {**right, "model": float(np.mean(said == test.y))},
            },
        )
        summary = (
            f"With {len(own.y)} questions the attack copies the model: the copy says the same of "
            f"{finding.value:.1%} of strangers (a model of as many records' true labels of "
            f"{alike['own'] / n:.1%}, the commonest answer of {same['commonest'].mean():.1%}) "
            f"and is right for {right['stolen']:.1%} (that one {right['own']:.1%}, the "
            f"model {finding.details['accuracy']['model']:.1%}): "
            f"{finding.verdict}."
        )
        return replace(finding, summary=summary)


def _best(
    model: Model, x: NDArray[Any], shares: NDArray[np.float64], seed: int, epochs: int
) -> tuple[str, Copy]:
    """The kind of copy that agrees best on fifths that it is not trained on, trained on all.

    Copies of pictures, which take long, are judged on one fifth; those of rows on each in turn,
    since a fifth of a few hundred records is too few to choose by.
    """
    pictures = model.takes == "images"
    kinds = _pictures(shares, seed, epochs) if pictures else _rows(model, seed)
    fifths = [part for part in np.array_split(np.arange(len(x)), 5) if len(part)]

    def agreement(fit: Callable[[Any, Any], Copy]) -> float:
        alike = 0
        for held in fifths[: 1 if pictures else 5]:
            rest = np.setdiff1d(np.arange(len(x)), held)
            found = fit(x[rest], shares[rest])(x[held]).argmax(axis=1)
            alike += int(np.sum(found == shares[held].argmax(axis=1)))
        return alike

    agreed = {name: agreement(fit) for name, fit in kinds.items()}
    best = max(agreed, key=lambda name: agreed[name])
    return best, kinds[best](x, shares)


def _pictures(
    shares: NDArray[np.float64], seed: int, epochs: int
) -> dict[str, Callable[[Any, Any], Copy]]:
    classes = shares.shape[1]

    def fit(family: str) -> Callable[[Any, Any], Copy]:
        return lambda x, soft: (
            cnn.classifier(
                family, x, np.asarray(soft, np.float32), classes, seed=seed, epochs=epochs
            ).predict
        )

    return {family: fit(family) for family in (cnn.CONVOLUTIONAL, cnn.DENSE, cnn.LINEAR)}


def _rows(model: Model, seed: int) -> dict[str, Callable[[Any, Any], Copy]]:
    schema: Any = model.schema
    columns = tuple(schema.features)

    def equations(x: Any, shares: Any) -> Copy:
        """Log-odds as a linear function: solves a logistic regression for its weights."""
        from sklearn.linear_model import Ridge

        design = Design.fitted(columns, x)
        odds = np.log(np.maximum(shares, _LEAST))
        with one_thread():
            solved = Ridge(alpha=1e-3).fit(design.matrix(x), odds - odds.mean(axis=1)[:, None])
        return lambda new: np.asarray(solved.predict(design.matrix(new)), np.float64)

    def forest(x: Any, shares: Any) -> Copy:
        from sklearn.ensemble import RandomForestRegressor

        with one_thread():
            grown = RandomForestRegressor(100, random_state=seed, max_features=1 / 3, n_jobs=1)
            grown.fit(x, shares)
        return lambda new: np.asarray(grown.predict(new), np.float64)

    def linear(x: Any, shares: Any) -> Copy:
        labels, classes = shares.argmax(axis=1), shares.shape[1]
        return models.classifier(models.LINEAR, columns, x, labels, classes, seed).predict

    return {"solved log-odds": equations, "forest of scores": forest, "logistic regression": linear}
