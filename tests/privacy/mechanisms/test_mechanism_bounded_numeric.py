from __future__ import annotations

import math
from collections.abc import Callable
from fractions import Fraction

import numpy as np
import pytest

from sfumato.errors import InputError
from sfumato.privacy import accounting
from sfumato.privacy.mechanisms import BoundedNumeric
from sfumato.privacy.neighbours import Neighbours
from sfumato.privacy.noise import SeededSource
from sfumato.privacy.noise.table import WHOLE

SIZES = (2, 3, 8, 101, 10_000)
EPSILONS = (0.05, 1.0, 4.0, 12.0)
N = 200_000


def cell_chances(made: BoundedNumeric) -> tuple[Fraction, Fraction]:
    """Exact probability of a cell inside the window and of one outside."""
    beyond, uniform = (Fraction(weight, WHOLE) for weight in made._table.weights)
    outside = uniform / made.cells
    return outside + beyond / made.window, outside


@pytest.mark.parametrize("cardinality", SIZES)
@pytest.mark.parametrize("epsilon", EPSILONS)
def test_no_cell_is_likelier_than_epsilon_allows_for_any_two_codes(
    cardinality: int, epsilon: float
) -> None:
    """A cell is inside a code's window or not: there are two probabilities, whatever the code."""
    made = BoundedNumeric(cardinality, epsilon, "piecewise")
    inside, outside = cell_chances(made)
    assert inside * made.window + outside * (made.cells - made.window) == 1
    assert math.log(inside / outside) <= epsilon
    assert math.log(inside / outside) == pytest.approx(epsilon, rel=1e-9)


@pytest.mark.parametrize("cardinality", SIZES)
@pytest.mark.parametrize("epsilon", EPSILONS)
def test_duchi_reports_a_bit_that_keeps_epsilon(cardinality: int, epsilon: float) -> None:
    made = BoundedNumeric(cardinality, epsilon, "duchi")
    high = made.end_probability
    assert math.log(high / (1 - high)) <= epsilon * (1 + 1e-12)
    assert math.log(high / (1 - high)) == pytest.approx(epsilon, rel=1e-6)


@pytest.mark.parametrize("shape", ["piecewise", "duchi"])
@pytest.mark.parametrize("cardinality", SIZES)
@pytest.mark.parametrize("epsilon", EPSILONS)
def test_the_event_claims_epsilon(shape, cardinality: int, epsilon: float) -> None:
    made = BoundedNumeric(cardinality, epsilon, shape)
    claim = accounting.epsilon(made.event, 0.0, Neighbours.REPLACE_ONE)
    assert claim <= epsilon
    assert claim == pytest.approx(epsilon, rel=1e-9)


@pytest.mark.parametrize("shape", ["piecewise", "duchi"])
@pytest.mark.parametrize("code", [0, 30, 100])
def test_two_codes_are_no_easier_to_tell_apart_than_claimed(
    shape, code: int, audit: Callable[..., float]
) -> None:
    made = BoundedNumeric(101, 1.5, shape)
    one, other = (
        made.randomise(np.full(N, value), SeededSource(value)) for value in (code, 100 - code)
    )
    assert audit(one, other) <= 1.5


@pytest.mark.parametrize("code", [0, 7, 50, 100])
@pytest.mark.parametrize("epsilon", [0.5, 2.0, 6.0])
def test_duchi_keeps_the_mean(code: int, epsilon: float) -> None:
    """Six standard errors of a bit: 2e-9 a case."""
    made = BoundedNumeric(101, epsilon, "duchi")
    reports = made.randomise(np.full(N, code), SeededSource(3))
    assert set(np.unique(reports)) <= {0, 100}
    shrunk = (2 * made.end_probability - 1) * (code / 100 - 0.5) + 0.5
    assert abs(reports.mean() / 100 - shrunk) < 6 * 0.5 / math.sqrt(N)


@pytest.mark.parametrize("code", [0, 7, 50, 100])
@pytest.mark.parametrize("epsilon", [0.5, 2.0, 6.0])
def test_a_window_starts_where_its_code_puts_it_and_everything_else_is_uniform(
    code: int, epsilon: float
) -> None:
    """Six standard errors a count."""
    made = BoundedNumeric(101, epsilon, "piecewise")
    cells = made._cells(np.full(N, code), SeededSource(4))
    start = math.floor(code * (made.cells - made.window) / 100 + 0.5)
    inside = (cells >= start) & (cells < start + made.window)
    p = made.window_probability
    assert abs(inside.mean() - p) < 6 * math.sqrt(p * (1 - p) / N)
    within = cells[inside] - start
    assert abs(within.mean() - (made.window - 1) / 2) < 6 * made.window / math.sqrt(12 * N * p)


def test_piecewise_reports_are_nearer_than_laplace_ones_at_a_large_epsilon() -> None:
    """What the mechanism is for: less variance than Laplace noise (Wang et al., figure 1)."""
    from sfumato.privacy.mechanisms import LocalNumeric

    codes = np.full(N, 50)
    spread = {
        name: np.std(made.randomise(codes, SeededSource(5)).astype(float))
        for name, made in (
            ("piecewise", BoundedNumeric(101, 6.0)),
            ("laplace", LocalNumeric(101, 6.0)),
        )
    }
    assert spread["piecewise"] < 0.7 * spread["laplace"]


def test_planted_one_window_for_all_codes_of_another_width_is_caught() -> None:
    """A window that is wider for some codes has another normaliser: the ratio is above epsilon."""
    made = BoundedNumeric(101, 1.0)
    _, outside = cell_chances(made)
    half = made.window // 2
    # The same mass on half of the cells.
    narrower = Fraction(made._table.weights[0], WHOLE) / half + outside
    assert math.log(narrower / outside) > 1.0


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"cardinality": 1}, "cardinality"),
        ({"epsilon": 0.0}, "epsilon"),
        ({"epsilon": 81.0}, "epsilon"),
        ({"shape": "round"}, "shape"),
        ({"cardinality": 2**31, "epsilon": 1e-10}, "cells"),
    ],
)
def test_what_cannot_be_is_refused(given, message: str) -> None:
    with pytest.raises(InputError, match=message):
        BoundedNumeric(**({"cardinality": 5, "epsilon": 1.0} | given))


def test_codes_outside_the_grid_are_refused() -> None:
    with pytest.raises(InputError, match=r"outside 0\.\.4"):
        BoundedNumeric(5, 1.0).randomise(np.array([5]), SeededSource(0))
