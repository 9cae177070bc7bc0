"""A linear layer on scattering features: the baseline that private training has to beat.

The features cost nothing (see :mod:`sfumato.vision.scattering`) and are normalised within each
image, which may be straightened first (:mod:`sfumato.learn.upright`); their mean over all images,
which would only make every gradient longer, is estimated once under noise and subtracted; if asked
for, directions in which any picture varies much are shrunk, as drawings show them
(:mod:`sfumato.learn.whitening`). Then one linear layer is trained, by noisy sums of clipped
gradients (:mod:`sfumato.learn.linear`). Mean and whitening end up inside its weights: the model is
a layer on the features as they are.

    calibrated = ScatterLinear(classes=10).calibrate(Budget(1.0, 1e-5), records=60_000)
    model = calibrated.fit(images, labels)
    model.predict(more_images), model.guarantee.describe()

Source: Tramer and Boneh, "Differentially Private Learning Needs Better Features (or Much More
Data)", ICLR 2021; here sampled as its accountant says, centred, and averaged over the last steps.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from sfumato.errors import InputError
from sfumato.learn import drawings
from sfumato.learn.clipping import Flat
from sfumato.learn.linear import Descent, lengths_with_bias, train_linear
from sfumato.learn.mechanism import DpSgd
from sfumato.learn.records import check_labels
from sfumato.learn.sampling import PoissonSampling
from sfumato.learn.upright import upright
from sfumato.learn.whitening import Whitening
from sfumato.privacy.neighbours import Neighbours
from sfumato.vision.scattering import Scattering

if TYPE_CHECKING:
    from dp_accounting import DpEvent

    from sfumato.privacy.budget import Budget
    from sfumato.privacy.guarantee import Central
    from sfumato.privacy.noise import NoiseSource

_PATHS = 3
"""Scattering paths that are normalised together: 27 groups of the 81 of one channel."""
_CHUNK = 2048
"""Records that are normalised, or summed, at a time."""
_BRACKET = (0.05, 1e4)
"""Noise multipliers among which the steps are calibrated."""


@dataclass(frozen=True)
class ScatterLinear:
    """Public choices of the baseline; see :meth:`calibrate`.

    Args:
        classes: How many labels there are; labels are codes in ``[0, classes)``.
        sample_rate: Probability with which a step sees a record, in ``(0, 1]``.
        steps: How many there are.
        max_grad_norm: Bound on one record's gradient. Normalised features are long, so at the
            default nearly every gradient is cut to it, and only its direction counts.
        learning_rate: Of the noisy mean gradient.
        momentum: Heavy-ball, in ``[0, 1)``.
        averaged: The part of the steps, from the end, whose weights are averaged, in ``(0, 1]``.
        centre_share: The mean's mu over that of the whole budget (GDP), in ``[0, 1)``; about half
            its square is what the steps lose. At 0 no mean is subtracted.
        smooth_weight: What the smoothed image, a path among 81, is multiplied by after
            normalisation: its few numbers say more than others.
        drawings: How many drawings the whitening is learnt from, say 6000; 0 for no
            whitening. With it, steps want other learning rates.
        ridge: Directions with less than this part of the drawings' variance are left alone.
        upright: Whether images are sheared until they stand upright first: for writing.
        scattering: The features.

    Raises:
        InputError: If a value is out of its range.
    """

    classes: int
    sample_rate: float = 0.14
    steps: int = 280
    max_grad_norm: float = 0.1
    learning_rate: float = 4.0
    momentum: float = 0.9
    averaged: float = 0.25
    centre_share: float = 0.1
    smooth_weight: float = 2.0
    drawings: int = 0
    ridge: float = 0.0025
    upright: bool = False
    scattering: Scattering = field(default_factory=Scattering)

    def __post_init__(self) -> None:
        if not (isinstance(self.classes, int) and self.classes >= 2):
            raise InputError(f"classes is {self.classes!r}", "Give at least 2.")
        if not self.learning_rate > 0:
            raise InputError(f"learning_rate is {self.learning_rate!r}", "Give a number above 0.")
        for name in ("smooth_weight", "ridge"):
            if not 0 < getattr(self, name) < math.inf:
                raise InputError(f"{name} is {getattr(self, name)!r}", "Give a number above 0.")
        if not (isinstance(self.drawings, int) and self.drawings >= 0):
            raise InputError(f"drawings is {self.drawings!r}", "Give a whole number, or 0.")
        if not isinstance(self.upright, bool):
            raise InputError(f"upright is {self.upright!r}", "Give True or False.")
        for name in ("momentum", "centre_share"):
            if not 0 <= getattr(self, name) < 1:
                raise InputError(f"{name} is {getattr(self, name)!r}", "Give a number in [0, 1).")
        for name in ("averaged", "sample_rate"):
            if not 0 < getattr(self, name) <= 1:
                raise InputError(f"{name} is {getattr(self, name)!r}", "Give a number in (0, 1].")

    def calibrate(
        self,
        budget: Budget,
        *,
        records: int,
        neighbours: Neighbours = Neighbours.ADD_REMOVE,
        beside: DpEvent | None = None,
    ) -> CalibratedScatterLinear:
        """The least noise with which all steps together meet the budget.

        Args:
            budget: Its delta must be above 0 and below ``1 / records``.
            records: The *declared*, public number of records. Noisy sums are divided by
                ``sample_rate * records``, a number fixed before the data is read, so under
                add-remove the true number of rows stays hidden: a declaration that is off by some
                factor changes the learning rate by it, and nothing else.
            neighbours: The relation of the budget.
            beside: What else is drawn from the same records and paid for from the same budget; the
                caller draws it, and it is in no event of the recipe's own.

        Raises:
            InputError: If an argument is out of its range.
        """
        from sfumato.privacy import calibration, events

        budget.check_records(records)
        sampling = PoissonSampling(records, self.sample_rate)
        sampling.check(neighbours)
        clipping = Flat(self.max_grad_norm)

        def made(multiplier: float, mean: float | None) -> CalibratedScatterLinear:
            return CalibratedScatterLinear(
                self,
                DpSgd(sampling, clipping, multiplier, self.steps, budget.delta, neighbours),
                mean,
            )

        def whole(multiplier: float, mean: float | None) -> DpEvent:
            event = made(multiplier, mean).event
            return event if beside is None else events.compose(beside, event)

        if self.centre_share == 0 and beside is None:
            rate, steps = self.sample_rate, self.steps
            return made(calibration.calibrate_gaussian(budget, neighbours, rate, steps), None)
        far = 2 if neighbours is Neighbours.REPLACE_ONE else 1
        share = self.centre_share
        mean = far / (share * calibration.analytic_gaussian_mu(budget)) if share else None
        multiplier = calibration.calibrate(
            lambda sigma: whole(sigma, mean), budget, neighbours, _BRACKET
        )
        return made(multiplier, mean)

    def features(self, images: Tensor) -> Tensor:
        """Normalised scattering features, a function of each image alone.

        Args:
            images: (n, c, h, w) floats.

        Returns:
            (n, d) float32: over every three paths the mean is 0 and the variance at most 1, but
            for ``smooth_weight``. What is not finite, because the image was not, is 0.
        """
        coefficients = self.scattering(upright(images) if self.upright else images)
        paths = coefficients.shape[1]
        if paths % _PATHS:
            raise InputError(
                f"{paths} scattering paths do not divide into groups of {_PATHS}",
                "Use 2 scales and 8 angles.",
            )
        groups = paths // _PATHS
        for start in range(0, len(coefficients), _CHUNK):
            chunk = coefficients[start : start + _CHUNK]
            chunk.copy_(torch.nn.functional.group_norm(chunk, groups))
        coefficients[:, :: self.scattering.paths] *= self.smooth_weight
        return coefficients.nan_to_num_(0.0, 0.0, 0.0).flatten(1)

    def whitening(self, shape: Sequence[int]) -> Whitening | None:
        """What the features of pictures of this shape, (c, h, w), are multiplied by: public.

        None if there are no ``drawings``.
        """
        return _whitening(self, tuple(shape)) if self.drawings else None


@dataclass(frozen=True)
class CalibratedScatterLinear:
    """A :class:`ScatterLinear` whose cost is known; made by its ``calibrate``.

    Args:
        method: Public choices.
        dp_sgd: The steps.
        mean_multiplier: Noise on the sum of all features over the bound on one record's; None
            where no mean is subtracted.
    """

    method: ScatterLinear
    dp_sgd: DpSgd
    mean_multiplier: float | None = None

    @property
    def event(self) -> DpEvent:
        """What a fit draws from the private records: the mean, and all steps."""
        from sfumato.privacy import events

        if self.mean_multiplier is None:
            return self.dp_sgd.event
        return events.compose(events.GaussianDpEvent(self.mean_multiplier), self.dp_sgd.event)

    def guarantee(self) -> Central:
        """What a fit proves."""
        from sfumato.privacy.guarantee import Central

        return Central(self.event, self.dp_sgd.delta, "record", self.dp_sgd.neighbours)

    def fit(
        self,
        images: Tensor,
        labels: Tensor,
        *,
        source: NoiseSource | None = None,
        progress: Callable[[int, int, str], None] | None = None,
    ) -> ScatterLinearModel:
        """Trains on private images. Every call spends the budget once more.

        Args:
            images: (n, c, h, w) floats in [0, 1].
            labels: (n,) int64 codes.
            source: Of sampling and noise; anything but the default is for tests.
            progress: Told after each step.

        Raises:
            InputError: If images and labels do not belong together, or a label is no class.
        """
        check_labels(images, labels, self.method.classes)
        return self.fit_features(
            self.method.features(images),
            labels,
            whitening=self.method.whitening(images.shape[1:]),
            source=source,
            progress=progress,
            overwrite=True,
        )

    def fit_features(
        self,
        features: Tensor,
        labels: Tensor,
        *,
        whitening: Whitening | None = None,
        centre: Tensor | None = None,
        source: NoiseSource | None = None,
        progress: Callable[[int, int, str], None] | None = None,
        folder: Path | None = None,
        overwrite: bool = False,
    ) -> ScatterLinearModel:
        """As :meth:`fit`, on (n, d) features from ``method.features``.

        Args:
            features: See above.
            labels: (n,) int64 codes.
            whitening: ``method.whitening`` of the images' shape, or any other public map.
            centre: What :meth:`centre` gave of these features, kept by whoever wants to go on after
                an interruption. None draws it here.
            source: See :meth:`fit`.
            progress: See :meth:`fit`.
            folder: Of checkpoints; see :func:`~sfumato.learn.linear.train_linear`.
            overwrite: Whether the features may be changed, to save a copy of them.

        Guaranteed: the weights are a function of one noisy sum over all records and ``steps`` over
        samples, whose joint cost is ``event``, and of public numbers.
        """
        from sfumato.learn.noise import STREAM

        check_labels(features, labels, self.method.classes)
        source = STREAM if source is None else source
        features = features if overwrite else features.clone()
        features.nan_to_num_(0.0, 0.0, 0.0)
        centre = self.centre(features, source) if centre is None else centre.to(features)
        features -= centre
        if whitening is not None:
            whitening.apply_(features)
        lengths = lengths_with_bias(features)
        features[~lengths.isfinite()] = 0.0  # its gradient will be cut to 0, and 0 * inf is not 0
        layer = train_linear(
            (features, lengths),
            labels,
            self.method.classes,
            self.dp_sgd,
            descent=Descent(self.method.learning_rate, self.method.momentum, self.method.averaged),
            source=source,
            progress=progress,
            folder=folder,
        )
        weight = layer.weight.detach()
        if whitening is not None:
            whitening.apply_(weight)
        bias = layer.bias.detach() - weight @ centre
        return ScatterLinearModel(self.method, weight, bias, self.event, self.guarantee())

    def centre(self, features: Tensor, source: NoiseSource) -> Tensor:
        """The noisy mean of (n, d) features, (d,): each is cut to the public norm sqrt(d).

        A part of a fit: every call spends that part of the budget once more.
        """
        from sfumato.learn.noise import add_gaussian_double

        width = features.shape[1]
        total = torch.zeros(width, dtype=torch.float64, device=features.device)
        if self.mean_multiplier is None:
            return total.float()
        bound = Flat(math.sqrt(width))
        for part in torch.split(features, _CHUNK):
            norms = torch.linalg.vector_norm(part, dim=1, dtype=torch.float64)[None]
            total += (bound.factors(norms) @ part.double())[0]
        (stddev,) = bound.noise_stddevs(self.mean_multiplier)
        records = self.dp_sgd.sampling.records
        # Not in float32: rounding the sums of many records would move more than one record does.
        noisy = add_gaussian_double(total.cpu(), stddev, source)
        return (noisy / records).float().to(features.device)


@dataclass(frozen=True, eq=False)
class ScatterLinearModel:
    """A trained layer: wholly publishable under ``guarantee``.

    Attributes:
        method: Public choices, features among them.
        weight: (classes, d) float32.
        bias: (classes,) float32.
        event: What was drawn.
        guarantee: What it proves.
    """

    method: ScatterLinear
    weight: Tensor
    bias: Tensor
    event: DpEvent
    guarantee: Central

    @torch.no_grad()
    def scores(self, images: Tensor) -> Tensor:
        """(n, classes) logits of (n, c, h, w) images."""
        return self.method.features(images) @ self.weight.T + self.bias

    def predict(self, images: Tensor) -> Tensor:
        """(n,) int64 codes of the likeliest classes."""
        return self.scores(images).argmax(dim=1)


@lru_cache(maxsize=4)
def _whitening(method: ScatterLinear, shape: tuple[int, ...]) -> Whitening:
    pictures = drawings.draw(method.drawings, shape)
    return Whitening.of(method.drawings, lambda part: method.features(pictures[part]), method.ridge)
