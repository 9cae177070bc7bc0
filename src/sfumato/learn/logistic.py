"""Logistic regression by noisy full-batch gradient descent.

Each step releases the clipped sum of all records' gradients under Gaussian noise. All records
take part in every step, so no sampling is accounted, and ``steps`` Gaussians on the same records
are one Gaussian: the whole run is mu-GDP with ``mu = 2 sqrt(steps) / noise_multiplier`` under
replace-one.

Source: Abadi et al., CCS 2016 (per-example clipping), at sampling rate 1; generative.md 2.1.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from sfumato.errors import InputError
from sfumato.learn.features import Features
from sfumato.learn.passes import remembered
from sfumato.privacy.transcript import seen

if TYPE_CHECKING:
    from dp_accounting import DpEvent
    from scipy.sparse import csr_matrix

    from sfumato.privacy.noise import NoiseSource

Batches = Callable[[], Iterable[tuple[NDArray[np.integer], NDArray[np.integer]]]]
"""Starts a pass over the records: ``(codes (b, d), labels (b,))`` batches, any batch size."""


KEPT_ENTRIES = 1 << 24
"""Features of up to this many entries (12 bytes each) are kept between steps."""


@dataclass(frozen=True)
class LogisticRegression:
    """Multinomial logistic regression under central differential privacy, replace-one.

    Args:
        features: Public shape of a row; every row's feature norm is at most 1.
        classes: How many labels there are; labels are codes in ``[0, classes)``.
        records: The public number of records; the noisy sum is divided by it.
        noise_multiplier: Standard deviation of a step's noise divided by ``clip_norm``.
        steps: Full passes over the data.
        learning_rate: Step size of gradient descent on the mean gradient.
        momentum: Heavy-ball momentum, in ``[0, 1)``; free, as it only sees noisy gradients.
        clip_norm: Bound on one record's gradient; with features in the unit ball a gradient's
            norm never exceeds ``sqrt(2)``.

    Raises:
        InputError: If a value is out of its range.
    """

    features: Features
    classes: int
    records: int
    noise_multiplier: float
    steps: int = 30
    learning_rate: float = 4.0
    momentum: float = 0.9
    clip_norm: float = 1.0

    def __post_init__(self) -> None:
        for name in ("classes", "records", "steps"):
            if getattr(self, name) < 1:
                raise InputError(f"{name} is {getattr(self, name)}", "Give at least 1.")
        for name in ("noise_multiplier", "learning_rate", "clip_norm"):
            if not getattr(self, name) > 0:
                raise InputError(f"{name} is {getattr(self, name)}", "Give a number above 0.")
        if not 0 <= self.momentum < 1:
            raise InputError(f"momentum is {self.momentum}", "Give a number in [0, 1).")

    @property
    def event(self) -> DpEvent:
        """What a fit draws: ``steps`` Gaussian releases on the same records."""
        from sfumato.privacy import events

        return events.repeat(events.GaussianDpEvent(self.noise_multiplier), self.steps)

    def fit(
        self,
        batches: Batches,
        source: NoiseSource,
        progress: Callable[[int, int, str], None] | None = None,
    ) -> NDArray[np.float64]:
        """The noisy weights.

        Args:
            batches: Called once a step; must give the same records each time.
            source: The noise.
            progress: Told after each step.

        Returns:
            (features.width, classes) float64.

        Guaranteed: the weights are a function of ``steps`` noisy sums, whose joint cost is
        ``event``, and of public numbers.
        """
        from sfumato.privacy.noise import gaussian

        shape = (self.features.width, self.classes)
        weights, velocity = np.zeros(shape), np.zeros(shape)
        stddev = self.noise_multiplier * self.clip_norm
        passes = remembered(
            lambda: ((self.features.matrix(codes), labels) for codes, labels in batches()),
            size=lambda batch: int(batch[0].nnz),
            limit=KEPT_ENTRIES,
        )
        for step in range(self.steps):
            total = np.zeros(shape)
            for matrix, labels in passes():
                total += self.clipped_sum(weights, matrix, labels)
            noise = gaussian(stddev, total.size, source).reshape(shape)
            velocity = self.momentum * velocity - seen(total + noise) / self.records
            weights = weights + self.learning_rate * velocity
            if progress is not None:
                progress(step + 1, self.steps, "importance model")
        return weights

    def clipped_sum(
        self,
        weights: NDArray[np.float64],
        matrix: csr_matrix,
        labels: NDArray[np.integer],
    ) -> NDArray[np.float64]:
        """The sum of the records' gradients, each of norm at most ``clip_norm``.

        A record's gradient is the outer product of its features and its residual, so its norm is
        the product of theirs and the clipped sum needs no gradient of a single record.

        Args:
            weights: (width, classes).
            matrix: (b, width) from ``features.matrix``.
            labels: (b,).

        Returns:
            (width, classes) float64.
        """
        residual = softmax(matrix @ weights)
        residual[np.arange(len(labels)), labels] -= 1.0
        lengths = np.sqrt(matrix.multiply(matrix).sum(axis=1)).A1
        norms = lengths * np.sqrt(np.sum(residual**2, axis=1))
        residual *= np.minimum(1.0, self.clip_norm / np.maximum(norms, 1e-300))[:, None]
        return np.asarray(matrix.T @ residual, dtype=np.float64)


def softmax(logits: NDArray[np.float64]) -> NDArray[np.float64]:
    """Row-wise softmax of ``(b, classes)`` logits."""
    powers = np.exp(logits - logits.max(axis=1, keepdims=True))
    return np.asarray(powers / powers.sum(axis=1, keepdims=True), dtype=np.float64)
