"""Attribute inference from a model: the value that explains its answer about somebody best."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from sfumato.attack import auxiliary, persons, targets
from sfumato.attack.finding import Finding
from sfumato.attack.imputation import Imputer
from sfumato.attack.settings import Settings, names, whole
from sfumato.errors import InputError
from sfumato.measure import features, intervals
from sfumato.registry import attack

if TYPE_CHECKING:
    from sfumato.attack.evidence import Evidence
    from sfumato.release.model import Model
    from sfumato.release.release import Release

_MOST_VALUES = 64
_SUREST = 1e-4  # how near to 0 and 1 the model's answers are told apart


@attack("attribute.model")
@dataclass(frozen=True)
class FromModel(Settings):
    """Guesses a secret of somebody whose other values and label are known, by asking a model.

    Each value is tried in the record; the guess weighs how likely the value is given the others
    against how sure of the true label the model then is. That likelihood is imputation: a forest
    trained on the attacker's own records, which never saw the model. Sureness counts by its log
    odds, not by its log: a model that knows somebody by heart says 0.9999 of the true record and
    0.99 of a wrong one, which to the logarithm is all but the same. Half of the log odds change
    as fast as the logarithm where the model is unsure.

    The gain is by how much more secrets are guessed right than by imputation that knows the label
    too. What is gained on non-members the model tells about the population, which is no leak; the
    finding is what is gained on members beyond it. Where non-members are guessed worse than by
    imputation, that adds nothing: nobody's secret is told by misleading about others.

    Args:
        secrets: Columns to guess; empty takes the first categorical ones.
        max_secrets: How many columns are guessed where ``secrets`` is empty.

    Source: Fredrikson et al., USENIX Security 2014, whose product of odds and answer this changes;
    log odds as the scale of memory: Carlini et al., S&P 2022; the comparison: Jayaraman, Evans,
    CCS 2022.
    """

    kinds: ClassVar[tuple[str, ...]] = ("model",)
    source: ClassVar[str] = "Fredrikson et al. Privacy in pharmacogenetics. USENIX Security 2014"
    costly: ClassVar[bool] = True

    secrets: tuple[str, ...] = ()
    max_secrets: int = 3

    def __post_init__(self) -> None:
        super().__post_init__()
        whole(self.max_secrets, "max_secrets", 1)
        object.__setattr__(self, "secrets", names(self.secrets, "secrets"))

    def __call__(self, release: Release, evidence: Evidence, *, seed: int = 0) -> Finding:
        """The gain on members less that on strangers, for the most exposed secret."""
        targets.check(release, evidence)
        model = release.model
        if model.takes != "table":
            raise InputError("attribute.model guesses values of rows, this model takes pictures",
                             "Leave it out.")  # fmt: skip
        rng = np.random.default_rng(seed)
        judged, held = auxiliary.parted(evidence, seed)
        tables: list[Any] = [evidence.members, judged, held]
        members, others = (
            features.codes(data, persons.choose(data, self.max_targets, rng)) for data in tables[:2]
        )
        own = features.codes(tables[2], features.choose(len(held), self.max_released, rng))
        names = self._names(model)
        each = 1 - (1 - self.confidence) / len(names)
        rows = [self._secret(model, name, members, others, own, each, seed) for name in names]
        worst = max(rows, key=lambda row: float(row["interval"][0]))
        finding = Finding(
            attack="attribute.model",
            metric="gain over imputation on members, less what strangers gain",
            value=worst["beyond_the_population"],
            interval=(worst["interval"][0], worst["interval"][1]),
            confidence=self.confidence,
            chance=0.0,
            baseline=0.0,
            details={"secret": worst["secret"], "targets": len(members), "secrets": rows},
        )
        low, high = finding.interval
        summary = (
            f"Knowing all else about members and asking the model, the attack guesses "
            f"{worst['secret']!r} right for {worst['accuracy']['members']:.1%}, imputation without "
            f"the model for {worst['imputation']['members']:.1%} (gain {worst['gain']:+.3f}). What "
            f"is gained on strangers, {worst['gain_on_others']:+.3f}, the model tells about people "
            f"in general and is no leak; beyond it are {finding.value:+.3f} (interval "
            f"{low:+.3f} to {high:+.3f}): {finding.verdict}."
        )
        return replace(finding, summary=summary)

    def _secret(
        self, model: Model, name: str, members: NDArray[Any], others: NDArray[Any],
        own: NDArray[Any], confidence: float, seed: int,
    ) -> dict[str, Any]:  # fmt: skip
        schema: Any = model.schema
        goal = schema.names.index(str(schema.target))
        at = schema.names.index(name)
        columns = tuple(schema.columns)
        knowing = Imputer.fit(own, columns, at, leave_out=(), seed=seed)
        unlabelled = Imputer.fit(own, columns, at, leave_out=(goal,), seed=seed)
        right: list[NDArray[np.bool_]] = []
        plain: list[NDArray[np.bool_]] = []
        for rows in (members, others):
            odds = np.log(np.maximum(unlabelled.probabilities(rows), 1e-6))
            odds += _sureness(model, rows, at, goal, columns[at].size)
            right.append(odds.argmax(axis=1) == rows[:, at])
            plain.append(knowing.probabilities(rows).argmax(axis=1) == rows[:, at])
        gains = [float(a.mean() - b.mean()) for a, b in zip(right, plain, strict=True)]
        around = [paired(a, b, 1 - (1 - confidence) / 2) for a, b in zip(right, plain, strict=True)]
        value, interval = beyond((gains[0], gains[1]), (around[0], around[1]))
        return {
            "secret": name,
            "beyond_the_population": value,
            "interval": list(interval),
            "gain": gains[0],
            "gain_interval": list(around[0]),
            "gain_on_others": gains[1],
            "gain_on_others_interval": list(around[1]),
            "accuracy": {"members": float(right[0].mean()), "non_members": float(right[1].mean())},
            "imputation": {
                "members": float(plain[0].mean()),
                "non_members": float(plain[1].mean()),
            },
        }

    def _names(self, model: Model) -> tuple[str, ...]:
        schema: Any = model.schema
        if self.secrets:
            for name in self.secrets:
                if name == schema.target or schema[name].size > _MOST_VALUES:
                    raise InputError(
                        f"{name!r} cannot be guessed by trying its values",
                        f"Name columns of at most {_MOST_VALUES} values, not the target.",
                    )
            return self.secrets
        few = [c for c in schema.features if c.size <= _MOST_VALUES]
        few.sort(key=lambda column: bool(column.ordered))
        if not few:
            raise InputError("every column has too many values to try", "Leave this attack out.")
        return tuple(c.name for c in few[: self.max_secrets])


def _sureness(
    model: Model, rows: NDArray[Any], at: int, goal: int, size: int
) -> NDArray[np.float64]:
    """(n, size) half of the log odds of the true label, with each value tried."""
    labels = rows[:, goal]
    found = np.empty((len(rows), size))
    for value in range(size):
        tried = rows.copy()
        tried[:, at] = value
        answers = model.probabilities_from(np.ascontiguousarray(np.delete(tried, goal, axis=1)))
        found[:, value] = answers[np.arange(len(rows)), labels]
    found = np.clip(found, _SUREST, 1 - _SUREST)
    return np.asarray((np.log(found) - np.log1p(-found)) / 2)


def paired(
    one: NDArray[np.bool_], other: NDArray[np.bool_], confidence: float
) -> tuple[float, float]:
    """The interval of a difference of two rates on the same records.

    Where both are right or both wrong nothing is said; the two ways in which they differ have an
    exact interval each, which hold together.
    """
    n = len(one)
    each = 1 - (1 - confidence) / 2
    gained = intervals.clopper_pearson(int(np.sum(one & ~other)), n, each)
    lost = intervals.clopper_pearson(int(np.sum(other & ~one)), n, each)
    return gained[0] - lost[1], gained[1] - lost[0]


def beyond(
    gains: tuple[float, float], around: tuple[intervals.Interval, intervals.Interval]
) -> tuple[float, intervals.Interval]:
    """What members gain beyond what strangers do; strangers' loss is nobody's gain.

    Args:
        gains: Of members and of strangers.
        around: The interval of each, which hold together.

    Returns:
        The lesser of members' gain and of its difference to strangers', and its interval.

    >>> beyond((0.25, -0.25), ((0.125, 0.5), (-0.5, 0.0)))
    (0.25, (0.125, 0.5))
    """
    low, high = intervals.of_difference(gains, around)
    value = min(gains[0], gains[0] - gains[1])
    return value, (min(around[0][0], low), min(around[0][1], high))
