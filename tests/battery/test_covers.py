"""Of two transcripts that differ in distance alone the nearer one costs no more."""

from __future__ import annotations

import pytest

from battery.accountant import Parts

NONE = Parts()
NEAR = NONE.sampled(0.2, 0.5, 1.0, 3).gaussian(0.1, 1.0).discrete_laplace(2, 4.0)
FAR = NONE.sampled(0.2, 1.0, 1.0, 3).gaussian(0.2, 1.0).discrete_laplace(3, 4.0)


def test_what_covers_another_costs_no_less() -> None:
    pairs = [
        (FAR, NEAR),
        (NONE.direction(3.0, 5, 1.5, 0.5, 2), NONE.direction(3.0, 5, 1.0, 0.5)),
        (NONE.tilted(0.5, 0.1, 2), NONE.tilted(0.25, 0.1, 2)),
        (NONE.response(0.4, 3, 2), NONE.response(0.4, 3)),
        (NONE.discrete_gaussian(2, 3.0), NONE.discrete_gaussian(1, 3.0)),
    ]
    for dear, cheap in pairs:
        assert dear.covers(cheap)
        assert not cheap.covers(dear)
        assert dear.epsilon(1e-3) >= cheap.epsilon(1e-3) > 0


@pytest.mark.parametrize(
    "other",
    [
        NEAR.sampled(0.2, 0.1, 1.0),  # one step more
        NEAR.laplace(1.0, 100.0),  # noise that was not drawn there
        NONE.sampled(0.3, 0.1, 1.0),  # another rate
        NONE.discrete_laplace(1, 3.0),  # another scale
        NONE.gaussian(0.3, 1.0),
        NONE.discrete_laplace(4, 4.0),
    ],
)
def test_other_draws_are_not_covered(other: Parts) -> None:
    assert not FAR.covers(other)
