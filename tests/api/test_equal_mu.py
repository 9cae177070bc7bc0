"""Any method at the mu that was asked for: found from either side, never above it."""

from __future__ import annotations

import math
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import pytest

from sfumato.api.equal_mu import at_mu, within
from sfumato.errors import InputError


def method(own: Callable[[float], float | None]) -> Callable[[float], Any]:
    """A run at an epsilon, whose guarantee has the mu that ``own`` says."""

    def calibrated(epsilon: float) -> Any:
        return SimpleNamespace(
            epsilon=epsilon, guarantee=SimpleNamespace(gdp_mu=lambda: own(epsilon))
        )

    return calibrated


@pytest.mark.parametrize("factor", [0.31, 0.9, 1.0, 1.1, 3.0, 40.0])
def test_the_mu_is_met_and_never_passed(factor: float) -> None:
    """From where a Gaussian would begin, whatever a method makes of epsilon."""
    made: Any = at_mu(method(lambda epsilon: factor * epsilon**0.8), 0.5, 2.0)
    assert made.guarantee.gdp_mu() == pytest.approx(0.5, rel=1.1e-3)
    assert within(made.guarantee.gdp_mu(), 0.5)


def test_a_mu_that_jumps_stays_below_what_was_asked_for() -> None:
    made: Any = at_mu(method(lambda epsilon: math.floor(4 * epsilon) / 4 + 0.1), 1.0, 3.0)
    assert made.guarantee.gdp_mu() == pytest.approx(0.85)


def test_what_has_no_mu_stays_at_its_epsilon() -> None:
    made: Any = at_mu(method(lambda epsilon: None), 1.0, 3.0)
    assert made.epsilon == 3.0
    assert not within(None, 1.0)


def test_an_epsilon_at_which_there_is_no_mu_is_too_large() -> None:
    made: Any = at_mu(method(lambda epsilon: epsilon if epsilon < 9 else None), 6.0, 40.0)
    assert made.guarantee.gdp_mu() == pytest.approx(6.0, rel=1e-3)


def test_what_never_comes_down_to_it_is_refused() -> None:
    with pytest.raises(InputError, match="is mu 0"):
        at_mu(method(lambda epsilon: 1.0 + epsilon), 0.5, 2.0)


def test_a_smaller_mu_is_no_reason_to_pass_the_epsilon_of_a_gaussian() -> None:
    made: Any = at_mu(method(lambda epsilon: epsilon / 100), 0.5, 2.0)
    assert made.epsilon == 2.0
