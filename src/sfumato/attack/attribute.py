"""Attribute inference: knowing all of a record but one value, guess that value."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from sfumato.attack import ceilings, margin, targets
from sfumato.attack.finding import Finding
from sfumato.attack.imputation import Imputer
from sfumato.attack.margin import Margin
from sfumato.attack.nearest import nearest_codes
from sfumato.attack.settings import Settings, names, whole
from sfumato.errors import InputError
from sfumato.measure import cnn, features, intervals
from sfumato.measure.marginals import grouped
from sfumato.registry import attack

if TYPE_CHECKING:
    from sfumato.attack.evidence import Evidence
    from sfumato.attack.targets import Records
    from sfumato.data.schema import Schema
    from sfumato.release.release import Release

LABEL = "label"


@attack("attribute.inference")
@dataclass(frozen=True)
class Inference(Settings):
    """Guesses a secret column (or an image's label) from the nearest released record.

    What anybody could infer from the population is no leak about a person, so the same attack is
    run on non-members. The finding is by how much members are guessed better than non-members, for
    the column where that is most certain. Beside it stands imputation: a model that never saw the
    release, trained on auxiliary records or, in turn, on one half of the non-members, guesses the
    same values of the same members and of the other half; and so does the commonest value of those
    records.

    Args:
        secrets: Columns to guess; empty takes the target and the first categorical columns.
        max_secrets: How many columns are guessed where ``secrets`` is empty.
        bins: Numbers are guessed to within one of this many equal parts of their public range.

    Source: Jayaraman, Evans, Are attribute inference attacks just imputation?, CCS 2022.
    """

    kinds: ClassVar[tuple[str, ...]] = ("table", "images")
    source: ClassVar[str] = (
        "Jayaraman, Evans. Are attribute inference attacks just imputation? CCS 2022"
    )

    secrets: tuple[str, ...] = ()
    max_secrets: int = 3
    bins: int = 10

    def __post_init__(self) -> None:
        super().__post_init__()
        whole(self.max_secrets, "max_secrets", 1)
        whole(self.bins, "bins", 2)
        object.__setattr__(self, "secrets", names(self.secrets, "secrets"))

    def __call__(self, release: Release, evidence: Evidence, *, seed: int = 0) -> Finding:
        """Accuracy on members minus accuracy on non-members, for the most exposed secret."""
        targets.check(release, evidence)
        rng = np.random.default_rng(seed)
        chosen, others = targets.balanced(evidence, self.max_targets, rng)
        inside = targets.read(evidence.members, chosen)
        outside = targets.read(evidence.non_members, others)
        published = targets.released(release, self.max_released, rng)
        published = published[rng.permutation(len(published))]  # the first of equals is taken
        held = None
        if evidence.auxiliary is not None:
            total = features.size(evidence.auxiliary)
            held = targets.read(evidence.auxiliary, features.choose(total, self.max_targets, rng))
        if release.data.kind == "table":
            rows = self._columns(inside, outside, published, held, release.facts, seed)
        else:
            classes = len(release.facts.classes)
            labels = self._label(inside, published), self._label(outside, published)
            known = _imputed_labels(inside, outside, held, classes, seed)
            given = None if held is None else held.labels
            rows = [self._row(LABEL, labels[0], labels[1], known, given, 1)]
        rows = margin.known(rows, evidence.by_coins)
        # A secret is told where both are above 0, so that is how sure it is.
        worst = max(rows, key=margin.sureness)
        ceiling = ceilings.of(release.card)
        finding = Finding(
            attack="attribute.inference",
            metric="accuracy on members minus accuracy on non-members",
            value=worst["advantage"],
            interval=(worst["interval"][0], worst["interval"][1]),
            confidence=self.confidence,
            chance=0.0,
            baseline=0.0 if evidence.by_coins else _without_release(worst),
            margin=margin.of_row(worst),
            ceiling=None if ceiling is None else ceiling.advantage,
            details={"secret": worst["secret"], "targets": len(inside), "secrets": rows},
        )
        low, high = finding.interval
        limit = ceilings.allowed(finding.ceiling)
        summary = (
            f"Knowing everything else about a record, the attack guesses {worst['secret']!r} right "
            f"for {worst['accuracy']['members']:.1%} of the people in the data and "
            f"{worst['accuracy']['non_members']:.1%} of people who are not (difference "
            f"{finding.value:+.3f}, interval {low:+.3f} to {high:+.3f}{limit}; a model that never "
            f"saw the release {worst['imputation']['members']:.1%} of the former): "
            f"{finding.verdict}."
        )
        return replace(finding, summary=summary)

    def _columns(
        self,
        inside: Records,
        outside: Records,
        published: Records,
        held: Records | None,
        schema: Schema,
        seed: int,
    ) -> list[dict[str, Any]]:
        names = self._names(schema)
        at = [schema.names.index(name) for name in names]
        sides: list[list[tuple[NDArray[Any], NDArray[Any]]]] = []
        for side in (inside, outside):
            found = nearest_codes(side.values, published.values, side.columns, at)  # type: ignore[arg-type]
            sides.append(
                [
                    (
                        grouped(side.values[:, j], side.columns[j], self.bins),
                        grouped(published.values[row, j], side.columns[j], self.bins),
                    )
                    for j, (_, row) in zip(at, found, strict=True)
                ]
            )
        known = [
            _imputed(inside.values, outside.values, held, schema, j, self.bins, seed) for j in at
        ]
        given = [
            None if held is None else grouped(held.values[:, j], held.columns[j], self.bins)
            for j in at
        ]
        return [
            self._row(name, sides[0][k], sides[1][k], known[k], given[k], len(names))
            for k, name in enumerate(names)
        ]

    def _label(self, side: Records, published: Records) -> tuple[NDArray[Any], NDArray[Any]]:
        assert side.labels is not None
        assert published.labels is not None
        return side.labels, published.labels[side.nearest(published)[1]]

    def _names(self, schema: Schema) -> tuple[str, ...]:
        if len(schema) < 2:
            raise InputError(
                "the release has one column", "There is nothing to infer it from; leave this out."
            )
        if self.secrets:
            return tuple(schema[name].name for name in self.secrets)
        first = [] if schema.target is None else [schema.target]
        rest = [column.name for column in schema.features if not column.ordered]
        rest += [column.name for column in schema.features if column.ordered]
        return tuple((first + rest)[: self.max_secrets])

    def _row(
        self,
        name: str,
        inside: tuple[NDArray[Any], NDArray[Any]],
        outside: tuple[NDArray[Any], NDArray[Any]],
        imputed: tuple[NDArray[Any], NDArray[Any]],
        held: NDArray[Any] | None,
        tried: int,
    ) -> dict[str, Any]:
        """One secret's figures; its interval holds together with those of all that were tried."""
        right, wrong = (int(np.sum(truth == guess)) for truth, guess in (inside, outside))
        m, n = len(inside[0]), len(outside[0])
        each = 1 - (1 - self.confidence) / tried
        commonest = _commonest(inside[0], outside[0], held)
        told = [truth == guess for truth, guess in (inside, outside)]

        def beaten(confidence: float) -> list[Margin]:
            return [
                margin.of_sides(
                    (told[0], inside[0] == guess[0]), (told[1], outside[0] == guess[1]), confidence
                )
                for guess in (commonest, imputed)
            ]

        return {
            "secret": name,
            "advantage": right / m - wrong / n,
            "interval": list(intervals.difference(right, m, wrong, n, each)),
            "margin": margin.least(beaten, each).to_dict(),
            "accuracy": {"members": right / m, "non_members": wrong / n},
            "majority": {
                "members": float(np.mean(inside[0] == commonest[0])),
                "non_members": float(np.mean(outside[0] == commonest[1])),
            },
            "imputation": {
                "members": float(np.mean(inside[0] == imputed[0])),
                "non_members": float(np.mean(outside[0] == imputed[1])),
            },
        }


def _without_release(row: dict[str, Any]) -> float:
    return max(0.0, *(_gap(row[guess]) for guess in ("majority", "imputation")))


def _gap(rates: dict[str, float]) -> float:
    return rates["members"] - rates["non_members"]


Guess = Callable[[NDArray[Any]], NDArray[Any]]


def _without(
    inside: NDArray[Any],
    outside: NDArray[Any],
    held: bool,
    fit: Callable[[NDArray[np.int64] | None], Guess],
) -> tuple[NDArray[Any], NDArray[Any]]:
    """What models guess that never saw the release, nor the record itself.

    Args:
        inside: (m, ...) members.
        outside: (n, ...) non-members.
        held: Whether auxiliary records are there to learn from.
        fit: A model of the auxiliary records (None), or of these non-members.
    """
    if held:
        guess = fit(None)
        return guess(inside), guess(outside)
    # In turn, so that every non-member is guessed by a model without him; members alike, so that
    # both sides are guessed by models of as many records.
    found = np.empty(len(inside), np.int64), np.empty(len(outside), np.int64)
    m, n = np.arange(len(inside)), np.arange(len(outside))
    for half in range(2):
        guess = fit(n[n % 2 != half])
        for side, rows, into in ((inside, m, found[0]), (outside, n, found[1])):
            into[rows % 2 == half] = guess(side[rows % 2 == half])
    return found


def _commonest(
    inside: NDArray[Any], outside: NDArray[Any], held: NDArray[Any] | None
) -> tuple[NDArray[Any], NDArray[Any]]:
    """The commonest value for everybody, of records that are not judged by it.

    Args:
        inside: (m,) values of members.
        outside: (n,) of non-members.
        held: Of auxiliary records, if there are such.
    """

    def fit(rows: NDArray[np.int64] | None) -> Guess:
        learnt = outside[rows] if rows is not None else held
        assert learnt is not None
        values, counts = np.unique(learnt, return_counts=True)
        return lambda new: np.full(len(new), values[np.argmax(counts)])

    return _without(inside, outside, held is not None, fit)


def _imputed(
    inside: NDArray[Any],
    outside: NDArray[Any],
    held: Records | None,
    schema: Schema,
    at: int,
    bins: int,
    seed: int,
) -> tuple[NDArray[Any], NDArray[Any]]:
    """A forest's guesses of one column, numbers as the group they are in."""
    columns = tuple(schema.columns)

    def fit(rows: NDArray[np.int64] | None) -> Guess:
        if rows is None:
            assert held is not None
            learnt: NDArray[Any] = held.values
        else:
            learnt = outside[rows]
        named, labels = np.unique(grouped(learnt[:, at], columns[at], bins), return_inverse=True)
        model = Imputer.fit(learnt, columns, at, labels=labels, classes=len(named), seed=seed)
        return lambda new: np.asarray(named[model.probabilities(new).argmax(axis=1)])

    return _without(inside, outside, held is not None, fit)


def _imputed_labels(
    inside: Records, outside: Records, held: Records | None, classes: int, seed: int
) -> tuple[NDArray[Any], NDArray[Any]]:
    """A logistic regression's guesses of pictures' labels."""

    def fit(rows: NDArray[np.int64] | None) -> Guess:
        learnt = outside[rows] if rows is not None else held
        assert learnt is not None
        assert learnt.labels is not None
        pixels: Any = learnt.values
        model = cnn.classifier(
            cnn.LINEAR, pixels[:, None, None, :], learnt.labels, classes, seed=seed
        )
        return lambda new: model.predict(new[:, None, None, :]).argmax(axis=1)

    return _without(inside.values, outside.values, held is not None, fit)
