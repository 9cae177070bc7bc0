from __future__ import annotations

import math
import operator
from decimal import Context, Decimal, localcontext
from itertools import accumulate

import numpy as np
import pytest

from sfumato.errors import InputError
from sfumato.privacy.noise import SECURE, SeededSource, discrete_laplace
from sfumato.privacy.noise import laplace as module
from sfumato.privacy.noise.laplace import MAX_SCALE, MIN_SCALE, coins, privacy_loss
from sfumato.privacy.noise.table import Table

SCALES = [MIN_SCALE, 0.1, 1.0, 2.5, 100.0, 1477.0, 1500.0, 1e5, 7e6, 1e10, MAX_SCALE]


def mass(scale: float):
    return lambda x: math.tanh(0.5 / scale) * np.exp(-np.abs(x) / scale)


@pytest.mark.parametrize("scale", SCALES)
@pytest.mark.parametrize("shift", [1, 2, 37, 10**4, 10**9])
def test_the_loss_of_the_tables_in_use_is_at_most_the_claim(scale: float, shift: int) -> None:
    loss = privacy_loss(scale, shift)
    assert loss <= shift / scale
    assert loss >= shift / scale * (1 - 1e-14)
    assert privacy_loss(scale, -shift) == loss


def largest_loss(table: Table, block: int, shift: int) -> float:
    """The largest ``|log P(m) - log P(m + shift)|`` of magnitudes, from the integers themselves.

    Nothing here comes from the module under test but the table: magnitudes are the table's
    outcomes, and whatever lies beyond the block continues with the last outcome's probability.
    """
    weights = [Decimal(w) / (1 << 128) for w in table.weights]
    assert len(weights) in (block, block + 1)
    on = weights[block] if len(weights) > block else Decimal(0)
    with localcontext(Context(prec=60)):
        powers = [Decimal(1), *accumulate([on] * (shift // block + 3), operator.mul)]
        p = [weights[m % block] * powers[m // block] for m in range(3 * block + shift)]
        if min(p) == 0:
            return math.inf
        return float(max(abs((b / a).ln()) for a, b in zip(p, p[shift:], strict=False)))


@pytest.mark.parametrize("scale", [MIN_SCALE, 0.7, 3.0, 40.0])
def test_the_loss_recomputed_from_the_tables_integers_is_at_most_the_claim(scale: float) -> None:
    tables = module._tables(scale)
    assert tables.digits == ()
    for shift in (1, 3, 50):
        loss = largest_loss(tables.top, tables.block, shift)
        assert loss <= shift / scale
        assert loss == pytest.approx(shift / scale, rel=1e-12)


def test_planted_a_table_whose_tail_is_cut_loses_everything() -> None:
    block = module._tables(3.0).block
    cut, _ = module._geometric_table(Decimal(3), block, go_on=False)
    assert largest_loss(cut, block, 1) == math.inf


def test_planted_probabilities_of_32_bits_break_the_claim(monkeypatch) -> None:
    ratios = [round(math.exp(-m / 40) * 2**32) >> 12 << 12 for m in range(444)]
    rough = Table([*ratios, max(1, sum(ratios) >> 16)])
    assert largest_loss(rough, 444, 1) > 1 / 40


@pytest.mark.parametrize("scale", [1500.0, 1e5, 1e9])
def test_digits_together_are_a_geometric_distribution(scale: float) -> None:
    """P(m) of the tables' digits against the formula, at magnitudes all over the range."""
    tables = module._tables(scale)
    assert tables.digits
    for m in [0, 1, 4095, 4096, 5000, int(scale), int(20 * scale), int(30 * scale) + 3]:
        probability, rest = 1.0, m
        for digit in tables.digits[::-1]:
            probability *= float(digit.probabilities[rest % 4096])
            rest //= 4096
        goes_on = float(tables.top.probabilities[-1])
        probability *= goes_on ** (rest // tables.block)
        probability *= float(tables.top.probabilities[rest % tables.block])
        ideal = -math.expm1(-1 / scale) * math.exp(-m / scale)
        assert probability == pytest.approx(ideal, rel=1e-9)


@pytest.mark.parametrize("scale", [MIN_SCALE, 0.5, 2.0, 50.0, 1600.0, 1e5])
def test_draws_follow_the_formula(scale: float, fits) -> None:
    draws = discrete_laplace(scale, 400_000, SeededSource(1))
    assert fits(draws, mass(scale))
    if scale >= 0.5:
        wrong = discrete_laplace(scale * math.sqrt(2), 400_000, SeededSource(2))
        assert not fits(wrong, mass(scale))  # planted: a scale taken for a standard deviation
        assert not fits(np.abs(draws), mass(scale))  # planted: no sign
        assert not fits(np.full(400_000, draws[0]), mass(scale))  # planted: one draw for all


@pytest.mark.parametrize("scale", [0.8, 25.0, 4000.0])
def test_draws_agree_with_those_of_opendp(scale: float, agree) -> None:
    import opendp.prelude as dp

    dp.enable_features("contrib")
    space = dp.vector_domain(dp.atom_domain(T="i64")), dp.l1_distance(T="i64")
    theirs = np.array(dp.m.make_laplace(*space, scale)([0] * 60_000))
    assert agree(discrete_laplace(scale, 400_000, SECURE), theirs)
    wrong = discrete_laplace(scale * math.sqrt(2), 400_000, SeededSource(2))
    assert not agree(wrong, theirs)


def test_going_on_adds_a_block(scripted) -> None:
    tables = module._tables(2.0)
    # All ones fall in the last outcome; zero is the first.
    assert tables.sample(1, scripted([(1 << 64) - 1, (1 << 64) - 1, 0]))[0] == 2 * tables.block


def test_a_negative_zero_is_drawn_again(scripted) -> None:
    # Words: magnitude 0; sign bit set; magnitude 0; sign bit clear.
    drawn = discrete_laplace(2.0, 1, scripted([0, 0x80, 0, 0]))
    assert drawn.tolist() == [0]


def test_each_draw_is_independent_of_its_neighbour() -> None:
    draws = discrete_laplace(30.0, 200_000, SeededSource(3)).astype(float)
    correlation = np.corrcoef(draws[:-1], draws[1:])[0, 1]
    assert abs(correlation) < 4.9 / math.sqrt(len(draws))  # false alarm 1e-6
    shared = np.repeat(draws[::2], 2)  # planted: a draw used twice
    assert abs(np.corrcoef(shared[:-1], shared[1:])[0, 1]) > 4.9 / math.sqrt(len(draws))


def test_coins_are_fair_and_as_many_as_asked_for() -> None:
    assert coins(0, SECURE).shape == (0,)
    assert coins(13, SECURE).dtype == np.bool_
    # Beyond 5.1 standard deviations with probability 4e-7.
    assert abs(coins(100_000, SECURE).sum() - 50_000) < 5.1 * math.sqrt(25_000)


def test_no_draws_are_an_empty_array() -> None:
    assert discrete_laplace(1.0, 0, SECURE).shape == (0,)


@pytest.mark.parametrize("scale", [0, -1.0, float("nan"), float("inf"), 0.01, 1e15])
def test_a_scale_out_of_range_is_refused(scale: float) -> None:
    with pytest.raises(InputError, match=r"scale is"):
        discrete_laplace(scale, 1, SECURE)


def test_weights_add_up_in_every_table() -> None:
    for scale in SCALES:
        tables = module._tables(scale)
        for table in (*tables.digits, tables.top):
            assert list(accumulate(table.weights))[-1] == 1 << 128
            assert min(table.weights) > 1 << 64  # nothing is rare enough to be rounded away
