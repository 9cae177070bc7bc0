"""``learn.dynamic``: DP-SGD whose noise, and perhaps clip norm, follow a public schedule.

The source lets the noise fall over the training and bounds gradients by the largest of the batch.
Falling noise is sound, and accounted here step by step; the whole schedule is scaled until all
steps together meet the budget. A bound read off the private batch is not sound: here it is fixed,
follows a public schedule, or follows a noisy median that each step pays for.

Source: Wei and Liu, "Gradient Leakage Attack Resilient Deep Learning", IEEE TIFS 2022.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, ClassVar

from sfumato.data.facts import Fact
from sfumato.errors import InputError
from sfumato.learn.schedules import KINDS, named
from sfumato.privacy.guarantee import Central
from sfumato.privacy.neighbours import Neighbours
from sfumato.publish import checks
from sfumato.publish.method import Calibrated
from sfumato.publish.models.run import Run, caveats
from sfumato.publish.models.settings import NetworkSettings
from sfumato.registry import method

if TYPE_CHECKING:
    from sfumato.data import ImageSchema, Schema
    from sfumato.learn.dynamic import DynamicDpSgd
    from sfumato.privacy.budget import Budget

CLIPPINGS = ("flat", "automatic", "adaptive")
_SOURCE: dict[str, Any] = {
    "network": "small-cnn",
    "epochs": 100,
    "expected_batch_size": 600,
    "noise_fall": 15 / 4.85,
    "max_grad_norm": 4.0,
    "learning_rate": 0.05,
    "momentum": 0.0,
    "averaging": None,
}


@method("learn.dynamic")
@dataclass(frozen=True)
class Dynamic(NetworkSettings):
    """A classifier trained with noise that falls from step to step, on images or rows of a table.

    Args:
        noise_schedule: How the noise multiplier goes: ``"constant"``, ``"linear"``,
            ``"staircase"`` (ten stairs), ``"exponential"`` or ``"cyclic"`` (a quarter of a cosine).
        noise_fall: The first multiplier over the one that the last step comes near to; at least 1.
        clipping: ``"flat"``, ``"automatic"``, or ``"adaptive"``: the bound follows a noisy median.
        max_grad_norm: Bound on a record's gradient; the first one, where it moves.
        clip_schedule: How the bound of ``"flat"`` goes, by the same names.
        clip_fall: The first bound over the last; at least 1.
        neighbours: ``"add-remove"`` or ``"replace-one"``.

    Every other setting is as for ``learn.dpsgd``.

    Presets: ``linear``, ``staircase``, ``exponential``, ``cyclic``: the source's, bound 4, noise
    falling from 15 to 4.85 in proportion, whatever the budget scales it to.

    Raises:
        InputError: If a value is unknown or out of its range.

    Guaranteed: ``Central``, (epsilon, delta) for the relation chosen; the number of records is
    declared public.
    """

    noise_schedule: str = "linear"
    noise_fall: float = 2.0
    clipping: str = "flat"
    clip_schedule: str = "constant"
    clip_fall: float = 1.0
    optimizer: str = "sgd"
    schedule: str = "constant"

    source: ClassVar[str] = "Wei and Liu, IEEE TIFS 2022 (arXiv 2112.13178)"
    presets: ClassVar[Mapping[str, Mapping[str, Any]]] = {
        kind: {**_SOURCE, "noise_schedule": kind} for kind in KINDS if kind != "constant"
    }

    def __post_init__(self) -> None:
        super().__post_init__()
        for name in ("noise_schedule", "clip_schedule"):
            checks.one_of(name, getattr(self, name), KINDS)
        for name in ("noise_fall", "clip_fall"):
            checks.number(name, getattr(self, name), 1, 1e3)
        checks.one_of("clipping", self.clipping, CLIPPINGS)
        if self.clip_schedule != "constant" and self.clipping != "flat":
            raise InputError(
                f"clip_schedule is {self.clip_schedule!r} with clipping {self.clipping!r}",
                "Only the bound of flat clipping can be scheduled.",
            )
        for kind, fall in (("noise_schedule", "noise_fall"), ("clip_schedule", "clip_fall")):
            constant = getattr(self, kind) == "constant"
            default = type(self).__dataclass_fields__[fall].default
            if constant and getattr(self, fall) not in (1.0, default):
                raise InputError(
                    f"{fall} is {getattr(self, fall):g} and {kind} is 'constant'",
                    f"Choose a {kind} that falls, or leave {fall} out.",
                )

    def calibrate(self, budget: Budget, facts: ImageSchema | Schema) -> Calibrated:
        """The run that spends ``budget`` on records with these public facts.

        Raises:
            InputError: If the facts lack a target or the number of records, the budget a delta,
                or a setting does not fit them.
        """
        from sfumato.learn.noise import STREAM
        from sfumato.publish.models.training import Training

        records = checks.records(facts, budget)
        made = self._architecture(facts)
        mechanism = self._mechanism(budget, records)
        training = Training(
            facts, mechanism, made, self._optimisation(), checks.device(self.device)
        )
        run = Run(self, training)
        return Calibrated(
            method=self,
            budget=budget,
            facts=facts,
            guarantee=Central(run.event, budget.delta, "record", mechanism.neighbours),
            plan=run.plan,
            run=run,
            public=(Fact("network", dict(made), "public: setting of learn.dynamic"),),
            caveats=(
                *caveats(mechanism.neighbours),
                "The source bounds gradients by the largest norm of the private batch, which no "
                "guarantee covers; here the bound is public, or a noisy median that is paid for.",
            ),
            source=STREAM,
        )

    def _mechanism(self, budget: Budget, records: int) -> DynamicDpSgd:
        from sfumato.learn.adaptive import AdaptiveQuantile
        from sfumato.learn.clipping import Automatic, Flat
        from sfumato.learn.dynamic import DynamicDpSgd

        size = self.batch_size(records)
        first, last = self.max_grad_norm, self.max_grad_norm / self.clip_fall
        moving = self.clip_schedule != "constant"
        flat = Flat(first)
        made = DynamicDpSgd.calibrate(
            budget,
            records=records,
            expected_batch_size=size,
            steps=self.steps(records),
            clipping=flat,
            noise_schedule=named(self.noise_schedule, self.noise_fall, 1.0),
            clip_norms=named(self.clip_schedule, first, last) if moving else None,
            neighbours=Neighbours(self.neighbours),
        )
        if self.clipping == "flat":
            return made
        if self.clipping == "automatic":
            return replace(made, clipping=Automatic(first))
        # As for learn.dpsgd, the count costs at most a quarter of any step; the first has the
        # most noise.
        count = max(size / 20, made.multiplier_at(0))
        return replace(made, clipping=AdaptiveQuantile(initial=first, count_stddev=count))
