"""A clip norm that follows a quantile of the gradient norms, paid for in every step.

Each step also releases, under noise, how many of its gradients were no longer than the clip norm;
the clip norm moves towards the quantile. Both releases of a step together are one Gaussian of the
accounted multiplier ``sigma``: the count gets a little of it, so the gradients get more noise than
``sigma`` would ask for,

    sigma_g = (sigma^-2 - (2 s_b)^-2)^(-1/2),                                        (split)

where ``s_b`` is the noise on the count, to which a record adds at most 1/2. What is accounted is
``sigma``; ``sigma_g`` is only ever used to draw noise.

Source: Andrew, Thakkar, McMahan, Ramaswamy, NeurIPS 2021, Theorem 1.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

from sfumato.errors import InputError
from sfumato.privacy.transcript import seen

if TYPE_CHECKING:
    from torch import Tensor

    from sfumato.privacy.noise import NoiseSource

_FURTHEST = 1e6
"""The clip norm stays within this factor of the initial one."""


@dataclass(frozen=True)
class AdaptiveQuantile:
    """Flat clipping whose bound is kept near a quantile of the norms.

    The bound itself is state: :meth:`update` takes one and returns the next.

    Args:
        initial: The clip norm of the first step; public.
        quantile: The share of gradients to leave unclipped.
        learning_rate: How fast the clip norm moves; 0.2 is at most 20 % a step.
        count_stddev: Noise on the count, in records; by default a twentieth of the expected batch.
    """

    initial: float = 0.1
    quantile: float = 0.5
    learning_rate: float = 0.2
    count_stddev: float | None = None

    def __post_init__(self) -> None:
        for name in ("initial", "learning_rate", "count_stddev"):
            value = getattr(self, name)
            if value is not None and not 0 < value < math.inf:
                raise InputError(f"{name} is {value!r}", "Give a finite number above 0.")
        if not 0 <= self.quantile <= 1:
            raise InputError(f"the quantile is {self.quantile!r}", "Give a number in [0, 1].")

    def noise_on_count(self, expected_batch_size: float) -> float:
        """``s_b``."""
        return expected_batch_size / 20 if self.count_stddev is None else self.count_stddev

    def gradient_multiplier(self, noise_multiplier: float, expected_batch_size: float) -> float:
        """``sigma_g`` of (split): what the gradients' noise is drawn with.

        Raises:
            InputError: If the count alone would cost more than the step.
        """
        count = 2 * self.noise_on_count(expected_batch_size)
        if not noise_multiplier < count:
            raise InputError(
                f"the noise on the count is {count / 2:g}, too little beside a noise multiplier "
                f"of {noise_multiplier:g}",
                f"Give a count_stddev above {noise_multiplier / 2:g}, or larger batches.",
            )
        return 1 / math.sqrt(noise_multiplier**-2 - count**-2)

    def update(
        self, clip_norm: float, norms: Tensor, expected_batch_size: float, source: NoiseSource
    ) -> float:
        """The next clip norm.

        A record adds 1/2 if its gradient is short, -1/2 if it is long, and nothing if its norm is
        no number. The sum is divided by the expected size of the batch: the real one is private.

        Args:
            clip_norm: The present one.
            norms: (1, n) of the step's examples.
            expected_batch_size: Public.
            source: The noise.
        """
        from sfumato.privacy.noise import gaussian

        short = int((norms <= clip_norm).sum())
        long = int(((norms > clip_norm) & norms.isfinite()).sum())
        noise = gaussian(self.noise_on_count(expected_batch_size), 1, source)
        counted = float(seen((short - long) / 2 + noise)[0])
        share = counted / expected_batch_size + 0.5
        moved = math.log(clip_norm) - self.learning_rate * (share - self.quantile)
        middle = math.log(self.initial)
        reach = math.log(_FURTHEST)
        return math.exp(min(max(moved, middle - reach), middle + reach))
