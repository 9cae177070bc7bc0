"""Risk beyond a control: the figure, its interval and its ceiling."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.stats import binom

from sfumato.attack import controlled
from sfumato.attack.ceilings import Ceiling
from sfumato.attack.controlled import Tries
from sfumato.measure import intervals


@pytest.mark.parametrize(
    ("attack", "control", "expected"),
    [
        (Tries(60, 100), Tries(20, 100), 0.5),
        (Tries(100, 100), Tries(30, 100), 1.0),
        (Tries(30, 100), Tries(30, 100), 0.0),
        (Tries(0, 50), Tries(0, 50), 0.0),
        (Tries(20, 100), Tries(100, 100), 0.0),  # nothing is left to be found
        (Tries(1, 100), Tries(90, 100), -1.0),
    ],
)
def test_the_risk_is_what_the_control_leaves(
    attack: Tries, control: Tries, expected: float
) -> None:
    value, (low, high) = controlled.risk(attack, control, 0.95)
    assert value == pytest.approx(expected)
    assert -1 <= low <= value <= high <= 1


@pytest.mark.parametrize("m", [20, 300])
def test_the_interval_lies_above_zero_where_that_of_the_difference_does(m: int) -> None:
    rng = np.random.default_rng(m)
    agreed = set()
    for _ in range(300):
        a, c = (int(x) for x in rng.binomial(m, rng.uniform(0.01, 0.9, 2)))
        above = controlled.risk(Tries(a, m), Tries(c, m), 0.95)[1][0] > 0
        difference = intervals.difference(a, m, c, m, 0.95)[0] > 0
        assert above == difference, (a, c)
        agreed.add(above)
    assert agreed == {True, False}


@pytest.mark.parametrize("rate", [0.01, 0.2, 0.9])
def test_no_risk_is_found_too_often_where_there_is_none(rate: float) -> None:
    """Exact over all outcomes: equal rates are told apart in at most 2.5 % of cases, upwards."""
    m = 60
    chances = binom.pmf(np.arange(m + 1), m, rate)
    wrong = sum(
        chances[a] * chances[c]
        for a in range(m + 1)
        for c in range(m + 1)
        if chances[a] * chances[c] > 1e-9
        and controlled.risk(Tries(a, m), Tries(c, m), 0.95)[1][0] > 0
    )
    assert wrong <= 0.025


def test_the_ceiling_is_that_of_the_curve_where_the_control_may_be() -> None:
    secret = Ceiling.of_curve(lambda fpr: fpr)
    assert controlled.ceiling_of(secret, Tries(10, 100), 0.95) == pytest.approx(0, abs=1e-9)
    double = Ceiling.of_curve(lambda fpr: min(1.0, 2 * fpr))
    known = intervals.clopper_pearson(10, 100, 0.95)[1]
    found = controlled.ceiling_of(double, Tries(10, 100), 0.95)
    assert found == pytest.approx(known / (1 - known), abs=0.01)
    assert controlled.ceiling_of(None, Tries(1, 2), 0.95) is None
    assert controlled.ceiling_of(double, Tries(9, 9), 0.95) == 1.0


def test_the_protocols_own_estimate_is_wilsons() -> None:
    own = Tries(0, 100).wilson(0.95)
    assert own["rate"] == pytest.approx(own["error"], rel=1e-9)  # it begins at 0
    own = Tries(50, 100).wilson(0.95)
    assert own["rate"] == pytest.approx(0.5)
    assert own["error"] == pytest.approx(0.0960, abs=2e-4)
