"""Record and play: every draw of a run seen from inside, and replayed to its neighbour.

While a :class:`Recorder` is active each mechanism tells what it was given and what it gave. Played
back on a neighbouring data set, the mechanisms give what they gave the first time, so both runs
have the same past at every draw, as in the proof of adaptive composition. Then

- the mechanisms, their number, order, parameters and shapes must be the same (else something
  about them depends on private data);
- what differs between the values they are given is what the release really costs this pair;
- everything that is published must be the same to the last bit: it may depend on private data
  through the draws alone.

Source: Cebere et al. 2026, "Re:cord-play"; training_attacks.md C10.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from typing import Any
from unittest.mock import patch

import numpy as np
import torch
from numpy.typing import NDArray

import sfumato.learn.noise
import sfumato.privacy.noise
from battery.accountant import Parts
from sfumato.learn.adaptive import AdaptiveQuantile
from sfumato.learn.correlated import CorrelatedNoise
from sfumato.learn.directional import Directional
from sfumato.learn.logistic import LogisticRegression
from sfumato.learn.noise import add_gaussian
from sfumato.learn.objective import ObjectivePerturbation, curvature_loss
from sfumato.learn.relevance import RelevanceMean
from sfumato.learn.sampling import PoissonSampling
from sfumato.learn.von_mises_fisher import unit
from sfumato.privacy import mechanisms
from sfumato.privacy.noise.gaussian import grid_step

SUMS = ("DiscreteLaplace", "DiscreteGaussian", "Laplace", "Gaussian")
CHOICES = ("NoisyMax", "ExponentialMechanism")
REPORTS = ("RandomizedResponse", "UnaryEncoding", "LocalNumeric", "BoundedNumeric")
_FINE = 1000
"""Steps of a grid beyond which discrete Laplace noise is accounted as continuous."""


class _Enough(BaseException):
    """Stops a run of which enough was seen."""


@dataclass(frozen=True)
class Step:
    """The noise of one training step: a mechanism without a class of its own."""

    stddev: float


@dataclass(frozen=True)
class Gradients:
    """The noise on all of a step's summed gradients.

    Args:
        spread: Standard deviation and number of coordinates of each tensor.
        divisor: What the noisy sums are divided by.
    """

    spread: tuple[tuple[float, int], ...]
    divisor: float

    @property
    def stddevs(self) -> NDArray[np.float64]:
        """Of each coordinate of the sum."""
        return np.concatenate([np.full(size, stddev) for stddev, size in self.spread])


@dataclass(frozen=True)
class Directions:
    """The von Mises-Fisher noise on each of a step's directions, seen in their sum.

    A replaced record moves the sum by the distance between its two directions.

    Args:
        kappa: Its concentration.
        dimension: Coordinates of a direction.
        divisor: What the noisy sum is divided by, once its shrinking has been made up for.
    """

    kappa: float
    dimension: int
    divisor: float


STEPS = (Gradients, Directions)
"""What a training step may draw."""


@dataclass(frozen=True)
class Linear:
    """The random linear term of an objective, seen in its minimiser.

    Drawn with the records' gradients at zero weights as its values; what it costs is said by the
    :class:`Slope` that follows.

    Args:
        stddev: Of each coordinate.
    """

    stddev: float


@dataclass(frozen=True)
class Slope:
    """The records' gradients at the minimiser that was drawn: where neighbours are told apart.

    Args:
        stddev: Of the linear term.
        determinants: What the determinants can say at most.
        dimensions: In which two records' gradients differ.
    """

    stddev: float
    determinants: float
    dimensions: int


@dataclass(frozen=True)
class Lot:
    """The sample that a draw was made from.

    Args:
        number: Which it is, from 1.
        rate: With which each record was drawn into it.
    """

    number: int
    rate: float


@dataclass(frozen=True)
class Draw:
    """One use of a mechanism.

    Args:
        mechanism: With its public parameters.
        values: What it was given; private.
        output: What it gave.
        lot: The sample it speaks of; None for all records.
    """

    mechanism: Any
    values: NDArray[Any]
    output: NDArray[Any]
    lot: Lot | None = None

    @property
    def noise(self) -> NDArray[np.float64]:
        """What was added, where something was."""
        return np.asarray(self.output - self.values, np.float64)


class Recorder:
    """Records all draws of central sums and local reports while it is active.

    Args:
        play: A transcript to give out again, draw by draw.
        enough: After so many draws the run is stopped where it stands, for tests that need no
            more of it.
        everyone: Every sample is of all records, so that each step shows what each can do; the
            draws still say at which rate they were to be sampled.

    Attributes:
        draws: What was drawn.
        samples: Row numbers of each sample, and how many rows there were.
    """

    def __init__(
        self,
        play: list[Draw] | None = None,
        enough: int | None = None,
        everyone: bool = True,
    ) -> None:
        self.draws: list[Draw] = []
        self.samples: list[tuple[NDArray[np.int64], int]] = []
        self._everyone = everyone
        self._lot: Lot | None = None
        self._last: type | tuple[type, ...] | None = None
        self._play = play
        self._inside = False
        self._enough = enough
        self._stack = ExitStack()
        self._summed: list[NDArray[np.float64]] = []

    def __enter__(self) -> Recorder:
        for names, call in ((SUMS, "release"), (REPORTS, "randomise")):
            for name in names:
                cls = getattr(mechanisms, name)
                self._patch(cls, call, self._wrapped(getattr(cls, call)))
        for name in CHOICES:
            cls = getattr(mechanisms, name)
            self._patch(cls, "select", self._chosen(cls.select))
        vector = mechanisms.LocalVector
        self._patch(vector, "release", self._reported(vector.release))
        minimise = ObjectivePerturbation.minimise
        self._patch(ObjectivePerturbation, "minimise", self._minimised(minimise))
        self._patch(LogisticRegression, "clipped_sum", self._noted(LogisticRegression.clipped_sum))
        self._patch(sfumato.privacy.noise, "gaussian", self._step(sfumato.privacy.noise.gaussian))
        self._patch(sfumato.learn.noise, "add_gaussian", self._gradients(add_gaussian))
        self._patch(CorrelatedNoise, "add", self._correlated(CorrelatedNoise.add))
        self._patch(Directional, "noisy_mean", self._directions(Directional.noisy_mean))
        double = sfumato.learn.noise.add_gaussian_double
        self._patch(sfumato.learn.noise, "add_gaussian_double", self._double(double))
        self._patch(PoissonSampling, "draw", self._sampled(PoissonSampling.draw))
        self._patch(RelevanceMean, "release", self._of_all(RelevanceMean.release))
        self._patch(AdaptiveQuantile, "update", self._counted(AdaptiveQuantile.update))
        return self

    def __exit__(self, kind: type | None, error: object, trace: object) -> bool:
        self._stack.close()
        return kind is _Enough

    def stop_after(self, mechanism: type | tuple[type, ...]) -> None:
        """Stops the run after the first draw on a sample by such a mechanism."""
        self._last = mechanism

    def _patch(self, owner: Any, name: str, replacement: Any) -> None:
        self._stack.enter_context(patch.object(owner, name, replacement))

    def _log(self, mechanism: Any, values: Any, draw: Any) -> NDArray[Any]:
        """Logs a draw; ``draw()`` makes it unless there is one to play."""
        given = np.array(values)
        if self._play is None:
            output = np.array(draw())
        else:
            assert len(self.draws) < len(self._play), "a neighbour draws more often"
            output = self._play[len(self.draws)].output
            assert output.shape == given.shape, "the shape of a draw depends on private data"
        self.draws.append(Draw(mechanism, given, output, self._lot))
        last = self._last is not None and isinstance(mechanism, self._last) and self._lot
        if len(self.draws) == self._enough or last:
            raise _Enough
        return output.copy()

    def _wrapped(self, original: Any) -> Any:
        def call(mechanism: Any, values: Any, source: Any = sfumato.privacy.noise.SECURE) -> Any:
            return self._log(mechanism, values, lambda: original(mechanism, values, source))

        return call

    def _reported(self, original: Any) -> Any:
        def release(made: Any, vectors: Any, source: Any = sfumato.privacy.noise.SECURE) -> Any:
            # Rounded alike whatever the grid, which follows from the noise.
            clipped = np.round(made.clip(vectors) * grid_step(made.stddev), 6)
            return self._log(made, clipped, lambda: original(made, vectors, source))

        return release

    def _minimised(self, original: Any) -> Any:
        def minimise(made: Any, problem: Any, source: Any) -> Any:
            at_zero = problem.gradient_sum(np.zeros(problem.shape))

            def draw() -> Any:
                self._inside = True  # the term is seen in the minimiser
                try:
                    return original(made, problem, source)
                finally:
                    self._inside = False

            found = self._log(Linear(made.stddev), at_zero, draw)
            determinants = curvature_loss(made.classes, made.records * made.ridge)
            slope = Slope(made.stddev, determinants, 2 * (made.classes - 1))
            self._log(slope, problem.gradient_sum(found), lambda: np.zeros(problem.shape))
            return found

        return minimise

    def _chosen(self, original: Any) -> Any:
        """A choice is logged as a row with a one where it fell."""

        def select(mechanism: Any, scores: Any, source: Any = sfumato.privacy.noise.SECURE) -> int:
            def draw() -> NDArray[np.float64]:
                return np.eye(1, len(scores), original(mechanism, scores, source))[0]

            return int(self._log(mechanism, np.asarray(scores, np.float64), draw).argmax())

        return select

    def _noted(self, original: Any) -> Any:
        def clipped_sum(model: Any, *args: Any) -> Any:
            total = original(model, *args)
            self._summed.append(total)
            return total

        return clipped_sum

    def _step(self, original: Any) -> Any:
        def gaussian(stddev: float, n: int, source: Any) -> Any:
            if self._inside:
                return original(stddev, n, source)
            total = np.ravel(sum(self._summed)) if self._summed else np.zeros(n)
            self._summed = []
            return (
                self._log(Step(stddev), total, lambda: total + original(stddev, n, source)) - total
            )

        return gaussian

    def _gradients(self, original: Any) -> Any:
        def noisy(
            tensors: Any, stddevs: Any, source: Any, *, divisor: float = 1.0, reuse: bool = False
        ) -> Any:
            sizes = [tensor.numel() for tensor in tensors]
            shapes = [tensor.shape for tensor in tensors]
            mechanism = Gradients(tuple(zip(map(float, stddevs), sizes, strict=True)), divisor)
            given = np.concatenate([t.detach().double().numpy().ravel() for t in tensors])

            def draw() -> Any:
                made = original(tensors, stddevs, source, divisor=divisor, reuse=reuse)
                return divisor * np.concatenate([t.double().numpy().ravel() for t in made])

            output = torch.from_numpy(self._log(mechanism, given, draw) / divisor).float()
            parts = torch.split(output, sizes)
            return [part.view(shape) for part, shape in zip(parts, shapes, strict=True)]

        return noisy

    def _correlated(self, original: Any) -> Any:
        """Draws on the rows of ``C G``, on which the noise is independent (learn.correlated)."""
        rows: dict[Any, list[tuple[Any, Any]]] = {}

        def mixed(weights: Any, parts: list[Any]) -> Any:
            return sum(weight * part for weight, part in zip(weights, parts, strict=False))

        def add(
            noise: Any, step: int, tensors: Any, stddevs: Any, source: Any, *, divisor: float
        ) -> Any:
            first, *rest = noise._coefficients
            sizes = [tensor.numel() for tensor in tensors]
            shapes = [tensor.shape for tensor in tensors]
            mechanism = Gradients(tuple(zip(map(float, stddevs), sizes, strict=True)), divisor)
            given = np.concatenate([t.detach().double().numpy().ravel() for t in tensors])
            before = rows.setdefault(noise, [])
            assert self._lot is not None
            # A record of the first group is drawn, or not, for so many rows at once.
            self._lot = Lot(1 + step // (1 + len(rest)), self._lot.rate)

            def draw() -> Any:
                made = original(noise, step, tensors, stddevs, source, divisor=divisor)
                released = divisor * np.concatenate([t.double().numpy().ravel() for t in made])
                return first * released + mixed(rest, [out for _, out in before])

            total = first * given + mixed(rest, [sums for sums, _ in before])
            output = self._log(mechanism, total, draw)
            released = (output - mixed(rest, [out for _, out in before])) / first
            before.insert(0, (given, released))
            parts = torch.split(torch.from_numpy(released / divisor).float(), sizes)
            return [part.view(shape) for part, shape in zip(parts, shapes, strict=True)]

        return add

    def _directions(self, original: Any) -> Any:
        def noisy_mean(made: Any, blocks: Any, source: Any) -> Any:
            held = list(blocks)
            given = sum((unit(block).sum(0).numpy() for block in held), np.zeros(made.size))
            divisor = made.sampling.expected_batch_size / made.length
            mechanism = Directions(made.kappa, made.size, divisor)

            def draw() -> Any:
                return divisor * original(made, held, source).double().numpy()

            return torch.from_numpy(self._log(mechanism, given, draw) / divisor).float()

        return noisy_mean

    def _double(self, original: Any) -> Any:
        def noisy(values: Any, stddev: float, source: Any) -> Any:
            mechanism = Gradients(((float(stddev), values.numel()),), 1.0)
            given = values.numpy()
            draw = lambda: original(values, stddev, source).numpy()  # noqa: E731
            return torch.from_numpy(self._log(mechanism, given, draw))

        return noisy

    def _sampled(self, original: Any) -> Any:
        def draw(sampling: Any, rows: int, source: Any) -> Any:
            self._lot = Lot(1 + (self._lot.number if self._lot else 0), sampling.rate)
            drawn = original(sampling, rows, source)
            self.samples.append((drawn, rows))
            return np.arange(rows, dtype=np.int64) if self._everyone else drawn

        return draw

    def _of_all(self, original: Any) -> Any:
        """Draws on all records between two samples."""

        def release(*args: Any) -> Any:
            lot, self._lot = self._lot, None
            try:
                return original(*args)
            finally:
                self._lot = lot

        return release

    def _counted(self, original: Any) -> Any:
        def update(rule: Any, clip_norm: float, norms: Any, *args: Any) -> Any:
            finite = norms.isfinite()
            short, long = (norms <= clip_norm).sum(), ((norms > clip_norm) & finite).sum()
            self._summed = [np.array([(int(short) - int(long)) / 2])]
            return original(rule, clip_norm, norms, *args)

        return update


def pairs(draws: list[Draw], played: list[Draw]) -> Iterator[tuple[Draw, Draw]]:
    """The draws of two neighbours side by side.

    Raises:
        AssertionError: If mechanisms, their number or their order differ.
    """
    assert len(draws) == len(played), "the number of draws depends on private data"
    for one, other in zip(draws, played, strict=True):
        assert one.mechanism == other.mechanism, (
            f"noise depends on private data: {one.mechanism} became {other.mechanism}"
        )
        assert one.values.shape == other.values.shape
        yield one, other


def realised(
    draws: list[Draw],
    played: list[Draw],
    relation: str = "add-remove",
    *,
    each: bool = False,
) -> Parts:
    """What the transcript costs this pair of neighbours: the exact loss of draws that were made.

    No claim enters, only the mechanisms' noise and the distance of what they were given.

    Args:
        draws: Of one data set.
        played: Of its neighbour, with the same outputs.
        relation: Of the two.
        each: Whether every sample counts as what it is; otherwise all count as the worst of them,
            which is no less.
    """
    parts = Parts()
    lots: dict[Lot, float] = {}
    for one, other in pairs(draws, played):
        apart = np.abs(one.values - other.values).astype(np.float64)
        if isinstance(one.mechanism, mechanisms.NoisyMax | mechanisms.ExponentialMechanism):
            # The claim scales with how far the scores moved.
            moved = float(apart.max(initial=0.0)) / one.mechanism.sensitivity
            parts = parts.bounded(one.mechanism.epsilon * moved)
            continue
        for shift, count in zip(*np.unique(apart[apart > 0], return_counts=True), strict=True):
            parts = _one_number(parts, one, float(shift), int(count))
        if isinstance(one.mechanism, mechanisms.Gaussian | mechanisms.LocalVector | Step):
            apart /= one.mechanism.stddev
        elif isinstance(one.mechanism, Gradients):
            apart /= one.mechanism.stddevs
        elif isinstance(one.mechanism, Directions):
            kappa, dimension = one.mechanism.kappa, one.mechanism.dimension
            rate = one.lot.rate if one.lot else 1.0
            parts = parts.direction(kappa, dimension, float(np.linalg.norm(apart)), rate)
            continue
        elif isinstance(one.mechanism, Slope):
            slope = one.mechanism
            ratio = float(np.linalg.norm(apart)) / slope.stddev
            parts = parts.tilted(ratio, slope.determinants, slope.dimensions)
            continue
        else:
            continue
        # Noise on one sample is one Gaussian, however many tensors and counts it is on.
        square = float(np.sum(apart**2))
        if one.lot is None:
            parts = parts.gaussian(math.sqrt(square), 1.0)
        else:
            lots[one.lot] = lots.get(one.lot, 0.0) + square
    for rate in {lot.rate for lot in lots}:
        squares = [square for lot, square in lots.items() if lot.rate == rate]
        if not each:
            squares = [max(squares)] * len(squares)
        # Rounded up in the fifth digit, so that equal ones share a loss distribution.
        distances = [float(f"{math.sqrt(square) * (1 + 5e-5):.4e}") for square in squares]
        for distance, count in Counter(distances).items():
            # Under replace-one, two contributions on either side of none.
            far = distance / 2 if relation == "replace-one" else distance
            parts = parts.sampled(rate, far, 1.0, count, relation)
    return parts


def _one_number(parts: Parts, draw: Draw, shift: float, count: int) -> Parts:
    """Adds ``count`` numbers moved by ``shift`` under the draw's own noise."""
    match draw.mechanism:
        case mechanisms.DiscreteLaplace(scale=scale) if shift > _FINE:
            return parts.laplace(shift, scale, count)
        case mechanisms.DiscreteLaplace(scale=scale):
            return parts.discrete_laplace(shift, scale, count)
        case mechanisms.DiscreteGaussian(stddev=stddev):
            return parts.discrete_gaussian(shift, stddev, count)
        case mechanisms.Laplace(scale=scale):
            return parts.laplace(shift, scale, count)
        case mechanisms.RandomizedResponse(levels=levels) as response:
            return parts.response(response.noise_probability, levels, count)
        case mechanisms.UnaryEncoding(epsilon=epsilon):
            return parts.bounded(epsilon, count)
        case mechanisms.BoundedNumeric() as number:
            # Two codes, however near, are at most this far apart.
            return parts.bounded(number.epsilon, count)
        case mechanisms.LocalNumeric(noise="laplace") as number:
            return parts.discrete_laplace(shift, number.scale, count)
        case mechanisms.LocalNumeric() as number:
            return parts.discrete_gaussian(shift, number.scale, count)
        case mechanisms.Gaussian() | Step() | Gradients() | Directions() | mechanisms.LocalVector():
            return parts  # joint, in L2
        case Linear() | Slope():
            return parts  # joint, by the slope
    raise AssertionError(f"the recorder does not know {draw.mechanism}; teach it")
