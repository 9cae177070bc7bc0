"""``learn.adlm``: DP-SGD behind a scale of the inputs that private relevance decides.

What the name stands for in the literature, noise on the input layer and on the loss's coefficients
that is paid for once and drawn anew in every step, does not keep its promise and is not here. Its
idea is: measure, under noise and once, how much each feature matters to the network, and let
features that matter less have less to say and get relatively more noise.

Source: Phan et al., ICDM 2017 (arXiv 1709.05750), corrected.
"""

from __future__ import annotations

import secrets
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

from sfumato.data.facts import Fact
from sfumato.privacy.neighbours import Neighbours
from sfumato.publish import checks
from sfumato.publish.method import Calibrated
from sfumato.publish.models.run import caveats
from sfumato.publish.models.settings import NetworkSettings
from sfumato.registry import method

if TYPE_CHECKING:
    from sfumato.data import ImageSchema, ImageSet, Schema, Table
    from sfumato.learn.adlm import CalibratedAdLm
    from sfumato.learn.progress import Progress as Stand
    from sfumato.privacy.budget import Budget
    from sfumato.privacy.noise import NoiseSource
    from sfumato.publish.method import Progress
    from sfumato.release.release import Artefact


@method("learn.adlm")
@dataclass(frozen=True)
class AdLmMethod(NetworkSettings):
    """A classifier trained by DP-SGD on inputs scaled by their private relevance.

    Args:
        warmup: The part of the steps that come before the relevance is measured, in ``(0, 1)``.
        relevance_share: Share of the budget's mu that the relevance costs, in ``(0, 1)``.
        floor: The least weight of a feature, whose mean is 1; at 1 no feature is preferred.
        max_grad_norm: Bound on a record's gradient, in the rescaled weights.
        neighbours: ``"add-remove"`` or ``"replace-one"``.

    Every other setting is as for ``learn.dpsgd``; the networks for images are ``"small-cnn"``,
    ``"deep-cnn"`` and ``"dense"``.

    Raises:
        InputError: If a value is unknown or out of its range.

    Guaranteed: ``Central``, (epsilon, delta) for the relation chosen, of all steps and of the
    relevance together; the number of records is declared public.
    """

    warmup: float = 0.1
    relevance_share: float = 0.1
    floor: float = 0.1

    source: ClassVar[str] = "Phan et al., Adaptive Laplace Mechanism, ICDM 2017, corrected"

    def __post_init__(self) -> None:
        super().__post_init__()
        for name in ("warmup", "relevance_share"):
            checks.number(name, getattr(self, name), 1e-3, 0.9)
        checks.number("floor", self.floor, 0, 1, closed=False)

    def calibrate(self, budget: Budget, facts: ImageSchema | Schema) -> Calibrated:
        """The run that spends ``budget`` on records with these public facts.

        Raises:
            InputError: If the facts lack a target or the number of records, the budget a delta,
                or a setting does not fit them.
        """
        from sfumato.learn import relevance
        from sfumato.learn.adlm import AdLm
        from sfumato.learn.architectures import build
        from sfumato.learn.noise import STREAM

        records = checks.records(facts, budget)
        size, steps = self.batch_size(records), self.steps(records, least=2)
        inner = self._architecture(facts)
        made = {"family": "scaled", "inner": inner}
        relevance.check(build(made, seed=0)[2])  # type: ignore[index]
        relation = Neighbours(self.neighbours)
        ready = AdLm(
            sample_rate=size / records,
            steps=steps,
            warmup=min(max(1, round(self.warmup * steps)), steps - 1),
            max_grad_norm=self.max_grad_norm,
            learning_rate=self.learning_rate,
            momentum=self.momentum,
            relevance_share=self.relevance_share,
            floor=self.floor,
            averaging=self.averaging,
        ).calibrate(budget, records=records, neighbours=relation)
        return Calibrated(
            method=self,
            budget=budget,
            facts=facts,
            guarantee=ready.guarantee(),
            plan=_plan(ready, made),
            run=Run(self, facts, ready, made),
            public=(Fact("network", made, "public: setting of learn.adlm"),),
            caveats=(
                *caveats(relation),
                "The mechanism that the source describes, whose budget does not grow with the "
                "steps, is not what ran: every step was paid for, as in DP-SGD.",
            ),
            source=STREAM,
        )


@dataclass(frozen=True)
class Run:
    """Steps, the relevance, more steps.

    Args:
        method: The public choices.
        facts: Of the private records.
        ready: The calibrated mechanism.
        architecture: Of the network behind its scale.
    """

    method: AdLmMethod
    facts: ImageSchema | Schema
    ready: CalibratedAdLm
    architecture: Mapping[str, Any]

    def __call__(self, data: ImageSet | Table, source: NoiseSource, progress: Progress) -> Artefact:
        """Trains on private records."""
        from sfumato.learn.architectures import build, weights
        from sfumato.learn.architectures.scaled import ScaledNet
        from sfumato.learn.examples import labelled
        from sfumato.release.model import Model
        from sfumato.release.release import Artefact

        seed = secrets.randbits(31) if self.method.seed is None else self.method.seed
        device = checks.device(self.method.device)
        inputs, labels = labelled(data)
        module = build(self.architecture, seed=seed).to(device)
        assert isinstance(module, ScaledNet)

        def told(stand: Stand) -> None:
            progress(stand.step, stand.steps, "training")

        self.ready.fit(
            module,
            (inputs.to(device), labels.to(device)),
            source=source,
            progress=told,
            physical_batch_size=self.method.physical_batch_size,
        )
        model = Model(self.facts, self.architecture, weights(module))
        return Artefact(model, seeds={"initial weights": seed})


def _plan(ready: CalibratedAdLm, made: Mapping[str, Any]) -> dict[str, Any]:
    mechanism = ready.dp_sgd.to_dict()
    del mechanism["event"], mechanism["delta"], mechanism["neighbours"]  # the guarantee's own
    return {
        **mechanism,
        "warmup": ready.method.warmup,
        "relevance_noise_multiplier": ready.mean.noise_multiplier,
        "floor": ready.method.floor,
        "architecture": dict(made),
    }
