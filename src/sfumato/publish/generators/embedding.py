"""The noisy mean embedding: the only thing that is ever learnt from the private images."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from sfumato.publish.generators.features import STEP, FourierFeatures

if TYPE_CHECKING:
    from sfumato.data import ImageSet
    from sfumato.privacy.mechanisms import Gaussian
    from sfumato.privacy.noise import NoiseSource

BATCH = 1024


@dataclass(frozen=True)
class NoisyEmbedding:
    """What the one Gaussian release says of each class; all use of it is post-processing.

    Args:
        shares: (K,) noisy share of the records that are of the class; may be negative.
        cosines: (K, m) noisy mean over *all* records of cosine times one-hot class.
        sines: (K, m) likewise.
        share_stddev: Of the noise in each share.
        wave_stddev: Of the noise in each cosine and sine.
    """

    shares: NDArray[np.float64]
    cosines: NDArray[np.float64]
    sines: NDArray[np.float64]
    share_stddev: float
    wave_stddev: float

    @classmethod
    def release(
        cls,
        data: ImageSet,
        features: FourierFeatures,
        noise: Gaussian,
        records: int,
        source: NoiseSource,
        progress: Callable[[int], None],
    ) -> NoisyEmbedding:
        """Sums the records' features exactly and adds noise to every coordinate.

        Args:
            data: The private images, read once in batches.
            features: The public feature map; norm at most 1 a record.
            noise: Calibrated for that norm, on the grid of the features.
            records: The public number n; never the number of records of a class.
            source: Of the noise.
            progress: Told how many images were read.
        """
        seen = 0
        sums = np.zeros(features.coordinates, np.int64)
        for batch in data.batches(BATCH):
            sums += features.sums([batch])
            seen += len(batch[1])
            progress(seen)
        return cls.from_noisy(noise.release(sums * STEP, source), features, noise, records)

    @classmethod
    def from_noisy(
        cls, noisy: NDArray[np.float64], features: FourierFeatures, noise: Gaussian, records: int
    ) -> NoisyEmbedding:
        """Puts noisy sums (K, 1 + 2 m) in the units of shares, cosines and sines."""
        count, wave = (amplitude * STEP * records for amplitude in features.amplitudes)
        return cls(
            shares=noisy[:, 0] / count,
            cosines=noisy[:, 1 : 1 + features.pairs] / wave,
            sines=noisy[:, 1 + features.pairs :] / wave,
            share_stddev=noise.stddev / count,
            wave_stddev=noise.stddev / wave,
        )

    def estimated_shares(self) -> NDArray[np.float64]:
        """(K,) shares of the classes, positive and with sum 1, shrunk as far as noise demands.

        Between the noisy shares and equal ones, in proportion to how much of the noisy shares'
        spread noise explains (James and Stein); no class falls below a tenth of an equal share,
        nor below four standard deviations of the noise unless that is more than an equal share.
        """
        equal = 1 / len(self.shares)
        spread = float(np.mean((self.shares - equal) ** 2))
        kept = max(0.0, 1 - self.share_stddev**2 / spread) if spread > 0 else 0.0
        least = min(equal, max(0.1 * equal, 4 * self.share_stddev))
        shares = np.maximum(equal + kept * (self.shares - equal), least)
        return np.asarray(shares / shares.sum())
