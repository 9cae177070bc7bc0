"""``learn.dpsgd``: a network trained by noisy sums of clipped per-example gradients.

Each step draws every record by itself with the same probability, clips each record's gradient to
a public norm, adds Gaussian noise to the sum once, and divides by the expected number of records,
never by the realised one. Sampler, clipping, noise and event are one object
(:class:`~sfumato.learn.mechanism.DpSgd`), whose event the printed epsilon is computed from.

Three refinements are settings: inputs projected to their noisy principal directions, which the same
budget pays for; a budget for each layer inside a step; and noise that is correlated between steps
(:mod:`sfumato.learn.correlated`).

Source: Abadi et al., CCS 2016; layer budgets: the reading of S001 in training_attacks.md A2.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

from sfumato.data.facts import Fact
from sfumato.errors import InputError
from sfumato.privacy.guarantee import Central
from sfumato.privacy.neighbours import Neighbours
from sfumato.publish import checks
from sfumato.publish.method import Calibrated
from sfumato.publish.models.run import Run, caveats
from sfumato.publish.models.settings import NetworkSettings
from sfumato.registry import method

if TYPE_CHECKING:
    from dp_accounting import DpEvent

    from sfumato.data import ImageSchema, Schema
    from sfumato.learn.accounted import Mechanism
    from sfumato.learn.adaptive import AdaptiveQuantile
    from sfumato.learn.clipping import Clipping
    from sfumato.learn.contracts import EngineMaker
    from sfumato.learn.plans import BandedNoise
    from sfumato.learn.principal import PrincipalDirections
    from sfumato.privacy.budget import Budget

CLIPPINGS = ("flat", "automatic", "adaptive", "per-layer", "layer-budgets")
_BRACKET = (0.05, 1e4)
_ABADI = {
    "network": "dense",
    "hidden": (1000,),
    "components": 60,
    "expected_batch_size": 600,
    "epochs": 100,
    "max_grad_norm": 4.0,
    "learning_rate": 0.05,
    "momentum": 0.0,
    "averaging": None,
}


@method("learn.dpsgd")
@dataclass(frozen=True)
class DpSgdMethod(NetworkSettings):
    """A classifier trained by DP-SGD, on images or on the rows of a table.

    Args:
        network: ``"small-cnn"``, ``"deep-cnn"``, ``"wide-resnet"`` or ``"dense"`` for images,
            ``"table-dense"`` for rows; ``"auto"`` chooses by the public facts.
        hidden: Widths of the hidden layers of a dense network; none is logistic regression.
        epochs: How often a record is seen, on average.
        expected_batch_size: Records a step, on average; None: a hundredth of the records, 64 at
            least.
        clipping: ``"flat"`` (one bound), ``"automatic"`` (every gradient to about the bound),
            ``"adaptive"`` (the bound follows a noisy median of the norms, paid for in each step),
            ``"per-layer"`` (a bound for each layer), ``"layer-budgets"`` (and a share of each
            step's budget, ``layer_weights``).
        max_grad_norm: Bound on a record's gradient; where the clipping moves it, the first one.
        layer_weights: For ``"layer-budgets"``: public weights by layer name; None: by how many
            weights a layer has.
        components: Project inputs to so many noisy principal directions first (networks
            ``"dense"`` for images only); None: no projection.
        components_share: Share of the budget's mu that the directions cost, in ``(0, 1)``.
        bands: Over how many steps noise is correlated, so that it cancels in the weights; 1 is
            independent noise, None takes the number that the budget favours. Not under
            add-remove.
        optimizer: ``"sgd"`` or ``"adam"``.
        learning_rate: Of the noisy mean gradient.
        momentum: Of ``sgd``.
        schedule: ``"constant"``, ``"linear"`` or ``"cosine"``.
        averaging: Decay of the average of the weights that is published; None: the last weights.
        views: Views of an image whose gradients are averaged before clipping (augmentation
            multiplicity); 1 for the image alone, or rows.
        shift: The most pixels that a view is moved.
        mirror: Whether views may be mirrored left to right.
        neighbours: ``"add-remove"``, ``"zero-out"`` or ``"replace-one"``.
        physical_batch_size: Records in memory at a time.
        seed: Of the initial weights, which are not privacy noise; None draws one.
        device: ``"auto"``, ``"cpu"`` or ``"cuda"``.

    Presets: ``abadi`` and ``s001`` (60 principal directions, 1,000 hidden units, lots of 600, bound
    4; S001 with a budget for each layer), ``small-cnn`` (Tramèr and Boneh's end-to-end network).

    Raises:
        InputError: If a value is unknown or out of its range.

    Guaranteed: ``Central``, (epsilon, delta) for the relation chosen; the number of records is
    declared public.
    """

    clipping: str = "flat"
    layer_weights: Mapping[str, float] | None = None
    components: int | None = None
    components_share: float = 0.2
    bands: int | None = 1
    optimizer: str = "sgd"
    schedule: str = "constant"
    views: int = 1
    shift: int = 2
    mirror: bool = False

    source: ClassVar[str] = "Abadi et al., Deep Learning with Differential Privacy, CCS 2016"
    relations: ClassVar[tuple[str, ...]] = ("add-remove", "zero-out", "replace-one")
    presets: ClassVar[Mapping[str, Mapping[str, Any]]] = {
        "abadi": _ABADI,
        "s001": {**_ABADI, "clipping": "layer-budgets"},
        "small-cnn": {
            "network": "small-cnn",
            "epochs": 40,
            "expected_batch_size": 512,
            "learning_rate": 0.5,
            "averaging": None,
        },
    }

    def __post_init__(self) -> None:
        super().__post_init__()
        checks.one_of("clipping", self.clipping, CLIPPINGS)
        checks.whole("views", self.views, 1)
        checks.whole("shift", self.shift, 0)
        if not isinstance(self.mirror, bool):
            raise InputError(f"mirror is {self.mirror!r}", "Give true or false.")
        checks.number("components_share", self.components_share, 1e-3, 0.9)
        for name in ("components", "bands"):
            if getattr(self, name) is not None:
                checks.whole(name, getattr(self, name), 1)
        if self.layer_weights is not None:
            if not isinstance(self.layer_weights, Mapping):
                raise InputError(
                    f"layer_weights is {self.layer_weights!r}", "Give a weight by layer name."
                )
            for layer, weight in self.layer_weights.items():
                checks.number(f"the weight of layer {layer!r}", weight, 0, closed=False)
        if self.layer_weights is not None and self.clipping != "layer-budgets":
            raise InputError(
                f"layer_weights are given with clipping {self.clipping!r}",
                "Use clipping='layer-budgets', or leave them out.",
            )
        if self.bands != 1:
            self._bands.check(Neighbours(self.neighbours))
            if self.components is not None or self.clipping == "adaptive":
                raise InputError(
                    "correlated noise goes with neither principal directions nor a moving bound",
                    "Set bands to 1, or leave components out and clip with a fixed bound.",
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
        mechanism, directions = self._mechanism(budget, records, made)
        training = Training(
            facts,
            mechanism,
            made,
            self._optimisation(),
            checks.device(self.device),
            self._engine(facts),
        )
        run = Run(self, training, directions)
        event = run.event
        return Calibrated(
            method=self,
            budget=budget,
            facts=facts,
            guarantee=Central(event, budget.delta, "record", mechanism.neighbours),
            plan=run.plan,
            run=run,
            public=(Fact("network", dict(made), "public: setting of learn.dpsgd"),),
            caveats=caveats(mechanism.neighbours),
            source=STREAM,
        )

    def _architecture(self, facts: ImageSchema | Schema) -> dict[str, Any]:
        made = super()._architecture(facts)
        if self.components is None:
            return made
        if made["family"] != "dense":
            raise InputError(
                f"components is {self.components}, the network {made['family']}",
                "Directions are of images and feed the network 'dense'; leave components out.",
            )
        if self.components > (pixels := math.prod(made["shape"])):
            raise InputError(
                f"components is {self.components}, an image has {pixels} numbers",
                "Ask for fewer components.",
            )
        return {**made, "family": "projected-dense", "components": self.components}

    @property
    def _bands(self) -> BandedNoise:
        from sfumato.learn.plans import BandedNoise

        return BandedNoise(self.bands)

    def _engine(self, facts: ImageSchema | Schema) -> EngineMaker | None:
        """What gives clipped sums; None for the one-pass engine."""
        from sfumato.data import ImageSchema
        from sfumato.learn.views import Views, engine_of

        if self.views == 1:
            return None
        if not isinstance(facts, ImageSchema):
            raise InputError(f"views is {self.views}, the records are rows", "Use views=1.")
        return engine_of(Views(self.views, self.shift, self.mirror), self.seed or 0)

    def _mechanism(
        self, budget: Budget, records: int, made: Mapping[str, Any]
    ) -> tuple[Mechanism, PrincipalDirections | None]:
        """The least noise with which directions and steps together meet the budget."""
        from sfumato.learn.mechanism import DpSgd
        from sfumato.learn.principal import PrincipalDirections
        from sfumato.learn.sampling import PoissonSampling
        from sfumato.privacy import calibration, events

        relation = Neighbours(self.neighbours)
        size, steps = self.batch_size(records), self.steps(records)
        sampling = PoissonSampling.of_batches(records, size)
        if self.bands != 1:
            return self._bands.calibrate(
                budget,
                records=records,
                expected_batch_size=size,
                steps=steps,
                clipping=self._bound(made),
                neighbours=relation,
                workload=self._optimisation().workload(steps),
            ), None
        if self.components is None:
            multiplier = calibration.calibrate_gaussian(budget, relation, sampling.rate, steps)
            clipping = self._clipping(made, multiplier, size)
            return DpSgd(sampling, clipping, multiplier, steps, budget.delta, relation), None
        far = 2 if relation is Neighbours.REPLACE_ONE else 1
        mu = self.components_share * calibration.analytic_gaussian_mu(budget)
        directions = PrincipalDirections(self.components, far / mu)

        def joint(multiplier: float) -> DpEvent:
            step = events.repeat(sampling.event(multiplier), steps)
            return events.compose(directions.event, step)

        multiplier = calibration.calibrate(joint, budget, relation, _BRACKET)
        clipping = self._clipping(made, multiplier, size)
        return DpSgd(sampling, clipping, multiplier, steps, budget.delta, relation), directions

    def _clipping(
        self, made: Mapping[str, Any], multiplier: float, size: int
    ) -> Clipping | AdaptiveQuantile:
        """The bound, or one that moves: its count then costs at most a quarter of a step."""
        from sfumato.learn.adaptive import AdaptiveQuantile

        if self.clipping != "adaptive":
            return self._bound(made)
        return AdaptiveQuantile(self.max_grad_norm, count_stddev=max(size / 20, multiplier))

    def _bound(self, made: Mapping[str, Any]) -> Clipping:
        """The fixed bound on a record's gradient, in all or by layer."""
        from sfumato.learn.clipping import Automatic, Flat, layer_budgets, per_layer

        bound = self.max_grad_norm
        if self.clipping == "flat":
            return Flat(bound)
        if self.clipping == "automatic":
            return Automatic(bound)
        from sfumato.learn.architectures import build

        sizes = {name: p.numel() for name, p in build(made, seed=0).named_parameters()}
        if self.clipping == "per-layer":
            return per_layer(list(sizes), bound)
        weights: dict[str, float] = dict(self.layer_weights or {})
        if self.layer_weights is None:
            for name, size in sizes.items():
                layer = name.rpartition(".")[0]
                weights[layer] = weights.get(layer, 0) + size
        return layer_budgets(list(sizes), weights, bound)
