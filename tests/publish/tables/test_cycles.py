from __future__ import annotations

import numpy as np
import pytest

from sfumato.data import Categorical
from sfumato.publish.tables.bins import Cells
from sfumato.publish.tables.cycles import LARGEST_CLIQUE, ExpectedByTree, fitting
from sfumato.publish.tables.forest import forest
from sfumato.publish.tables.groups import Groups
from sfumato.publish.tables.marginals import Independent

SIZES = (3, 4, 5, 2)
CLASSES = 2


def joint(seed: int) -> np.ndarray:
    """Probabilities of four features and a class: a path 2 - 0 - 1, and a feature by itself."""
    rng = np.random.default_rng(seed)
    of_class = rng.dirichlet(np.ones(CLASSES))
    root = rng.dirichlet(np.ones(3), CLASSES)
    first = rng.dirichlet(np.ones(4), (CLASSES, 3))
    second = rng.dirichlet(np.ones(5), (CLASSES, 3))
    alone = rng.dirichlet(np.ones(2), CLASSES)
    return np.einsum("k,ka,kab,kac,kd->abcdk", of_class, root, first, second, alone)


def expected(counts: np.ndarray) -> ExpectedByTree:
    """What a tree of the pairs (0, 1) and (0, 2) says."""

    def over(*kept: int) -> np.ndarray:
        return counts.sum(axis=tuple(set(range(4)) - set(kept)))

    groups = [
        Groups.fine(Cells.of(Categorical(f"x{i}", tuple("abcde"[:n])), n, "equal"))
        for i, n in enumerate(SIZES)
    ]
    cells = Independent(over(), tuple(over(i) for i in range(4)))
    return ExpectedByTree(forest(cells, groups, {(0, 1): over(0, 1), (0, 2): over(0, 2)}, 0.0), 0.5)


@pytest.mark.parametrize("seed", range(3))
def test_what_a_tree_says_of_every_pair_is_the_sum_over_the_joint_distribution(seed: int) -> None:
    counts = 1e5 * joint(seed)
    by_tree = expected(counts)
    for i in range(4):
        tables = by_tree.tables(i)
        for j in set(range(4)) - {i}:
            true = counts.sum(axis=tuple(set(range(4)) - {i, j}))
            true = true if i < j else np.swapaxes(true, 0, 1)
            assert np.abs(tables[j] - true).sum() < 2e-3 * 1e5


def test_a_record_moves_a_score_by_at_most_one_and_some_by_one() -> None:
    by_tree = expected(40 * joint(0))
    rng = np.random.default_rng(1)
    moved = []
    for _ in range(200):
        counts = rng.poisson(3, (4, 5, CLASSES))
        more = counts.copy()
        more[tuple(rng.integers((4, 5, CLASSES)))] += 1
        before, after = (by_tree.scores([((1, 2), c)])[1, 2] for c in (counts, more))
        moved.append(abs(after - before))
    assert max(moved) == 1.0


def test_what_the_tree_gets_wrong_scores_above_what_it_has() -> None:
    counts = np.rint(1e5 * joint(0))
    counts[:, 0, 0] *= 5  # the ends of the path now go together
    by_tree = expected(counts)
    pairs = {(0, 1): (0, 1), (1, 2): (1, 2), (0, 3): (0, 3)}
    tables = [(p, counts.sum(axis=tuple(set(range(4)) - set(p))).astype(int)) for p in pairs]
    scores = by_tree.scores(tables)
    assert scores[1, 2] > 1000
    assert scores[0, 1] < scores[1, 2] / 20


def test_only_pairs_that_leave_the_model_small_may_follow() -> None:
    side = int((LARGEST_CLIQUE / 2) ** 0.5)
    sizes = [side, side, 3, 2]
    tree = [(0, 2), (1, 2), (2, 3)]
    every = [(i, j) for i in range(4) for j in range(i + 1, 4)]
    # (0, 1) would need a table of three; chosen pairs are not chosen again.
    assert fitting(every, sizes, 2, tree) == [(0, 3), (1, 3)]
    assert fitting(every, [4, 4, 3, 2], 2, tree) == [(0, 1), (0, 3), (1, 3)]
