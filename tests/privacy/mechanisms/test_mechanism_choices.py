"""ExponentialMechanism and NoisyMax: one of many."""

from __future__ import annotations

import math
from decimal import Decimal
from itertools import permutations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sfumato.errors import InputError
from sfumato.privacy import accounting
from sfumato.privacy.mechanisms import ExponentialMechanism, NoisyMax
from sfumato.privacy.mechanisms.exponential import WORST_GAP, integer_below
from sfumato.privacy.neighbours import Neighbours
from sfumato.privacy.noise import SECURE, SeededSource

SCORES = np.array([3.0, 1.0, 2.5, -1.0])
MAKERS = [ExponentialMechanism, NoisyMax]
N = 20_000


def exponential_law(scores: np.ndarray, epsilon: float, sensitivity: float) -> np.ndarray:
    weights = np.exp(epsilon * (scores - scores.max()) / (2 * sensitivity))
    return weights / weights.sum()


def permute_and_flip_law(scores: np.ndarray, epsilon: float, sensitivity: float) -> np.ndarray:
    """Summed over all orders."""
    heads = np.exp(epsilon * (scores - scores.max()) / (2 * sensitivity))
    law = np.zeros(len(scores))
    for order in permutations(range(len(scores))):
        reached = 1.0
        for candidate in order:
            law[candidate] += reached * heads[candidate]
            reached *= 1 - heads[candidate]
    return law / math.factorial(len(scores))


LAWS = {ExponentialMechanism: exponential_law, NoisyMax: permute_and_flip_law}


def chosen(mechanism, scores: np.ndarray, source=None) -> np.ndarray:
    source = SeededSource(1) if source is None else source
    return np.bincount([mechanism.select(scores, source) for _ in range(N)], minlength=len(scores))


@pytest.mark.parametrize("make", MAKERS)
@pytest.mark.parametrize(("epsilon", "sensitivity"), [(1.0, 1.0), (4.0, 2.5)])
def test_candidates_are_chosen_as_often_as_the_law_says(make, epsilon, sensitivity, near) -> None:
    counts = chosen(make(epsilon, sensitivity), SCORES)
    assert near(counts, LAWS[make](SCORES, epsilon, sensitivity))
    # Planted: the factor of two forgotten.
    assert not near(counts, LAWS[make](SCORES, 2 * epsilon, sensitivity))
    assert not near(counts, LAWS[make](SCORES, epsilon, 2 * sensitivity))


def test_noisy_max_agrees_with_that_of_opendp(near) -> None:
    import opendp.prelude as dp

    dp.enable_features("contrib")
    space = dp.vector_domain(dp.atom_domain(T="f64", nan=False)), dp.linf_distance(T="f64")
    theirs = dp.m.make_noisy_max(*space, dp.max_divergence(), scale=2.0)
    epsilon = theirs.map(1.0)
    counts = np.bincount([theirs(SCORES.tolist()) for _ in range(4000)], minlength=4)
    assert epsilon == pytest.approx(1.0)
    # Theirs follows the law that ours does (above), and not that of another epsilon.
    assert near(counts, permute_and_flip_law(SCORES, 1.0, 1.0))
    assert not near(counts, permute_and_flip_law(SCORES, 2.0, 1.0))


SCORE = st.floats(-1e6, 1e6)


@given(
    st.lists(st.tuples(SCORE, st.floats(-1, 1)), min_size=1, max_size=12),
    st.floats(0.01, 20.0),
    st.floats(0.01, 100.0),
)
@settings(max_examples=200, deadline=None)
def test_the_weights_as_drawn_differ_by_at_most_epsilon(pairs, epsilon, sensitivity) -> None:
    """Any scores, each moved by no more than the sensitivity."""
    mechanism = ExponentialMechanism(epsilon, sensitivity)
    scores = np.array([score for score, _ in pairs])
    moved = scores + np.array([by for _, by in pairs]) * sensitivity
    moved = np.clip(moved, scores - sensitivity, scores + sensitivity)
    # Sums in floats are off by their rounding; that is the caller's, and is allowed for here.
    rounding = float(np.spacing(np.abs(np.concatenate([scores, moved])).max()) / sensitivity)
    p, q = mechanism.weights(scores), mechanism.weights(moved)
    for a, b in zip(p, q, strict=True):
        loss = abs(math.log(a) - math.log(sum(p)) - math.log(b) + math.log(sum(q)))
        assert loss <= epsilon * (1 + 2 * rounding) + 1e-12


def test_the_loss_reaches_epsilon_and_not_half_of_it() -> None:
    mechanism = ExponentialMechanism(1.0, 1.0)
    k = 100_000
    up, down = np.zeros(k), np.zeros(k)
    up[0], down[0], down[1:] = 1.0, 0.0, 1.0
    p, q = (mechanism.weights(s) for s in (up, down))
    loss = math.log(p[0] / sum(p)) - math.log(q[0] / sum(q))
    assert 0.999 < loss <= 1.0


@pytest.mark.parametrize("make", MAKERS)
def test_hopeless_candidates_keep_the_probability_of_the_worst_gap(make) -> None:
    mechanism = make(1.0, 1e-300)
    assert mechanism.select([0.0, -1e300, 1e308, -1e308], SECURE) == 2
    if make is ExponentialMechanism:
        worst, best = mechanism.weights([-1e308, 1e308])
        assert worst > 0
        assert worst / best == pytest.approx(math.exp(-WORST_GAP))


@pytest.mark.parametrize("make", MAKERS)
def test_the_only_candidate_is_chosen_and_equals_are_chosen_equally(make, near) -> None:
    assert make(0.1, 1.0).select([5], SECURE) == 0
    counts = chosen(make(3.0, 1.0), np.full(3, 7.0))
    assert near(counts, np.full(3, 1 / 3))
    assert not near(np.array([N, 0, 0]), np.full(3, 1 / 3))  # planted: the first of equals


@pytest.mark.parametrize("neighbours", list(Neighbours))
@pytest.mark.parametrize("make", MAKERS)
def test_the_event_is_pure_under_the_relation_of_the_sensitivity(make, neighbours) -> None:
    event = make(0.7, 1.0, neighbours).event
    assert accounting.epsilon(event, 0.0, neighbours) == 0.7


def test_coins_too_close_to_call_are_decided_to_384_bits(scripted) -> None:
    mechanism = NoisyMax(1.0, 0.5)
    threshold = (Decimal(-1) * (1 - Decimal(2) ** -48)).exp() * 2**64
    word = int(threshold)  # the 64 leading bits: floats cannot tell
    low = int((threshold - word) * 2**20) << 44  # the leading 20 bits of what follows, roughly
    after = [0, 0, 0, 0]

    def heads(first: int, second: int) -> bool:
        # Bytes are little-endian: the last of the five words that follow is the highest.
        return mechanism._heads(1.0, 0.0, scripted([first, *after, second]))

    assert heads(word, 0)
    assert not heads(word, (1 << 64) - 1)
    assert heads(word, low - (1 << 50))
    assert not heads(word, low + (1 << 50))
    assert heads(word - 1, (1 << 64) - 1)
    assert not heads(word + 1, 0)


def test_big_integers_are_uniform_and_below_the_bound(scripted, near) -> None:
    source = SeededSource(3)
    high = 5 * 10**30
    drawn = [integer_below(high, source) for _ in range(N)]
    assert max(drawn) < high
    assert near(np.bincount([5 * d // high for d in drawn], minlength=5), np.full(5, 0.2))
    # 4 needs three bits: 7 and 5 are rejected, 2 is taken.
    assert integer_below(5, scripted([7 << 5, 5 << 5, 2 << 5])) == 2


@pytest.mark.parametrize("make", MAKERS)
@pytest.mark.parametrize(
    ("scores", "named"),
    [
        ([], r"shape \(0,\)"),
        ([[1.0]], r"shape \(1, 1\)"),
        ([0.0, math.nan], r"nan at \[1\]"),
        ([math.inf], "inf"),
        (["a"], "type"),
        ([2**53 + 1, 0], "beyond"),
    ],
)
def test_scores_that_are_none_are_refused(make, scores, named) -> None:
    with pytest.raises(InputError, match=named):
        make(1.0, 1.0).select(scores)


@pytest.mark.parametrize("make", MAKERS)
@pytest.mark.parametrize("bad", [0, -1.0, math.nan, math.inf, "1"])
def test_settings_out_of_range_are_refused(make, bad) -> None:
    with pytest.raises(InputError, match=f"epsilon is .*{bad}"):
        make(bad, 1.0)
    with pytest.raises(InputError, match=f"sensitivity is .*{bad}"):
        make(1.0, bad)
