"""How the pictures of each class vary, from one noisy sum: counts, means, second moments.

An image becomes its low frequencies, ``z``: so many coefficients of an orthonormal cosine basis,
scaled by a public number and cut to length 1. It adds a one, ``z`` and the upper triangle of
``z z^T``, weighted so that all of it together has length at most 1, to the entries of its own
class, and nothing to the others'. Every entry gets one Gaussian draw. What follows from the noisy
entries is free: how many images a class has, its mean picture, and, because the second moments of
all classes add up, the directions in which pictures vary and how far along each a class does.

    noisy = ClassMoments((1, 28, 28), classes=10, noise_multiplier=12.0).release(images, labels, s)
    noisy.draw(torch.tensor([3, 3, 8]), generator)  # three pictures of nobody

Source: Dwork, Talwar, Thakurta, Zhang, "Analyze Gauss", STOC 2014, for the second moments.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from sfumato.errors import InputError
from sfumato.learn.clipping import MARGIN
from sfumato.learn.records import check_labels

if TYPE_CHECKING:
    from dp_accounting import DpEvent

    from sfumato.privacy.noise import NoiseSource

_CHUNK = 2048
_WEIGHTS = (0.15, 0.45)
"""Of the one and of the coefficients in a record's contribution; the triangle has the rest."""
_EDGE = 2.0
"""Noise alone gives a symmetric matrix eigenvalues up to 2 sqrt(d) times its entries' (Wigner)."""
_LEAST_SHARE = 0.05


@dataclass(frozen=True)
class ClassMoments:
    """What is summed over the images of each class, and the noise on it: public choices.

    Args:
        shape: (channels, height, width) of an image.
        classes: How many labels there are.
        noise_multiplier: Noise on each entry over the bound, 1, of one record's contribution.
        coefficients: The most cosine coefficients that are kept, the lowest frequencies.
        brightness: The root-mean-square pixel at which an image's coefficients have length 1; a
            brighter one is cut to it.

    Raises:
        InputError: If a value is out of its range.
    """

    shape: tuple[int, int, int]
    classes: int
    noise_multiplier: float
    coefficients: int = 256
    brightness: float = 0.5

    def __post_init__(self) -> None:
        for name in ("noise_multiplier", "brightness"):
            if not 0 < getattr(self, name) < math.inf:
                raise InputError(f"{name} is {getattr(self, name)!r}", "Give a number above 0.")
        if not (isinstance(self.coefficients, int) and self.coefficients >= self.shape[0]):
            raise InputError(
                f"coefficients is {self.coefficients!r}", "Give at least one for each channel."
            )

    @property
    def event(self) -> DpEvent:
        """What :meth:`release` draws."""
        from sfumato.privacy import events

        return events.GaussianDpEvent(self.noise_multiplier)

    @property
    def basis(self) -> tuple[Tensor, Tensor]:
        """(p, height) and (q, width): the lowest cosines down and across, orthonormal rows."""
        channels, height, width = self.shape
        room = math.isqrt(self.coefficients // channels)
        return cosines(min(room, height), height), cosines(min(room, width), width)

    @property
    def width(self) -> int:
        """Coefficients of an image, of all channels."""
        down, across = self.basis
        return self.shape[0] * len(down) * len(across)

    @torch.no_grad()
    def coordinates(self, images: Tensor) -> Tensor:
        """(n, d) float64 coefficients of (n, c, h, w) images, of length at most 1.

        An image that is not finite has none but zeros.
        """
        down, across = self.basis
        flat = (down @ images.double() @ across.T).flatten(1) / self._unit
        norms = torch.linalg.vector_norm(flat, dim=1, keepdim=True)
        cut = flat / norms.clamp_min(1.0)
        return torch.where(norms.isfinite(), cut, 0.0)

    def pictures(self, coordinates: Tensor) -> Tensor:
        """(n, c, h, w) float32 of (n, d) coefficients: what is left of an image of low
        frequencies; pixels may lie outside [0, 1].
        """
        down, across = self.basis
        grid = coordinates.double().view(-1, self.shape[0], len(down), len(across))
        return (down.T @ grid @ across * self._unit).float()

    @torch.no_grad()
    def contributions(self, images: Tensor, labels: Tensor) -> Tensor:
        """(K, 1 + d + d (d + 1) / 2) float64: what these images add to the sum, noise aside.

        Guaranteed: for one image its norm is at most 1.
        """
        width = self.width
        upper = _triangle(width)
        one, linear, square = self._weights
        total = torch.zeros(self.classes, 1 + width + len(upper[0]), dtype=torch.float64)
        for part, codes in zip(
            torch.split(images, _CHUNK), torch.split(labels, _CHUNK), strict=True
        ):
            found = self.coordinates(part)
            for label in set(codes.tolist()):
                chosen = found[codes == label]
                row = total[label]
                row[0] += one * len(chosen)
                row[1 : 1 + width] += linear * chosen.sum(dim=0)
                row[1 + width :] += square * (chosen.T @ chosen)[upper]
        return total

    def release(self, images: Tensor, labels: Tensor, source: NoiseSource) -> NoisyMoments:
        """The noisy sum over private images.

        Args:
            images: (n, c, h, w) floats in [0, 1].
            labels: (n,) int64 codes.
            source: The noise.

        Raises:
            InputError: If images and labels do not belong together, or a label is no class.

        Guaranteed: a function of the noisy entries alone, whose cost is ``event``.
        """
        from sfumato.learn.noise import add_gaussian_double

        check_labels(images, labels, self.classes)
        exact = self.contributions(images, labels)
        noisy = add_gaussian_double(exact.flatten(), self.noise_multiplier, source)
        return self._estimates(noisy.view(exact.shape))

    def _estimates(self, noisy: Tensor) -> NoisyMoments:
        """Everything below is post-processing of the noisy entries."""
        one, linear, square = self._weights
        width, classes = self.width, self.classes
        upper = _triangle(width)
        counts = noisy[:, 0] / one
        records = float(counts.sum().clamp_min(1.0))
        counts = counts.clamp_min(_LEAST_SHARE * records / classes)
        means = noisy[:, 1 : 1 + width] / linear / counts[:, None]
        moments = torch.zeros(classes, width, width, dtype=torch.float64)
        moments[:, upper[0], upper[1]] = noisy[:, 1 + width :] / square
        moments[:, upper[1], upper[0]] = moments[:, upper[0], upper[1]]
        scatter = moments - counts[:, None, None] * means[:, :, None] * means[:, None, :]
        values, vectors = torch.linalg.eigh(scatter.sum(dim=0))
        # Only directions that stand out from the noise on the sum over all classes.
        edge = _EDGE * math.sqrt(width * classes) * self.noise_multiplier / square
        axes = vectors[:, values > edge].flip(1)
        within = axes.T @ (scatter / counts[:, None, None]) @ axes
        factors = torch.stack([axes @ _root(each) for each in within])
        return NoisyMoments(self, counts / counts.sum(), means, factors)

    @property
    def _unit(self) -> float:
        """The length of coefficients that becomes 1."""
        return self.brightness * math.sqrt(math.prod(self.shape))

    @property
    def _weights(self) -> tuple[float, float, float]:
        """Of the parts of a contribution; their squares sum to a little less than 1."""
        one, linear = _WEIGHTS
        room = 1 - MARGIN
        return one * room, linear * room, math.sqrt(1 - one**2 - linear**2) * room


@dataclass(frozen=True, eq=False)
class NoisyMoments:
    """What the noisy sum says of the classes; publishable, like all that follows from it.

    Attributes:
        query: Public choices it was measured with.
        shares: (K,) estimated shares of the classes, with sum 1.
        means: (K, d) mean coefficients.
        factors: (K, d, r): a class's coefficients vary about their mean as ``factors @ normal``;
            r is how many directions stood out from the noise.
    """

    query: ClassMoments
    shares: Tensor
    means: Tensor
    factors: Tensor

    def draw(self, labels: Tensor, generator: torch.Generator, spread: float = 1.0) -> Tensor:
        """(n, c, h, w) pictures, each drawn from the normal distribution of its class.

        Args:
            labels: (n,) codes.
            generator: Of the draws.
            spread: What the deviations from the mean are multiplied by.
        """
        normal = torch.randn(
            len(labels), self.factors.shape[2], generator=generator, dtype=torch.float64
        )
        found = self.means[labels]
        for label in sorted(set(labels.tolist())):
            rows = labels == label
            found[rows] += spread * normal[rows] @ self.factors[label].T
        return self.query.pictures(found)


def cosines(count: int, size: int) -> Tensor:
    """(count, size) float64: the first rows of the orthonormal discrete cosine transform."""
    at = (torch.arange(size, dtype=torch.float64) + 0.5) * (math.pi / size)
    rows = torch.cos(torch.arange(count, dtype=torch.float64)[:, None] * at)
    rows *= math.sqrt(2 / size)
    rows[0] *= math.sqrt(0.5)
    return rows


def _triangle(width: int) -> Sequence[Tensor]:
    rows, columns = torch.triu_indices(width, width)
    return rows, columns


def _root(matrix: Tensor) -> Tensor:
    """A factor of the positive part of a symmetric (r, r) matrix."""
    values, vectors = torch.linalg.eigh(matrix)
    factor: Tensor = vectors * values.clamp_min(0.0).sqrt()
    return factor
