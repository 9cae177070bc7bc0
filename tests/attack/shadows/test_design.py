from __future__ import annotations

import numpy as np
from scipy.stats import binom

from sfumato.attack.shadows.design import contains, halves


def test_every_record_is_in_one_of_each_pair() -> None:
    inside = contains(halves(100, 16, seed=3), 100)
    assert inside.shape == (16, 100)
    assert (inside.sum(axis=1) == 50).all()
    assert (inside[0::2] ^ inside[1::2]).all()


def test_coins_are_fair_and_differ_between_pairs_and_records() -> None:
    """Two-sided at 1e-6 for each of the records' sums over 200 independent pairs, times 50."""
    first = contains(halves(50, 400, seed=5), 50)[0::2]
    low, high = binom.ppf([1e-8, 1 - 1e-8], 200, 0.5)
    assert ((low <= first.sum(axis=0)) & (first.sum(axis=0) <= high)).all()
    assert len({row.tobytes() for row in first}) == 200


def test_more_models_leave_the_first_ones_as_they_are() -> None:
    np.testing.assert_array_equal(halves(31, 5, seed=1), halves(31, 12, seed=1)[:5])
    assert halves(31, 5, seed=1).shape == (5, 15)
    assert not np.array_equal(halves(31, 5, seed=1), halves(31, 5, seed=2))
