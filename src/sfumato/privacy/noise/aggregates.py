"""Noise for aggregates: OpenDP's exact samplers where the numbers are few.

A release of counts needs some thousand integers, and OpenDP's proven samplers take about 20 µs
each. The bulk samplers of this package take over where that would be slow (rows, tensors), and
for any source but the operating system's, since OpenDP draws from nothing else. Both draw the same
distributions; tests hold one against the other.
"""

from __future__ import annotations

from typing import Literal

import numpy as np
from numpy.typing import NDArray

from sfumato.privacy.noise.gaussian import discrete_gaussian
from sfumato.privacy.noise.laplace import discrete_laplace
from sfumato.privacy.noise.sources import SECURE, NoiseSource

FEW = 100_000
"""Up to so many numbers come from OpenDP: about two seconds."""


def aggregate_noise(
    law: Literal["laplace", "gaussian"], scale: float, n: int, source: NoiseSource
) -> NDArray[np.int64]:
    """``n`` independent integers of the discrete Laplace or Gaussian distribution.

    Args:
        law: Which distribution.
        scale: The Laplace scale, or the Gaussian's standard deviation parameter.
        n: How many.
        source: :data:`SECURE`, or a test's source.

    Source: Canonne, Kamath and Steinke 2020, as OpenDP implements it; else this package's tables.
    """
    if source is SECURE and 0 < n <= FEW:
        return _opendp(law, scale, n)
    bulk = discrete_laplace if law == "laplace" else discrete_gaussian
    return bulk(scale, n, source)


def _opendp(law: str, scale: float, n: int) -> NDArray[np.int64]:
    import opendp.prelude as dp

    dp.enable_features("contrib")  # its samplers are proven, its packaging is still marked so
    integers = dp.vector_domain(dp.atom_domain(T="i64"))
    if law == "laplace":
        space = integers, dp.l1_distance(T="i64")
        measurement = dp.m.make_laplace(*space, scale=scale)
    else:
        space = integers, dp.l2_distance(T="f64")
        measurement = dp.m.make_gaussian(*space, scale=scale)
    return np.asarray(measurement([0] * n), np.int64)
