"""``learn.vmf``: a network trained by directions with von Mises-Fisher noise on each of them.

Every sampled record's gradient is brought to length 1 and replaced by a random direction that is
the likelier the nearer it is; the directions are summed and divided by the expected number of
records. What is proven is stated by the distance between gradients, and beside it as differential
privacy between any two values of a record: see :mod:`sfumato.learn.directional`.

Source: Faustini, Fernandes, McIver, Dras, "Directional Privacy for Deep Learning",
arXiv 2211.04686.
"""

from __future__ import annotations

import secrets
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

from sfumato.data.facts import Fact
from sfumato.privacy.neighbours import Neighbours
from sfumato.publish import checks
from sfumato.publish.method import Calibrated
from sfumato.publish.models.run import caveats
from sfumato.registry import method

if TYPE_CHECKING:
    from sfumato.data import ImageSchema, ImageSet, Schema, Table
    from sfumato.learn.directional import Directional
    from sfumato.privacy.budget import Budget
    from sfumato.privacy.noise import NoiseSource
    from sfumato.publish.method import Progress
    from sfumato.publish.models.training import Optimisation
    from sfumato.release.release import Artefact

_SAVED_EVERY = 100


@method("learn.vmf")
@dataclass(frozen=True)
class VonMisesFisher:
    """A classifier trained by noisy directions; for those who want each gradient protected.

    The budget is met between any two values of a record, whatever the distance of their gradients.
    At a given budget ``learn.dpsgd`` is more accurate: its noise is drawn once for a sum, this
    one's for every single gradient, which is then protected before it is summed.

    Args:
        network: ``"small-cnn"``, ``"deep-cnn"``, ``"wide-resnet"`` or ``"dense"`` for images,
            ``"table-dense"`` for rows; ``"auto"`` chooses by the public facts. Small networks
            suffer least: the signal in a direction is about ``kappa`` over the number of weights.
        hidden: Widths of the hidden layers of a dense network; none is logistic regression.
        steps: How many; each gets an equal part of the budget.
        expected_batch_size: Records a step, on average; None: a hundredth of the records, 64 at
            least.
        optimizer: ``"sgd"`` or ``"adam"``.
        learning_rate: Of the estimated mean direction, which has length 1 at most but for noise.
        momentum: Of ``sgd``.
        schedule: ``"constant"``, ``"linear"`` or ``"cosine"``.
        averaging: Decay of the average of the weights that is published; None: the last weights.
        block: Gradients in memory at a time; None: as many as fit in 64 MB.
        seed: Of the initial weights, which are not privacy noise; None draws one.
        device: ``"auto"``, ``"cpu"`` or ``"cuda"``.

    Raises:
        InputError: If a value is unknown or out of its range.

    Guaranteed: ``Metric``, by the distance between the unit gradients of a record's two values,
    and (epsilon, delta) at any distance: replace-one; the number of records is declared public.
    """

    network: str = "auto"
    hidden: Sequence[int] = ()
    steps: int = 200
    expected_batch_size: int | None = None
    optimizer: str = "sgd"
    learning_rate: float = 0.1
    momentum: float = 0.9
    schedule: str = "constant"
    averaging: float | None = None
    block: int | None = None
    seed: int | None = None
    device: str = "auto"

    name: ClassVar[str]
    kinds: ClassVar[tuple[str, ...]] = ("images", "table")
    gives: ClassVar[str] = "model"
    source: ClassVar[str] = "Faustini et al., Directional Privacy for Deep Learning, 2211.04686"
    relation: ClassVar[str] = "metric"
    needs_records: ClassVar[bool] = True
    default_delta: ClassVar[float] = 1e-5

    def __post_init__(self) -> None:
        checks.whole("steps", self.steps, 1)
        checks.one_of("device", self.device, checks.DEVICES)
        for name in ("expected_batch_size", "block"):
            if getattr(self, name) is not None:
                checks.whole(name, getattr(self, name), 1)
        if self.seed is not None:
            checks.whole("seed", self.seed, 0)
        object.__setattr__(self, "hidden", checks.widths(self.hidden))
        self._optimisation()

    def calibrate(self, budget: Budget, facts: ImageSchema | Schema) -> Calibrated:
        """The run that spends ``budget`` on records with these public facts.

        Raises:
            InputError: If the facts lack a target or the number of records, or a setting does not
                fit them.
        """
        from sfumato.learn.architectures import build
        from sfumato.learn.directional import Directional
        from sfumato.learn.noise import STREAM
        from sfumato.publish.models.network import architecture

        records = checks.records(facts, budget)
        size = checks.batch_size(self.expected_batch_size, records)
        made = architecture(facts, self.network, self.hidden)
        weights = sum(p.numel() for p in build(made, seed=0).parameters())
        mechanism = Directional.calibrate(
            budget, records=records, expected_batch_size=size, steps=self.steps, size=weights
        )
        return Calibrated(
            method=self,
            budget=budget,
            facts=facts,
            guarantee=mechanism.guarantee(),
            plan={**mechanism.to_dict(), "architecture": made},
            run=Run(self, facts, mechanism, made),
            public=(Fact("network", dict(made), "public: setting of learn.vmf"),),
            caveats=(*mechanism.caveats(), *caveats(Neighbours.REPLACE_ONE)),
            source=STREAM,
        )

    def _optimisation(self) -> Optimisation:
        from sfumato.publish.models.training import Optimisation

        return Optimisation.of_settings(self)


@dataclass(frozen=True)
class Run:
    """The steps.

    Args:
        method: The public choices.
        facts: Public facts of the records.
        mechanism: What is accounted.
        architecture: Of the network.
    """

    method: VonMisesFisher
    facts: ImageSchema | Schema
    mechanism: Directional
    architecture: Mapping[str, Any]
    resumable: bool = field(default=True, init=False)

    def __call__(
        self,
        data: ImageSet | Table,
        source: NoiseSource,
        progress: Progress,
        workspace: Path | None = None,
    ) -> Artefact:
        """Trains on private records; in a ``workspace`` a training that is found goes on."""
        from torch.nn import functional

        from sfumato.learn import checkpoint
        from sfumato.learn.architectures import build, weights
        from sfumato.learn.averaging import Averaging
        from sfumato.learn.directional_loop import DirectionalLoop
        from sfumato.learn.examples import labelled
        from sfumato.publish.workspace import TRAINING, once
        from sfumato.release.model import Model
        from sfumato.release.release import Artefact

        method, steps = self.method, self.mechanism.steps
        drawn = secrets.randbits(31) if method.seed is None else method.seed
        seeds = once(workspace, "seeds", lambda: {"initial weights": drawn})
        module = build(self.architecture, seed=seeds["initial weights"])
        module = module.to(checks.device(method.device)).train()
        choices = method._optimisation()
        optimizer, factor = choices.of(module), choices.factor(steps)
        average = None if method.averaging is None else Averaging(module, method.averaging)
        loop = DirectionalLoop(
            module,
            optimizer,
            lambda scores, targets: functional.cross_entropy(scores, targets, reduction="none"),
            labelled(data),
            self.mechanism,
            block=method.block,
            source=source,
        )
        folder = None if workspace is None else workspace / TRAINING

        def save() -> None:
            if folder is not None:
                loop.save(folder, tensors=average.weights if average is not None else {})

        try:
            if folder is not None and checkpoint.found(folder):
                averages = loop.resume(folder)
                if average is not None:
                    average.load(averages)
            else:
                save()
            due = checkpoint.Due(_SAVED_EVERY)
            for taken in loop:
                if factor is not None:
                    for group in optimizer.param_groups:
                        group["lr"] = method.learning_rate * factor(taken - 1)
                optimizer.step()
                if average is not None:
                    average.update(module, taken)
                if due.after_a_step() or taken == steps:
                    save()
                progress(taken, steps, "training")
        finally:
            loop.close()
        if average is not None:
            average.copy_to(module)
        model = Model(self.facts, self.architecture, weights(module))
        return Artefact(model, seeds=seeds)
