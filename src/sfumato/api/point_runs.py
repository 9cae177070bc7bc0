"""The runs of a comparison of perturbation points: one release each, made and judged."""

from __future__ import annotations

import json
import time
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields, replace
from typing import TYPE_CHECKING, Any

from sfumato.api.equal_mu import at_mu, within
from sfumato.api.reference import unprotected
from sfumato.api.variants import Variant
from sfumato.errors import InputError
from sfumato.privacy.budget import Budget
from sfumato.privacy.ledger import Ledger
from sfumato.publish import constraints
from sfumato.publish.method import Progress

if TYPE_CHECKING:
    from sfumato.api.inputs import Inputs
    from sfumato.api.runs import Runs
    from sfumato.publish.method import Calibrated
    from sfumato.release.release import Release

NONE = "none"
"""The network without privacy, which utility is lost against."""
LOGISTIC = "logistic"
EQUAL = ("mu", "epsilon")
"""What all points have alike."""
_LOW_FPR = 0.001
_CONFIDENCE = 0.95
"""Of each interval by itself: of many runs some miss, and a table shows them all."""


class Refused(Exception):
    """A point's method refuses the task; the others go on."""


@dataclass(frozen=True)
class PointRow:
    """One point at one mu with one seed.

    Args:
        point: One of ``POINTS``, or ``"none"``.
        method: The registered method with its settings.
        mu: What was asked for; None for ``"none"``.
        epsilon: That of a Gaussian of that mu, at ``delta``.
        delta: Of all.
        seed: Of the split, the networks and the attack.
        compared_by: ``"mu"`` where what ran is Gaussian-DP of that mu; ``"epsilon and delta"``
            where its (epsilon, delta) alone is that of the mu.
        own_mu: The smallest mu that what ran is proven to have; None where there is none.
        own_epsilon: What ran has at ``delta``.
        kind: Of the guarantee.
        proven: What the release proves, in one sentence.
        accuracy: On held-out records.
        utility_loss: Accuracy without privacy minus this.
        leakage: Of the attack: ``advantage``, its ``interval`` and ``ceiling``, members
            ``revealed``, others ``accused``, of how many; ``tpr``, ``tpr_interval`` at the lowest
            false-positive rate that it reports. Values it does not report are None.
        seconds: For calibrating and running.
    """

    point: str
    method: str
    mu: float | None
    epsilon: float | None
    delta: float
    seed: int
    compared_by: str
    own_mu: float | None
    own_epsilon: float | None
    kind: str
    proven: str
    accuracy: float
    utility_loss: float
    leakage: Mapping[str, Any]
    seconds: float


def network_settings(network: str, kind: str) -> dict[str, str]:
    """The settings ``network`` and ``hidden`` of a name such as ``logistic`` or ``dense:64:64``.

    >>> network_settings("dense:64:32", "images")
    {'network': 'dense', 'hidden': '[64,32]'}
    """
    family, *widths = network.split(":")
    if family in (LOGISTIC, "dense"):
        family = "table-dense" if kind == "table" else "dense"
    if not widths:
        return {"network": family}
    if not all(width.isdigit() for width in widths):
        raise InputError(f"network is {network!r}", "Write NAME, or NAME:WIDTH:WIDTH.")
    return {"network": family, "hidden": f"[{','.join(widths)}]"}


@dataclass(frozen=True)
class Seed:
    """The runs of one seed.

    Args:
        inputs: Members and held-out records.
        seed: Of the networks and the attack.
        delta: Of all budgets.
        network: Of the reference.
        attack: The registered attack.
        device: As torch names it, or ``"auto"``.
        runs: Those that are on disk; None to keep none.
        equal: One of ``EQUAL``.
    """

    inputs: Inputs
    seed: int
    delta: float
    network: str
    attack: str
    device: str
    runs: Runs | None
    equal: str

    def majority(self) -> float:
        """What the members' commonest class scores on held-out records."""
        import numpy as np

        members, held_out = (_labels(part) for part in (self.inputs.members, self.inputs.held_out))
        return float(np.mean(held_out == np.bincount(members).argmax()))

    def reference(self, progress: Progress) -> PointRow:
        """The network without privacy."""

        def run() -> PointRow:
            started = time.perf_counter()
            members = self.inputs.members
            layers = network_settings(self.network, members.kind)
            release = unprotected(members, layers, seed=self.seed, progress=progress)
            return self._judged(NONE, self.network, None, None, None, release, started, None)

        return self._once([NONE, self.network, self.seed], run)

    def point(
        self,
        point: str,
        text: str,
        mu: float,
        budget: Budget,
        reference: PointRow,
        progress: Progress,
    ) -> PointRow:
        """One point at one mu.

        Raises:
            Refused: If its method refuses the task, before anything is run.
        """
        members = self.inputs.members
        facts = self.inputs.facts.with_records(len(members))

        def run() -> PointRow:
            started = time.perf_counter()
            try:
                budget.check_records(len(members))
                method = _seeded(Variant.parse(text, self.device).method, self.seed)

                def calibrated(epsilon: float) -> Calibrated:
                    return constraints.calibrate(method, Budget(epsilon, budget.delta), facts)

                if self.equal == "mu":
                    made = at_mu(calibrated, mu, budget.epsilon)
                else:
                    made = calibrated(budget.epsilon)
            except InputError as error:
                raise Refused(str(error)) from None
            release = made(members, ledger=Ledger.in_memory(), progress=progress)
            return self._judged(point, text, mu, budget, made, release, started, reference)

        return self._once([point, text, mu, self.delta, self.seed], run)

    def _once(self, key: list[Any], run: Any) -> PointRow:
        name = json.dumps(key)
        values = None if self.runs is None else self.runs.get(name)
        if values is not None:
            return PointRow(**values)
        row: PointRow = run()
        if self.runs is not None:
            self.runs.add(name, asdict(row))
        return row

    def _judged(
        self,
        point: str,
        method: str,
        mu: float | None,
        budget: Budget | None,
        made: Calibrated | None,
        release: Release,
        started: float,
        reference: PointRow | None,
    ) -> PointRow:
        import numpy as np

        from sfumato.attack import suite
        from sfumato.attack.evidence import Evidence

        seconds = time.perf_counter() - started
        held_out = self.inputs.held_out
        assert held_out is not None
        guessed = release.model.probabilities(held_out).argmax(axis=1)
        accuracy = float(np.mean(guessed == _labels(held_out)))
        evidence = Evidence(self.inputs.members, held_out)
        (finding,) = suite.run(
            release, evidence, attacks=[self.attack], confidence=_CONFIDENCE, seed=self.seed
        )
        own = None if made is None else made.guarantee.gdp_mu()
        by = "mu" if mu is not None and within(own, mu) else "epsilon and delta"
        return PointRow(
            point=point,
            method=method,
            mu=mu,
            epsilon=None if budget is None else budget.epsilon,
            delta=self.delta,
            seed=self.seed,
            compared_by="" if mu is None else by,
            own_mu=own,
            own_epsilon=None if made is None else made.guarantee.epsilon(),
            kind=str(release.card.guarantee["kind"]),
            proven=release.card.proven.describe(),
            accuracy=accuracy,
            utility_loss=0.0 if reference is None else reference.accuracy - accuracy,
            leakage=leakage(finding),
            seconds=round(seconds, 3),
        )


def _seeded(method: Any, seed: int) -> Any:
    """The method with the seed of this run for what is no privacy noise, if it has none yet."""
    named = {one.name for one in fields(method) if one.init}
    if "seed" not in named or method.seed is not None:
        return method
    return replace(method, seed=seed)


def leakage(finding: Any) -> dict[str, Any]:
    """What a comparison shows of a finding, whichever attack it is of.

    An attack whose details have a ``best_threshold`` gives an advantage with its interval; of
    others the largest gap of the ROC curve is taken, which was chosen where it is read.
    """
    best = finding.details.get("best_threshold")
    if best is None:
        best = {"advantage": max((t - f for f, t in finding.roc), default=None), "interval": None}
    low = finding.details.get("tpr_at_fpr") or [{}]
    lowest = min(low, key=lambda one: abs(one.get("fpr_target", 1.0) - _LOW_FPR))
    named = ("advantage", "interval", "revealed", "members", "accused", "others")
    return {
        **{name: best.get(name) for name in named},
        "ceiling": finding.details.get("advantage_ceiling"),
        "auc": finding.value if finding.metric == "AUC" else None,
        "fpr_target": lowest.get("fpr_target"),
        "tpr": lowest.get("tpr"),
        "tpr_interval": lowest.get("tpr_interval"),
        "breaks_guarantee": finding.breaks_guarantee,
    }


def _labels(data: Any) -> Any:
    from sfumato.learn.examples import labelled

    return labelled(data)[1].numpy()
