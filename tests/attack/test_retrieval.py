"""Rank-1 and mean average precision, against rankings reckoned by hand."""

from __future__ import annotations

import itertools

import numpy as np
import pytest

from sfumato.attack import reidentify
from sfumato.attack.retrieval import Search, by_guessing, search

Flags = list[list[bool]]


def searched(scores: list[list[float]], right: Flags, there: Flags | None = None) -> Search:
    wanted = np.array(right)
    shown = np.ones_like(wanted) if there is None else np.array(there)
    persons = np.arange(len(scores))
    return search(np.array(scores), wanted, shown, persons, np.random.default_rng(0))


def test_a_ranking_reckoned_by_hand() -> None:
    found = searched(
        [[0.9, 0.2, 0.5, 0.7, 0.1], [0.1, 0.6, 0.3, 0.2, 0.5]],
        # In order of score: right, wrong, right, wrong, right; and wrong, wrong, right, ...
        [[True, False, True, False, True], [False, False, True, False, False]],
    )
    assert found.first.tolist() == [1.0, 0.0]
    assert found.precision.tolist() == pytest.approx([(1 + 2 / 3 + 3 / 5) / 3, 1 / 3])


def test_pictures_that_are_not_in_a_gallery_are_never_found() -> None:
    found = searched([[0.9, 0.8, 0.7]], [[False, False, True]], there=[[False, False, True]])
    assert found.first.tolist() == [1.0]
    assert found.guessed.tolist() == [[1.0, 1.0]]


@pytest.mark.parametrize(("right", "of"), [(1, 1), (1, 4), (2, 5), (3, 3), (4, 6)])
def test_what_guessing_gets_is_the_mean_over_all_orders(right: int, of: int) -> None:
    first, precision = [], []
    for at in itertools.combinations(range(1, of + 1), right):
        first.append(at[0] == 1)
        precision.append(np.mean([(k + 1) / rank for k, rank in enumerate(at)]))
    assert by_guessing(right, of) == pytest.approx((np.mean(first), np.mean(precision)))


def test_equal_scores_are_in_random_order_and_no_better_than_guessing() -> None:
    """A network that says the same of all pictures. 5 sigma: false alarms below 1e-6."""
    right = np.tile(np.arange(5) == 0, (2000, 1))
    persons = np.arange(2000)
    rng = np.random.default_rng(1)
    found = search(np.zeros((2000, 5)), right, np.ones_like(right), persons, rng)
    assert abs(found.first.mean() - 0.2) < 5 * (0.2 * 0.8 / 2000) ** 0.5
    told = found.told(0.95)
    assert told["rank_1"]["chance"] == pytest.approx(0.2)
    assert told["map"]["chance"] == pytest.approx(by_guessing(1, 5)[1])
    assert told["rank_1"]["interval"][0] <= 0.2 <= told["rank_1"]["interval"][1]


def test_persons_count_equally_however_many_searches_they_have() -> None:
    whose = np.append(np.zeros(90, np.int64), np.arange(1, 11))
    first = np.append(np.ones(90), np.zeros(10))
    told = Search(first, first, np.zeros((100, 2)), whose).told(0.95)
    assert told["rank_1"]["value"] == pytest.approx(1 / 11)
    assert (told["searches"], told["persons"]) == (100, 11)


def test_a_person_is_searched_among_own_other_pictures_and_strangers_of_the_class() -> None:
    shown = np.zeros((6, 1, 4, 4), np.float32)
    labels = np.array([0, 0, 0, 1, 1, 0])
    whose = np.array([0, 0, 1, 1, 2, 3])
    known = reidentify._People(shown, shown, labels, whose, several=True)
    test = reidentify._Pairs(np.array([0]), np.array([1]), np.array([2]))
    # Own original is 9 and out; another class is 8 and out; own other picture is second to row 5.
    scores = np.array([[9.0, 0.5, 0.1, 8.0, 8.0, 0.7]])
    found = known.retrieved(scores, test, 0)
    assert (found.first.tolist(), found.precision.tolist()) == ([0.0], [0.5])
    assert found.guessed[0, 0] == pytest.approx(1 / 3)
    # Where nobody has several, the original itself is looked for.
    alone = reidentify._People(shown, shown, labels, np.arange(6), several=False)
    found = alone.retrieved(scores, test, 0)
    assert (found.first.tolist(), found.guessed[0, 0]) == ([1.0], 0.25)
