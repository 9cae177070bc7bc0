"""``learn.input``: a network trained on noisy reports of single records.

Each record's features get Gaussian noise for the diameter of the ball that they are clipped to, its
label randomised response. What is trained on them is free: any network, any number of passes.

Source: training_attacks.md B; Duchi, Jordan and Wainwright 2013 (local privacy).
"""

from __future__ import annotations

import math
import secrets
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

from sfumato.data.facts import Fact
from sfumato.publish import checks
from sfumato.publish.method import Calibrated, RecordCaveat
from sfumato.publish.models.convex import encoded, max_norm, width
from sfumato.registry import method

if TYPE_CHECKING:
    from sfumato.data import ImageSchema, ImageSet, Schema, Table
    from sfumato.learn.reports import LabelledReports
    from sfumato.privacy.budget import Budget
    from sfumato.privacy.noise import NoiseSource
    from sfumato.publish.method import Progress
    from sfumato.release.release import Artefact


@method("learn.input")
@dataclass(frozen=True)
class InputMethod:
    """A classifier trained on records that were noised one by one, where they were.

    Args:
        network: ``"small-cnn"``, ``"deep-cnn"`` or ``"dense"`` for images, ``"table-dense"`` for
            rows; ``"auto"`` chooses by the public facts.
        hidden: Widths of the hidden layers of a dense network; none is logistic regression.
        max_norm: Public bound on the norm of a record's features, to which longer ones are
            shortened; None: of rows the longest there can be, of images a third of it.
        label_share: Share of epsilon that the label costs, in ``(0, 1)``.
        epochs: Passes over the reports.
        batch_size: Reports a step.
        learning_rate: Of Adam.
        weight_decay: Of Adam, decoupled.
        seed: Of the initial weights and the order of reports, which are not privacy noise; None
            draws one.
        device: ``"auto"``, ``"cpu"`` or ``"cuda"``.

    Raises:
        InputError: If a value is unknown or out of its range.

    Guaranteed: ``Local``, (epsilon, delta) of each record's own report, features and label
    together.
    """

    network: str = "auto"
    hidden: Sequence[int] = ()
    max_norm: float | None = None
    label_share: float = 0.3
    epochs: int = 10
    batch_size: int = 100
    learning_rate: float = 1e-3
    weight_decay: float = 0.0
    seed: int | None = None
    device: str = "auto"

    name: ClassVar[str]
    kinds: ClassVar[tuple[str, ...]] = ("images", "table")
    gives: ClassVar[str] = "model"
    source: ClassVar[str] = "Jarin and Eshete, DP-UTIL, CODASPY 2022, corrected"
    relation: ClassVar[str] = "local"
    needs_records: ClassVar[bool] = True
    default_delta: ClassVar[float] = 1e-5

    def __post_init__(self) -> None:
        object.__setattr__(self, "hidden", checks.widths(self.hidden))
        checks.one_of("device", self.device, checks.DEVICES)
        for name in ("epochs", "batch_size"):
            checks.whole(name, getattr(self, name), 1)
        if self.seed is not None:
            checks.whole("seed", self.seed, 0)
        if self.max_norm is not None:
            checks.number("max_norm", self.max_norm, 0, closed=False)
        checks.number("label_share", self.label_share, 1e-3, 0.999)
        checks.number("learning_rate", self.learning_rate, 0, closed=False)
        checks.number("weight_decay", self.weight_decay, 0)

    def calibrate(self, budget: Budget, facts: ImageSchema | Schema) -> Calibrated:
        """The run that spends ``budget`` on each record.

        Raises:
            InputError: If the facts lack a target or the number of records, the budget a delta, or
                a setting does not fit them.
        """
        from sfumato.learn.architectures import build
        from sfumato.learn.noise import STREAM
        from sfumato.learn.reports import LabelledReports
        from sfumato.privacy.guarantee import Local
        from sfumato.publish.models.network import architecture

        checks.records(facts, budget)
        inner = architecture(facts, self.network, self.hidden)
        made = {"family": "scaled", "inner": inner}
        build(made, seed=0)  # refuses networks that are not made of layers in sequence
        bound = max_norm(inner) if self.max_norm is None else self.max_norm
        ready = LabelledReports.calibrate(
            budget, max_norm=bound, classes=inner["classes"], label_share=self.label_share
        )
        return Calibrated(
            method=self,
            budget=budget,
            facts=facts,
            guarantee=Local(ready.event, budget.delta, f"whole {_unit(inner)}"),
            plan={
                "max_norm": bound,
                "stddev": ready.vector.stddev,
                "label_epsilon": ready.response.epsilon,
                "label_noise_probability": ready.response.noise_probability,
                "architecture": made,
            },
            run=Run(self, facts, ready, made),
            public=(Fact("network", made, "public: setting of learn.input"),),
            caveats=(
                RecordCaveat(
                    "A report is protected for itself: of a person with several records, their "
                    "reports add up."
                ),
                "Settings that were chosen by looking at these records are not covered: choose on "
                "public data.",
            ),
            source=STREAM,
        )


@dataclass(frozen=True)
class Run:
    """Reports, then training on them.

    Args:
        method: The public choices.
        facts: Of the private records.
        ready: The calibrated reports.
        architecture: Of the network behind its scale.
    """

    method: InputMethod
    facts: ImageSchema | Schema
    ready: LabelledReports
    architecture: Mapping[str, Any]

    def __call__(self, data: ImageSet | Table, source: NoiseSource, progress: Progress) -> Artefact:
        """Reports the private records, and trains on the reports."""
        import torch

        from sfumato.learn.architectures import build, weights
        from sfumato.learn.architectures.scaled import ScaledNet
        from sfumato.learn.examples import labelled
        from sfumato.learn.plain import Plain, train
        from sfumato.release.model import Model
        from sfumato.release.release import Artefact

        method, inner = self.method, self.architecture["inner"]
        seed = secrets.randbits(31) if method.seed is None else method.seed
        inputs, labels = labelled(data)
        progress(0, method.epochs, "reporting")
        reports, answers = self.ready.release(encoded(inner, inputs), labels.numpy(), source)
        module = build(self.architecture, seed=seed)
        assert isinstance(module, ScaledNet)
        # Public: about the root mean square of a coordinate of a report.
        vector = self.ready.vector
        scale = 1 / math.hypot(vector.stddev, vector.clip_norm / math.sqrt(width(inner)))
        module.scale.fill_(scale)
        train(
            module.network,
            torch.from_numpy(reports).mul_(scale).reshape(_shape(inner, len(reports))),
            torch.from_numpy(answers),
            Plain.of_settings(method),
            seed=seed,
            device=checks.device(method.device),
            progress=progress,
        )
        model = Model(self.facts, self.architecture, weights(module))
        return Artefact(model, seeds={"initial weights and order": seed})


def _shape(inner: Mapping[str, Any], rows: int) -> tuple[int, ...]:
    return (rows, width(inner)) if "columns" in inner else (rows, *inner["shape"])


def _unit(inner: Mapping[str, Any]) -> str:
    return "row" if "columns" in inner else "image"
