"""The test of independence, tested itself."""

from __future__ import annotations

import numpy as np

from battery.correlation import largest_correlation


def test_the_correlation_test_sees_a_shared_part_and_passes_independent_noise() -> None:
    rng = np.random.default_rng(7)
    noise = rng.laplace(size=(2000, 20))
    worst, bound = largest_correlation(noise)
    assert worst < bound
    worst, bound = largest_correlation(noise + 0.6 * rng.laplace(size=(2000, 1)))
    assert worst > bound
    assert largest_correlation(np.zeros((300, 3)))[0] == 1.0
