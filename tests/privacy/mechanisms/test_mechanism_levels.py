"""RandomizedResponse and UnaryEncoding: reports on levels."""

from __future__ import annotations

import math
from itertools import product

import numpy as np
import pytest

from sfumato.errors import InputError
from sfumato.privacy import accounting
from sfumato.privacy.mechanisms import RandomizedResponse, UnaryEncoding
from sfumato.privacy.neighbours import Neighbours
from sfumato.privacy.noise import SECURE, SeededSource

N = 200_000
MAKERS = [RandomizedResponse, UnaryEncoding]


# P(truth) at k = 2 / 10 / 100, to the digits printed (0.1548 is printed as .16).
@pytest.mark.parametrize(
    ("epsilon", "printed"),
    [
        (0.5, (".62", ".16", ".016")),
        (1.0, (".73", ".23", ".027")),
        (2.0, (".88", ".45", ".069")),
        (4.0, (".98", ".86", ".36")),
        (8.0, ("1.00", ".997", ".968")),
        (16.0, ("1.00", "1.00", "1.00")),
    ],
)
def test_truth_probabilities_are_those_of_the_printed_table(epsilon, printed) -> None:
    for levels, figure in zip((2, 10, 100), printed, strict=True):
        truth = RandomizedResponse(levels, epsilon).truth_probability
        assert truth == pytest.approx(
            math.exp(epsilon) / (math.exp(epsilon) + levels - 1), rel=1e-9
        )
        assert abs(truth - float(figure)) < 0.55 * 10.0 ** -len(figure.split(".")[1])


@pytest.mark.parametrize(
    ("levels", "epsilon"), [(2, 0.1), (5, 1.0), (100, 8.0), (3, 40.0), (7, 80.0)]
)
def test_the_bits_of_randomised_response_as_drawn_cost_at_most_epsilon(levels, epsilon) -> None:
    from decimal import Context, Decimal, localcontext

    mechanism = RandomizedResponse(levels, epsilon)
    keep, noise = mechanism._table.weights
    with localcontext(Context(prec=60)):
        odds = (Decimal(keep) + Decimal(noise) / levels) / (Decimal(noise) / levels)
        assert odds.ln() <= Decimal(epsilon)
        assert float(odds.ln()) == pytest.approx(epsilon, rel=1e-3 if epsilon > 70 else 1e-12)
    spent = accounting.epsilon(mechanism.event, 0.0, Neighbours.REPLACE_ONE)
    assert spent <= epsilon
    assert mechanism.event.num_buckets == levels


@pytest.mark.parametrize(
    ("levels", "epsilon"), [(2, 0.1), (5, 1.0), (100, 8.0), (3, 40.0), (7, 80.0)]
)
def test_the_bits_of_unary_encoding_as_drawn_cost_at_most_epsilon(levels, epsilon) -> None:
    from decimal import Context, Decimal, localcontext

    mechanism = UnaryEncoding(levels, epsilon)
    unset, set_ = mechanism._table.weights
    with localcontext(Context(prec=60)):
        # Own bit: a fair coin. The worst two values differ in two bits: (1/2)/q times (1-q)/(1/2).
        odds = Decimal(unset) / Decimal(set_)
        assert odds.ln() <= Decimal(epsilon)
        assert float(odds.ln()) == pytest.approx(epsilon, rel=1e-3 if epsilon > 70 else 1e-12)
    spent = accounting.epsilon(mechanism.event, 0.0, Neighbours.REPLACE_ONE)
    assert spent == epsilon


def test_the_odds_of_every_row_of_bits_are_within_epsilon() -> None:
    """All 2**4 reports of all pairs of values, by the probabilities in use."""
    mechanism = UnaryEncoding(4, 1.2)
    q = mechanism.set_probability
    worst = 0.0
    for report in product((0, 1), repeat=4):
        p = [
            math.prod(
                0.5 if level == value else (q if bit else 1 - q) for level, bit in enumerate(report)
            )
            for value in range(4)
        ]
        worst = max(worst, math.log(max(p) / min(p)))
    assert worst == pytest.approx(1.2, rel=1e-12)


@pytest.mark.parametrize("make", MAKERS)
@pytest.mark.parametrize(("levels", "epsilon"), [(2, 0.5), (6, 1.5), (40, 3.0)])
def test_reports_are_true_as_often_as_is_said_and_else_uniform(make, levels, epsilon, near) -> None:
    mechanism = make(levels, epsilon)
    counts = np.bincount(mechanism.randomise(np.full(N, 1), SeededSource(1)), minlength=levels)
    truth = mechanism.truth_probability
    expected = np.full(levels, (1 - truth) / (levels - 1))
    expected[1] = truth
    assert near(counts, expected)
    assert not near(np.roll(counts, 1), expected)  # planted: the wrong level is favoured


@pytest.mark.parametrize("make", MAKERS)
def test_audits_of_two_levels_stay_below_the_claim(make, audit) -> None:
    mechanism = make(3, 1.0)
    a, b = (mechanism.randomise(np.full(N, v), SeededSource(v)) for v in (0, 2))
    bound = audit(a, b)
    assert bound <= 1.0
    bold = make(3, 2.0)  # planted: twice the epsilon that is claimed
    a, b = (bold.randomise(np.full(N, v), SeededSource(v)) for v in (0, 2))
    if make is RandomizedResponse:
        assert bound > 0.9
        assert audit(a, b) > 1.0
    a, b = (UnaryEncoding(3, 2.0).bits(np.full(N, v), SeededSource(v)) for v in (0, 2))
    # The two bits that differ, read as one number: the audit sees the whole of epsilon.
    assert 1.0 < audit(2 * a[:, 0] - a[:, 2] * 1.0, 2 * b[:, 0] - b[:, 2] * 1.0) <= 2.0


def test_bits_are_set_as_often_as_is_said(near) -> None:
    mechanism = UnaryEncoding(5, 1.0)
    bits = mechanism.bits(np.full(N, 3), SeededSource(2))
    assert bits.shape == (N, 5)
    for level in range(5):
        p = 0.5 if level == 3 else 1 / (math.e + 1)
        seen = int(bits[:, level].sum())
        assert near(np.array([seen, N - seen]), np.array([p, 1 - p]))
        assert not near(np.array([seen, N - seen]), np.array([1 - p, p])) or p == 0.5


@pytest.mark.parametrize("make", MAKERS)
def test_every_row_gets_a_draw_of_its_own(make, independent) -> None:
    mechanism = make(4, 0.5)
    reports = mechanism.randomise(np.zeros(120_000, np.int64), SeededSource(3)).reshape(-1, 6)
    assert independent(reports)
    assert not independent(np.repeat(reports[:, :1], 6, axis=1))  # planted: one draw for all rows
    assert independent(UnaryEncoding(4, 0.5).bits(np.zeros(20_000, np.int64), SeededSource(4)))


@pytest.mark.parametrize("make", MAKERS)
def test_a_row_does_not_change_what_others_report(make) -> None:
    mechanism = make(9, 1.0)
    codes = np.arange(1000) % 9
    other = codes.copy()
    other[500] = (codes[500] + 4) % 9
    a, b = (mechanism.randomise(c, SeededSource(5)) for c in (codes, other))
    assert np.array_equal(np.delete(a, 500), np.delete(b, 500))
    if make is UnaryEncoding:
        assert np.array_equal(
            mechanism.bits(codes, SeededSource(5))[:500],
            mechanism.bits(other, SeededSource(5))[:500],
        )


def test_counts_are_estimated_without_bias() -> None:
    """Within 5.1 standard deviations (4e-7 each); the raw counts are far outside."""
    codes = np.repeat(np.arange(4), [100_000, 60_000, 30_000, 10_000])
    true = np.bincount(codes).astype(float)
    rr, oue = RandomizedResponse(4, 1.0), UnaryEncoding(4, 1.0)
    counts = np.bincount(rr.randomise(codes, SeededSource(6)), minlength=4)
    slope = 1 - rr.noise_probability
    error = 5.1 * math.sqrt(N / 4) / slope
    assert np.abs(rr.debias(counts) - true).max() < error
    assert np.abs(counts - true).max() > error  # planted: no correction
    assert rr.debias(counts).sum() == pytest.approx(N)
    sums = oue.bits(codes, SeededSource(7)).sum(axis=0)
    error = 5.1 * math.sqrt(N / 4) / (0.5 - oue.set_probability)
    assert np.abs(oue.debias(sums, N) - true).max() < error
    assert np.abs(sums - true).max() > error


def test_a_single_level_out_of_unary_bits_tells_less_than_randomised_response() -> None:
    for levels, epsilon in ((2, 0.5), (10, 1.0), (60, 2.0), (100, 1.0)):
        oue, rr = UnaryEncoding(levels, epsilon), RandomizedResponse(levels, epsilon)
        assert 1 / levels < oue.truth_probability < rr.truth_probability


def test_many_rows_and_levels_are_drawn_in_pieces(monkeypatch) -> None:
    monkeypatch.setattr("sfumato.privacy.mechanisms.unary_encoding._CELLS", 64)
    mechanism = UnaryEncoding(10, 30.0)
    codes = np.arange(50) % 10
    assert mechanism.bits(codes, SeededSource(1)).shape == (50, 10)
    reports = mechanism.randomise(codes, SeededSource(1))
    told = mechanism.bits(codes, SeededSource(1))[np.arange(50), codes]
    # At epsilon 30 no other bit is ever set, so a report is the truth or, with no bit, anything.
    assert np.array_equal(reports[:6][told[:6]], codes[:6][told[:6]])
    assert 15 < (reports == codes).sum() < 45


@pytest.mark.parametrize("make", MAKERS)
def test_no_rows_are_no_reports(make) -> None:
    assert make(3, 1.0).randomise(np.zeros(0, np.int64)).shape == (0,)
    assert make(3, 1.0).randomise([]).shape == (0,)
    assert UnaryEncoding(3, 1.0).bits([]).shape == (0, 3)


@pytest.mark.parametrize("make", MAKERS)
@pytest.mark.parametrize(
    ("codes", "named"),
    [
        ([0, 3], "code 3 in row 1"),
        ([-1], "code -1 in row 0"),
        ([0.0, math.nan], "code nan"),
        ([0.0, 1.5], "code 1.5"),
        ([1.0], "code 1.0"),
        (["a"], "code 'a'"),
        ([[0, 1]], r"shape \(1, 2\)"),
    ],
)
def test_codes_that_are_none_are_refused(make, codes, named) -> None:
    with pytest.raises(InputError, match=named):
        make(3, 1.0).randomise(codes, SECURE)


@pytest.mark.parametrize("make", MAKERS)
def test_parameters_out_of_range_are_refused(make) -> None:
    for epsilon in (0, -1.0, math.nan, math.inf, 81, "1"):
        with pytest.raises(InputError, match=f"epsilon.* is .*{epsilon}"):
            make(3, epsilon)
    for levels in (1, 0, 2.5, True, "3"):
        with pytest.raises(InputError, match=f"levels is .*{levels}"):
            make(levels, 1.0)


def test_sums_of_another_shape_are_refused() -> None:
    with pytest.raises(InputError, match="shape"):
        RandomizedResponse(3, 1.0).debias([1, 2])
    with pytest.raises(InputError, match="shape"):
        UnaryEncoding(3, 1.0).debias([1, 2], 10)
