from __future__ import annotations

import numpy as np
import pytest

from sfumato.attack import resample
from sfumato.errors import InputError


def test_the_interval_of_a_ratio_covers_as_stated() -> None:
    """50 samples: an interval missing 7 % by rights misses 17 of them once in 1e7 times."""
    rng, missed = np.random.default_rng(0), 0
    for _ in range(50):
        below = rng.exponential(1.0, 200)
        above = 0.3 * below + 0.1 * rng.standard_normal(200)
        _, (low, high) = resample.ratio(above, below, np.arange(200), 0.95, rng)
        missed += not low <= 0.3 <= high
    assert missed < 17


@pytest.mark.parametrize(("persons", "each"), [(10, 10), (30, 5)])
def test_rows_of_one_person_count_as_one(persons: int, each: int) -> None:
    """100 samples: of 7 % misses by rights 24 or more once in 1e7 times; by row, half miss."""
    rng, missed = np.random.default_rng(0), {"persons": 0, "rows": 0}
    for _ in range(100):
        own = rng.standard_normal(persons).repeat(each)
        below = np.ones(len(own))
        above = 0.3 + 0.3 * own + 0.1 * rng.standard_normal(len(own))
        whose = {"persons": np.arange(persons).repeat(each), "rows": np.arange(len(own))}
        for by, who in whose.items():
            _, (low, high) = resample.ratio(above, below, who, 0.95, rng)
            missed[by] += not low <= 0.3 <= high
    assert missed["persons"] < 24 < missed["rows"]


def test_persons_who_are_all_alike_keep_a_width() -> None:
    """Of 20 persons who were all recovered, 16.8 in 100 of all may be of another kind."""
    one = np.ones(40)
    value, (low, high) = resample.ratio(
        one, one, np.arange(20).repeat(2), 0.95, np.random.default_rng(0)
    )
    assert value == high == 1.0
    assert low == pytest.approx(0.025 ** (1 / 20))


def test_no_ratio_of_a_part_to_its_whole_has_an_interval_beyond_1() -> None:
    """Of ten persons one is recovered badly; the t distribution alone would reach 1.04."""
    whole = np.linspace(0.5, 1.5, 10)
    part = whole * np.where(np.arange(10) == 0, 0.1, 0.98)
    value, (low, high) = resample.ratio(part, whole, np.arange(10), 0.95, np.random.default_rng(0))
    assert low < value < high == 1.0


def test_few_persons_have_no_interval() -> None:
    one = np.ones(90)
    with pytest.raises(InputError, match="9 persons are too few"):
        resample.ratio(one, one, np.arange(9).repeat(10), 0.95, np.random.default_rng(0))
