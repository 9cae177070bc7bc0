from __future__ import annotations

from bisect import bisect_right
from itertools import accumulate

import numpy as np
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from sfumato.privacy.noise import SeededSource
from sfumato.privacy.noise.table import WHOLE, Table

RATIOS = st.lists(st.integers(0, 1 << 100), min_size=1, max_size=40).filter(any)
EDGES = (0, (1 << 64) - 1)


def oracle(table: Table, word: int, low: int) -> int:
    """The outcome of 128 bits: the one whose interval they fall in."""
    starts = [0, *accumulate(table.weights)][:-1]
    return bisect_right(starts, (word << 64) | low) - 1


class Hasty(Table):
    """Planted defect: the leading bits of a word decide, and what they leave open is guessed."""

    def _look_up(self, words, source):
        return np.maximum(self._guide[(words >> self._shift).astype(np.intp)], 0).astype(np.int64)


@given(RATIOS)
@settings(max_examples=200, deadline=None)
def test_weights_are_whole_sum_to_one_and_are_off_by_less_than_a_unit(ratios: list[int]) -> None:
    table, total = Table(ratios), sum(ratios)
    assert sum(table.weights) == WHOLE
    assert len(table) == len(ratios)
    for weight, ratio in zip(table.weights, ratios, strict=True):
        assert abs(weight * total - ratio * WHOLE) < total
        assert weight == 0 or ratio > 0


def words_at_borders(table: Table) -> list[int]:
    starts = [start >> 64 for start in accumulate(table.weights)][:-1]
    near = {min(max(word + by, 0), EDGES[1]) for word in starts for by in (-1, 0, 1)}
    return sorted(near | set(EDGES))


def mismatches(table: Table, scripted, low: int) -> int:
    wrong = 0
    for word in words_at_borders(table):
        source = scripted([word, low])
        wrong += int(table.sample(1, source)[0]) != oracle(table, word, low)
    return wrong


@given(RATIOS, st.integers(0, (1 << 64) - 1))
@settings(
    max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
def test_each_word_gives_the_outcome_that_its_128_bits_fall_in(
    scripted, ratios: list[int], low: int
) -> None:
    assert mismatches(Table(ratios), scripted, low) == 0


def test_planted_a_table_that_guesses_at_borders_is_caught(scripted) -> None:
    assert mismatches(Hasty([3, 5, 0, 11]), scripted, 0) > 0


def test_a_second_word_is_read_only_on_a_border(scripted) -> None:
    table = Table([1, 2])  # the border, 2**128 / 3, is no multiple of 2**64
    border = (WHOLE // 3) >> 64
    source = scripted([border - 1, 7])
    assert table.sample(1, source)[0] == 0
    assert source.words == [7]
    low = (WHOLE // 3) & EDGES[1]
    assert table.sample(1, scripted([border, low - 1]))[0] == 0
    assert table.sample(1, scripted([border, low]))[0] == 1


def test_draws_follow_the_weights_and_impossible_outcomes_never_come(fits) -> None:
    ratios = np.array([5, 0, 1, 0, 0, 300, 7, 0])
    table = Table(ratios.tolist())
    draws = table.sample(300_000, SeededSource(1))
    assert np.allclose(table.probabilities, ratios / ratios.sum(), atol=1e-15)
    assert not set(draws) & {1, 3, 4, 7}

    def mass(values: np.ndarray) -> np.ndarray:
        inside = (values >= 0) & (values < len(ratios))
        return np.where(inside, table.probabilities[np.where(inside, values, 0)], 0.0)

    assert fits(draws, mass)
    assert not fits((draws + 1) % 8, mass)  # planted: every outcome off by one


def test_a_table_of_one_outcome_and_a_sample_of_none() -> None:
    assert Table([9]).sample(100, SeededSource(1)).tolist() == [0] * 100
    assert Table([1, 1]).sample(0, SeededSource(1)).shape == (0,)
