"""Membership by loss: a model is surer of the records that it was trained on."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from sfumato.attack import blind, ceilings, roc, targets
from sfumato.attack.finding import Finding
from sfumato.attack.settings import Settings
from sfumato.measure import intervals
from sfumato.measure.task import task_of
from sfumato.registry import attack

if TYPE_CHECKING:
    from sfumato.attack.evidence import Evidence
    from sfumato.release.model import Model
    from sfumato.release.release import Release

LOW_FPR = (0.01, 0.001)
_SMALLEST = 1e-30


@attack("membership.loss")
@dataclass(frozen=True)
class Loss(Settings):
    """Tells members from others by the model's loss on them.

    The score is the log-odds of the true class, which orders records as the cross-entropy does
    and keeps apart the many that a good model is nearly certain of.

    Source: Yeom, Giacomelli, Fredrikson, Jha, CSF 2018; the log-odds of Carlini et al., S&P 2022.
    """

    kinds: ClassVar[tuple[str, ...]] = ("model",)
    source: ClassVar[str] = "Yeom, Giacomelli, Fredrikson, Jha. CSF 2018. arXiv:1709.01604"

    def __call__(self, release: Release, evidence: Evidence, *, seed: int = 0) -> Finding:
        """The area under the attack's ROC curve, against the area the guarantee allows."""
        targets.check(release, evidence)
        rng = np.random.default_rng(seed)
        chosen, others = targets.balanced(evidence, self.max_targets, rng)
        model = release.model
        _, read = task_of(model.schema, model.takes, seed, 1)
        sides = [
            (evidence.members, chosen),
            (evidence.non_members, others),
        ]
        score, right = [], []
        for data, rows in sides:
            records = read(data, rows)
            odds, correct = log_odds(model, records.x, records.y)
            score.append(odds)
            right.append(float(correct.mean()))
        area, interval = intervals.auc(score[0], score[1], self.confidence)
        ceiling = ceilings.of(release.card)
        known = [targets.read(data, rows) for data, rows in sides]
        details: dict[str, Any] = {
            "targets": len(score[0]),
            "tpr_at_fpr": roc.at_low_fpr(score[0], score[1], LOW_FPR, self.confidence, ceiling),
            "best_threshold": roc.at_best_threshold(score[0], score[1], self.confidence, rng),
            "accuracy": {"members": right[0], "non_members": right[1]},
            "advantage_ceiling": None if ceiling is None else ceiling.advantage,
        }
        finding = Finding(
            attack="membership.loss",
            metric="AUC",
            value=area,
            interval=interval,
            confidence=self.confidence,
            chance=0.5,
            baseline=intervals.auc(*blind.scores(known[0], known[1], rng))[0],
            ceiling=None if ceiling is None else ceiling.auc,
            roc=roc.curve(score[0], score[1]),
            details=details,
        )
        return replace(finding, summary=_summary(finding))


def log_odds(
    model: Model, inputs: NDArray[Any], labels: NDArray[np.int64]
) -> tuple[NDArray[np.float64], NDArray[np.bool_]]:
    """How sure the model is of the true classes.

    Args:
        model: A released model.
        inputs: (n, ...) as the module takes them.
        labels: (n,) class numbers.

    Returns:
        (n,) log-odds of the true class, and whether it is the likeliest.
    """
    scores = model.probabilities_from(inputs)
    rows = np.arange(len(labels))
    true = scores[rows, labels]
    rest = scores.copy()
    rest[rows, labels] = 0.0
    odds = np.log(np.maximum(true, _SMALLEST)) - np.log(np.maximum(rest.sum(axis=1), _SMALLEST))
    return odds, scores.argmax(axis=1) == labels


def _summary(finding: Finding) -> str:
    low, high = finding.interval
    limit = "" if finding.ceiling is None else f", the guarantee allows {finding.ceiling:.1%}"
    return (
        f"Shown two records, one of them trained on, the attack by the model's loss picks the "
        f"right one in {finding.value:.1%} of cases (interval {low:.1%} to {high:.1%}, guessing "
        f"50 %{limit}): {finding.verdict}."
    )
