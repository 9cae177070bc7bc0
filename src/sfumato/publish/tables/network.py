"""A private network of the label, and what Captum attributes its predictions to.

The network is trained by DP-SGD under replace-one; what explains it is post-processing of its
weights and one record. Each record's attributions come from its own codes alone: the network has
no layer that mixes records, baselines are public, and nothing is averaged over a batch. They are
then brought to one sum and averaged under noise, so that neither an outlier nor a network that
remembers a record can say more of it than was paid for.

Source: perturbation.md A.1 and A.2; Captum (Kokhlikyan et al. 2020, arXiv 2009.07896).
"""

from __future__ import annotations

import warnings
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from sfumato.errors import InputError, MissingExtraError
from sfumato.learn.clipping import Flat
from sfumato.learn.features import Features
from sfumato.learn.mechanism import DpSgd
from sfumato.privacy.neighbours import Neighbours
from sfumato.publish.tables import importance

if TYPE_CHECKING:
    from dp_accounting import DpEvent

    from sfumato.privacy.budget import Budget
    from sfumato.privacy.noise import NoiseSource
    from sfumato.publish.method import Progress
    from sfumato.publish.tables.learning import Batches

HIDDEN = (32,)
STEPS = 200
SAMPLE_RATE = 0.05
SMALLEST_BATCH = 64
CLIP_NORM = 1.0
LEARNING_RATE = 0.5
MOMENTUM = 0.9
AVERAGING = 0.95

LARGEST = 1 << 30
"""Cells of the largest table that a network is trained on: it picks single records at random."""

_ROWS = 4096  # explained at a time, over the attribution's own multiple
_STEPS_OF_A_PATH = 16
_PUBLIC_DRAWS = 8


@dataclass(frozen=True)
class NetworkModel:
    """A small dense network and its training.

    Args:
        features: Public shape of a row.
        classes: How many labels there are.
        mechanism: What its training draws.
        attribution: A key of :data:`EXPLAINERS`.
        seed: Of its first weights, which are no privacy noise; None is 0.
        epsilon: What it was calibrated for.
    """

    features: Features
    classes: int
    mechanism: DpSgd
    attribution: str
    seed: int | None
    epsilon: float

    @classmethod
    def calibrate(
        cls,
        features: Features,
        classes: int,
        records: int,
        budget: Budget,
        attribution: str,
        seed: int | None,
    ) -> NetworkModel:
        """The least noise that meets the budget.

        Raises:
            InputError: If the records are too many to be held in memory.
            MissingExtraError: If Captum is not installed.
        """
        captum()
        if records * len(features.columns) > LARGEST:
            raise InputError(
                f"{records} records of {len(features.columns)} attributes are too many for a "
                "network, which holds them in memory",
                "Use attribution=squared, which streams them.",
            )
        mechanism = DpSgd.calibrate(
            budget,
            records=records,
            expected_batch_size=min(records, max(SMALLEST_BATCH, SAMPLE_RATE * records)),
            steps=STEPS,
            clipping=Flat(CLIP_NORM),
            neighbours=Neighbours.REPLACE_ONE,
        )
        return cls(features, classes, mechanism, attribution, seed, budget.epsilon)

    @property
    def event(self) -> DpEvent:
        """All steps of the training."""
        return self.mechanism.event

    def attributions(self, batches: Batches, source: NoiseSource, progress: Progress) -> Explained:
        """Trains the network; what records are attributed under it."""
        from sfumato.learn.trainer import PrivateTrainer

        every = list(batches())
        codes = torch.from_numpy(np.concatenate([codes for codes, _ in every]))
        labels = torch.from_numpy(np.concatenate([labels for _, labels in every]))
        network = self._network()
        optimizer = torch.optim.SGD(network.parameters(), LEARNING_RATE, momentum=MOMENTUM)
        loss = nn.CrossEntropyLoss(reduction="none")
        trainer = PrivateTrainer(
            network,
            loss,
            optimizer,
            self.mechanism,
            (codes, labels),
            averaging=AVERAGING,
            source=source,
        )
        trainer.fit(progress=lambda at: progress(at.step, self.mechanism.steps, "importance model"))
        assert trainer.average is not None
        trainer.average.copy_to(network)
        return Explained.of(self.features, network, self.attribution)

    def describe(self) -> dict[str, Any]:
        """Its public parameters, for a card."""
        return {
            "epsilon": self.epsilon,
            "noise_multiplier": self.mechanism.noise_multiplier,
            "steps": self.mechanism.steps,
            "sample_rate": self.mechanism.sampling.rate,
            "clip_norm": CLIP_NORM,
            "learning_rate": LEARNING_RATE,
            "momentum": MOMENTUM,
            "averaging": AVERAGING,
            "hidden": list(HIDDEN),
        }

    def _network(self) -> nn.Sequential:
        from sfumato.learn.architectures import build

        columns = [{"size": c.size, "grid": c.grid} for c in self.features.columns]
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed((self.seed or 0) % (1 << 63))
            network = build(
                {
                    "family": "table-dense",
                    "columns": columns,
                    "classes": self.classes,
                    "hidden": list(HIDDEN),
                }
            )
        assert isinstance(network, nn.Sequential)
        return network


@dataclass(frozen=True)
class Explained:
    """A record's attributions under a network: of its predicted class's logit, by attribute.

    Args:
        features: Public shape of a row.
        encoder: Codes as the network's inputs.
        layers: The network behind it, its logits centred over the classes.
        baseline: (1, width) the public centre: the middle of a number, equal parts of all levels.
        draws: (k, width) records drawn uniformly from the public domain.
        explain: From (layers, inputs, classes, self) to (n, width) or (n, d).
    """

    features: Features
    encoder: nn.Module
    layers: nn.Sequential
    baseline: Tensor
    draws: Tensor
    explain: Callable[[nn.Sequential, Tensor, Tensor, Explained], Tensor]

    @classmethod
    def of(cls, features: Features, network: nn.Sequential, attribution: str) -> Explained:
        """The attributions of a trained network, whose first layer encodes codes."""
        encoder, *behind = network.children()
        layers = nn.Sequential(*behind).eval().requires_grad_(False)
        last = behind[-1]
        assert isinstance(last, nn.Linear)
        # Softmax ignores a common shift.
        last.weight.copy_(last.weight - last.weight.mean(dim=0, keepdim=True))
        last.bias.copy_(last.bias - last.bias.mean())
        draws = encoder(torch.from_numpy(_public_draws(features, _PUBLIC_DRAWS)))
        return cls(
            features,
            encoder,
            layers,
            _centre(features),
            draws,
            EXPLAINERS[attribution],
        )

    def units(self, codes: NDArray[np.integer]) -> NDArray[np.int64]:
        """Whole attributions, (n, d): each record's from its own codes alone."""
        parts = [
            importance.whole_units(self._magnitudes(codes[start : start + _ROWS]))
            for start in range(0, len(codes), _ROWS)
        ]
        return np.concatenate(parts) if parts else np.zeros(codes.shape, np.int64)

    def slots(self) -> Tensor:
        """(width,) the attribute of each input."""
        counts = torch.tensor([column.slots for column in self.features.columns])
        return torch.repeat_interleave(torch.arange(len(counts)), counts)

    def by_attribute(self, values: Tensor) -> Tensor:
        """(n, width) summed to (n, d)."""
        summed = torch.zeros(len(values), len(self.features.columns), dtype=values.dtype)
        return summed.index_add_(1, self.slots(), values)

    def _magnitudes(self, codes: NDArray[np.integer]) -> NDArray[np.float64]:
        inputs = self.encoder(torch.from_numpy(np.asarray(codes, np.int32)))
        with torch.no_grad():
            classes = self.layers(inputs).argmax(dim=1)
        with warnings.catch_warnings():  # that Captum sets hooks, and takes them away again
            warnings.filterwarnings("ignore", "Setting forward, backward hooks", UserWarning)
            found = self.explain(self.layers, inputs, classes, self)
        if found.shape[1] != len(self.features.columns):
            found = self.by_attribute(found)
        return np.asarray(found.detach().double().abs().numpy())


def captum() -> Any:
    """Captum's attributions.

    Raises:
        MissingExtraError: If it is not installed.
    """
    try:
        import captum.attr as attributions
    except ImportError:
        raise MissingExtraError("captum", "explain", "this attribution") from None
    return attributions


def _gradient(layers: nn.Sequential, inputs: Tensor, classes: Tensor, of: Explained) -> Tensor:
    """Squared gradients; every input's range is the same, 1 for a level and 2 for a number."""
    method = captum().Saliency(layers)
    found = _tensor(method.attribute(_leaf(inputs), target=classes, abs=False))
    return of.by_attribute((found * _ranges(of.features)) ** 2)


def _integrated(layers: nn.Sequential, inputs: Tensor, classes: Tensor, of: Explained) -> Tensor:
    method = captum().IntegratedGradients(layers, multiply_by_inputs=True)
    baseline = of.baseline.expand_as(inputs)
    return _tensor(
        method.attribute(_leaf(inputs), baseline, target=classes, n_steps=_STEPS_OF_A_PATH)
    )


def _deeplift(layers: nn.Sequential, inputs: Tensor, classes: Tensor, of: Explained) -> Tensor:
    method = captum().DeepLift(layers)
    return _tensor(method.attribute(_leaf(inputs), of.baseline, target=classes))


def _lrp(layers: nn.Sequential, inputs: Tensor, classes: Tensor, of: Explained) -> Tensor:
    return _tensor(captum().LRP(layers).attribute(_leaf(inputs), target=classes))


def _shap(layers: nn.Sequential, inputs: Tensor, classes: Tensor, of: Explained) -> Tensor:
    method = captum().DeepLiftShap(layers)
    return _tensor(method.attribute(_leaf(inputs), of.draws, target=classes))


def _permutation(layers: nn.Sequential, inputs: Tensor, classes: Tensor, of: Explained) -> Tensor:
    """How far the logit moves when an attribute is drawn anew, in the mean over public draws.

    Not permuted within the batch, as is usual: a record's attributions would tell of the others.
    """
    method = captum().FeatureAblation(layers)
    mask = of.slots().unsqueeze(0)
    total = torch.zeros(len(inputs), len(of.features.columns))
    for draw in of.draws:
        moved = method.attribute(
            inputs, draw.unsqueeze(0), target=classes, feature_mask=mask, perturbations_per_eval=1
        )
        # Every input of an attribute carries the attribute's own figure.
        first = torch.tensor(of.features.offsets[:-1])
        total += moved[:, first].abs()
    return total / len(of.draws)


EXPLAINERS: dict[str, Callable[[nn.Sequential, Tensor, Tensor, Explained], Tensor]] = {
    "gradient": _gradient,
    "integrated-gradients": _integrated,
    "deeplift": _deeplift,
    "lrp": _lrp,
    "shap": _shap,
    "permutation": _permutation,
}
"""Captum's methods as functions of a record, its class and public facts."""


def _leaf(inputs: Tensor) -> Tensor:
    return inputs.detach().clone().requires_grad_(True)


def _tensor(found: Any) -> Tensor:
    values: Tensor = found[0] if isinstance(found, tuple) else found
    return values.detach()


def _centre(features: Features) -> Tensor:
    """(1, width) equal parts of a column's levels, the middle of its range."""
    centre = [
        torch.full((column.slots,), 1 / column.size if column.grid is None else 0.0)
        for column in features.columns
    ]
    return torch.cat(centre).unsqueeze(0)


def _ranges(features: Features) -> Tensor:
    """(width,) how far each input can move."""
    ranges = torch.ones(features.offsets[-1])
    for column, start in zip(features.columns, features.offsets, strict=False):
        if column.grid is not None:
            ranges[start] = 2.0
    return ranges


def _public_draws(features: Features, count: int) -> NDArray[np.int32]:
    """(count, d) codes, uniform over the declared domain, the same for everybody."""
    rng = np.random.default_rng(0)
    return np.stack(
        [rng.integers(column.size, size=count) for column in features.columns], axis=1
    ).astype(np.int32)
