"""Random Fourier features of images in exact integer arithmetic.

A record's contribution to the private sum must have a norm that is bounded beyond doubt, and may
depend on nothing but the record. Floating point gives neither: matrix products round differently
in batches of another shape, and ``cos**2 + sin**2`` may exceed 1. So a record's features are
integers from beginning to end:

1. pixels are rounded to 1/255 (what an image file holds);
2. frequencies are whole numbers of ``2**-24`` turns a pixel step, so a projection is a sum of
   products of small integers, exact in float64 whatever the order of summation;
3. the projection, modulo a whole turn, looks cosine and sine up in tables of ``2**16`` integers,
   whose every pair has been checked against the amplitude.

In steps of ``2**-30`` the norm is then at most ``2**30`` by integer arithmetic: nothing is clipped
because nothing can be longer, and an image is scaled by no statistic of its batch.

Source: Rahimi, Recht, "Random Features for Large-Scale Kernel Machines", 2007; Harder, Adamczewski,
Park, "DP-MERF", 2021 (arXiv 2002.11603), for the product with the label.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from sfumato.errors import InputError

STEP = 2.0**-30
"""What one integer step is worth; a record's features have norm at most 1, ``2**30`` steps."""
_UNIT = 1 << 30
_TURN_BITS = 16  # the tables of cosine and sine
_FINE_BITS = 8  # of a phase, below the tables' resolution
_LEVELS = 255
_CELLS = 1 << 22  # projections in memory at a time
_LARGEST = 1 << 27  # numbers in the matrix of frequencies: 1 GiB


@dataclass(frozen=True)
class FourierFeatures:
    """The public feature map ``image, class -> (share of class, cosines, sines) x one-hot class``.

    Args:
        shape: ``(channels, height, width)`` of the images.
        classes: K.
        bandwidths: Length scales of the Gaussian kernels, in the Euclidean distance of images in
            [0, 1]; frequencies are shared out among them in equal parts.
        smoothing: Standard deviation, in pixels, of the Gaussian blur through which the kernel
            sees images; 0 for none. Detail finer than that is not measured.
        pairs: Number m of frequencies, each with a cosine and a sine.
        count_share: Share of a record's squared norm that goes to the constant feature, whose sum
            is the number of records of the class.
        seed: Of the frequencies; public.

    Guaranteed: every record's vector has an L2 norm of at most 1 (``2**30`` steps), zero outside
    its own class, and depends on that record and on these public fields alone.
    """

    shape: tuple[int, int, int]
    classes: int
    bandwidths: tuple[float, ...]
    smoothing: float
    pairs: int
    count_share: float
    seed: int

    def __post_init__(self) -> None:
        if math.prod(self.shape) * self.pairs > _LARGEST:
            raise InputError(
                f"{2 * self.pairs} features of {math.prod(self.shape)} pixels are too many",
                f"Give at most {2 * (_LARGEST // math.prod(self.shape))}, or smaller images.",
            )

    @property
    def coordinates(self) -> tuple[int, int]:
        """Shape of the sums: ``(K, 1 + 2 m)``; the count, m cosines, m sines."""
        return self.classes, 1 + 2 * self.pairs

    @cached_property
    def waves(self) -> NDArray[np.float64]:
        """(c h w, m) whole numbers: ``2**-24`` turns for each 1/255 of a pixel."""
        from scipy.ndimage import gaussian_filter

        rng = np.random.default_rng(self.seed)
        drawn = rng.standard_normal((*self.shape, self.pairs))
        if self.smoothing:
            # <w, blur(x)> = <blur(w), x>: what is blurred are the frequencies, once.
            drawn = gaussian_filter(
                drawn, (0, self.smoothing, self.smoothing, 0), mode="constant", truncate=6.0
            )
        drawn = drawn.reshape(-1, self.pairs)
        # exp(-|x - y|^2 / (2 l^2)) has frequencies with standard deviation 1 / l.
        drawn *= self._turns / self.length_scales
        waves = np.rint(drawn)
        if np.abs(waves).sum(axis=0).max() * _LEVELS >= 2.0**53:
            raise InputError(
                f"a bandwidth of {min(self.bandwidths):g} is too small", "Give a larger one."
            )
        return waves

    @cached_property
    def length_scales(self) -> NDArray[np.float64]:
        """(m,) the bandwidth that each frequency belongs to."""
        return np.asarray(self.bandwidths)[np.arange(self.pairs) % len(self.bandwidths)]

    @property
    def angular(self) -> NDArray[np.float32]:
        """(c h w, m) the same frequencies in radians for a pixel in [0, 1]."""
        return (self.waves / self._turns).astype(np.float32)

    @property
    def _turns(self) -> float:
        """Steps of phase for one radian and one step of a pixel."""
        return (1 << (_TURN_BITS + _FINE_BITS)) / (2 * math.pi * _LEVELS)

    @cached_property
    def amplitudes(self) -> tuple[int, int]:
        """Of the count and of each cosine and sine, in steps; ``count^2 + m wave^2 <= 2^60``."""
        count = math.isqrt(int(self.count_share * _UNIT**2))
        wave = math.isqrt((_UNIT**2 - count**2) // self.pairs)
        return count, wave

    @cached_property
    def tables(self) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """Cosine and sine of every phase in steps, rounded toward zero and checked."""
        _, wave = self.amplitudes
        phase = np.arange(1 << _TURN_BITS) * (2 * math.pi / (1 << _TURN_BITS))
        # One step less than the amplitude leaves room for the rounding of cos and sin.
        cosine, sine = (np.trunc(f(phase) * (wave - 1)).astype(np.int64) for f in (np.cos, np.sin))
        if int((cosine**2 + sine**2).max()) > wave**2:
            raise ArithmeticError("this machine's cosine is off by more than its last bits")
        return cosine, sine

    def encode(self, images: NDArray[np.float32]) -> NDArray[np.int64]:
        """(n, 1 + 2 m) features in steps, before the product with the label.

        Args:
            images: (n, c, h, w) in [0, 1].
        """
        count, _ = self.amplitudes
        cosine, sine = self.tables
        levels = np.rint(images.reshape(len(images), -1).astype(np.float64) * _LEVELS)
        phase = (levels @ self.waves).astype(np.int64) >> _FINE_BITS
        phase &= (1 << _TURN_BITS) - 1
        constant = np.full((len(images), 1), count)
        return np.hstack([constant, cosine[phase], sine[phase]])

    def sums(
        self, batches: Iterable[tuple[NDArray[np.float32], NDArray[np.int64]]]
    ) -> NDArray[np.int64]:
        """(K, 1 + 2 m) the exact sum of all records' features: private, for the noise alone.

        Args:
            batches: Images (n, c, h, w) in [0, 1] and their labels (n,), read once; a batch is
                encoded in parts, so that its size does not matter.
        """
        total = np.zeros(self.coordinates, np.int64)
        rows = max(1, _CELLS // self.pairs)
        for images, labels in batches:
            for start in range(0, len(images), rows):
                part = labels[start : start + rows]
                encoded = self.encode(images[start : start + rows])
                for label in np.unique(part):
                    total[label] += encoded[part == label].sum(axis=0)
        return total
