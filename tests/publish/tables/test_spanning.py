from __future__ import annotations

from functools import partial

import numpy as np

from sfumato.privacy.mechanisms import NoisyMax
from sfumato.privacy.noise import SeededSource
from sfumato.publish.tables.marginals import Independent
from sfumato.publish.tables.pairs import Pair
from sfumato.publish.tables.spanning import Expected, choose, joining

SURE = NoisyMax(1e6, 1.0)


def test_a_record_moves_a_score_by_at_most_one_and_some_by_one() -> None:
    rng = np.random.default_rng(0)
    one_way = Independent.fit([rng.normal(30, 20, (a, 3)) for a in (4, 5)])
    expected = Expected(one_way, 1.7)
    moved = []
    for _ in range(300):
        counts = rng.poisson(10, (4, 5, 3))
        more = counts.copy()
        more[tuple(rng.integers((4, 5, 3)))] += 1
        moved.append(abs(expected.score((0, 1), more) - expected.score((0, 1), counts)))
    assert max(moved) == 1.0


def test_scores_are_exact_in_floats_for_billions_of_records() -> None:
    """A sum that rounds could move by more than the record's one."""
    one_way = Independent(np.array([3e9]), (np.full((7, 1), 3e9 / 7), np.full((9, 1), 3e9 / 9)))
    expected = Expected(one_way, 0.3)
    counts = np.full((7, 9, 1), 40_000_000, np.int64)
    more = counts.copy()
    more[3, 3, 0] += 1
    assert abs(expected.score((0, 1), more) - expected.score((0, 1), counts)) <= 1.0


def test_independent_features_score_below_zero_and_equal_ones_above() -> None:
    one_way = Independent(np.array([600.0]), (np.full((3, 1), 200.0),) * 2)
    expected = Expected(one_way, 5.0)
    independent = np.full((3, 3, 1), 600 / 9)
    assert expected.score((0, 1), np.rint(independent).astype(int)) < 0
    assert expected.score((0, 1), 200 * np.eye(3, dtype=int)[:, :, np.newaxis]) > 500


def tree(
    features: int, scores: dict[Pair, float], again: list[float], choice: NoisyMax, seed: int = 0
) -> list[Pair | None]:
    joined = partial(joining, scores)
    return choose(features - 1, scores, joined, again, choice, SeededSource(seed))


def test_the_best_pairs_form_a_tree() -> None:
    scores = {(0, 1): 9.0, (1, 2): 8.0, (0, 2): 7.0, (2, 3): 1.0, (0, 3): 2.0, (1, 3): 0.5}
    assert tree(4, scores, [0.0] * 4, SURE) == [(0, 1), (1, 2), (0, 3)]


def test_where_no_pair_is_worth_it_features_are_measured_again() -> None:
    scores = {(0, 1): 9.0, (1, 2): -8.0, (0, 2): -7.0}
    assert tree(3, scores, [1.0] * 3, SURE) == [(0, 1), None]


def test_every_round_is_one_use_of_the_mechanism(monkeypatch) -> None:
    used = []
    select = NoisyMax.select
    monkeypatch.setattr(
        NoisyMax, "select", lambda self, *args: used.append(1) or select(self, *args)
    )
    scores = {(i, j): 0.0 for i in range(6) for j in range(i + 1, 6)}
    for seed in range(20):
        used.clear()
        assert len(tree(6, scores, [0.0] * 6, NoisyMax(0.1, 1.0), seed)) == 5
        assert len(used) == 5


def test_a_feature_is_measured_again_in_its_turn_whatever_was_chosen_between() -> None:
    """Two were: the third feature's gain counts, and it is above the pair."""
    scores = {(0, 1): 5.0}
    before = [None, (1, 2), None]
    args = (scores, lambda chosen: [(0, 1)], [0.0, 0.0, 6.0, 0.0], SURE, SeededSource(0))
    assert choose(2, *args, before=before) == [None, (0, 1)]


def test_pairs_join_parts_and_close_no_circle() -> None:
    pairs = [(i, j) for i in range(5) for j in range(i + 1, 5)]
    assert joining(pairs, []) == pairs
    assert joining(pairs, [(0, 1), (3, 4), (1, 4)]) == [(0, 2), (1, 2), (2, 3), (2, 4)]
