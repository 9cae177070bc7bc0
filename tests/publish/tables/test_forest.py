from __future__ import annotations

import numpy as np
import pytest

from sfumato.data import Categorical, Numeric
from sfumato.publish.tables.bayesian_network import BayesianNetwork, conditional
from sfumato.publish.tables.bins import Cells
from sfumato.publish.tables.forest import forest
from sfumato.publish.tables.groups import Groups
from sfumato.publish.tables.marginals import Independent


def chain(rows: int, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Labels and three features, each a noisy copy of the one before it."""
    rng = np.random.default_rng(seed)
    labels = (rng.random(rows) < 0.3).astype(int)
    first = (rng.integers(0, 4, rows) + labels) % 4
    second = np.where(rng.random(rows) < 0.8, first, rng.integers(0, 4, rows))
    third = np.where(rng.random(rows) < 0.6, 3 - second, rng.integers(0, 4, rows))
    return labels, np.stack([first, second, third], axis=1)


def counts(codes: list[np.ndarray], sizes: list[int]) -> np.ndarray:
    flat = np.ravel_multi_index(tuple(codes), tuple(sizes))
    return np.bincount(flat, minlength=int(np.prod(sizes))).reshape(sizes)


def chained(labels: np.ndarray, rows: np.ndarray, groups: list[Groups]) -> BayesianNetwork:
    cells = Independent.fit([counts([rows[:, j], labels], [4, 2]) for j in range(3)])
    placed = [g.of[rows[:, j]] for j, g in enumerate(groups)]
    size = [len(g) for g in groups]
    # One pair is given the other way round.
    measured = {
        (0, 1): counts([placed[0], placed[1], labels], [size[0], size[1], 2]),
        (1, 2): counts([placed[1], placed[2], labels], [size[1], size[2], 2]),
    }
    return forest(cells, groups, measured, 0.0)


def columns() -> list[Cells]:
    kinds = (
        Categorical("a", tuple("wxyz")),
        Numeric("b", 0, 3, 1),
        Categorical("c", tuple("wxyz")),
    )
    return [Cells.of(column, 4, "equal") for column in kinds]


def test_without_noise_rows_have_the_measured_tables_and_the_chain_between_them() -> None:
    labels, rows = chain(40_000)
    made = chained(labels, rows, [Groups.fine(cells) for cells in columns()])
    drawn_labels, drawn = made.sample(40_000, np.random.default_rng(1))
    assert abs(made.records - 40_000) <= 1
    for i, j in ((0, 1), (1, 2), (0, 2)):
        real = counts([rows[:, i], rows[:, j], labels], [4, 4, 2])
        found = counts([drawn[i], drawn[j], drawn_labels], [4, 4, 2])
        assert np.abs(real - found).sum() < 0.02 * 40_000


def test_merged_cells_are_told_apart_again_by_their_own_counts() -> None:
    labels, rows = chain(40_000)
    halves = [Groups(cells, np.array([0, 0, 1, 1])) for cells in columns()]
    drawn_labels, drawn = chained(labels, rows, halves).sample(40_000, np.random.default_rng(1))
    for j in range(3):
        real = counts([rows[:, j], labels], [4, 2])
        assert np.abs(real - counts([drawn[j], drawn_labels], [4, 2])).sum() < 0.02 * 40_000


def test_groups_of_one_cell_each_in_another_order_are_still_the_cells() -> None:
    """A single rare level is the group of the rest by itself, and comes last."""
    labels, rows = chain(40_000)
    moved = [Groups(cells, np.array([0, 3, 1, 2])) for cells in columns()]
    drawn_labels, drawn = chained(labels, rows, moved).sample(40_000, np.random.default_rng(1))
    for j in range(3):
        real = counts([rows[:, j], labels], [4, 2])
        assert np.abs(real - counts([drawn[j], drawn_labels], [4, 2])).sum() < 0.02 * 40_000


def test_noise_alone_leaves_features_independent() -> None:
    """A table that is all noise is shrunk to independence, not copied."""
    rng = np.random.default_rng(0)
    cells = Independent(np.array([400.0]), (np.full((20, 1), 20.0),) * 2)
    groups = [Groups.fine(Cells.of(Numeric(n, 0, 19, 1), 20, "equal")) for n in "ab"]
    noisy = np.rint(1 + rng.normal(0, 30, (20, 20, 1))).astype(int)
    made = forest(cells, groups, {(0, 1): noisy}, 900.0)
    child = next(step for step in made.steps if step.parents)
    shares = child.table[:, :, 0] / child.table[:, :, 0].sum(axis=1, keepdims=True)
    assert np.abs(shares - 1 / 20).sum(axis=1).mean() < 0.5


@pytest.mark.parametrize("rows", [1, 2, 3, 1000])
def test_any_number_of_rows_can_be_drawn(rows: int) -> None:
    labels, real = chain(50)
    made = chained(labels, real, [Groups.fine(cells) for cells in columns()])
    drawn_labels, drawn = made.sample(rows, np.random.default_rng(0))
    assert len(drawn_labels) == rows
    assert all(len(column) == rows and 0 <= column.min() <= column.max() < 4 for column in drawn)


def test_a_class_that_was_not_found_is_not_drawn_and_breaks_nothing() -> None:
    labels, rows = chain(500)
    made = chained(0 * labels, rows, [Groups.fine(cells) for cells in columns()])
    drawn_labels, _ = made.sample(300, np.random.default_rng(0))
    assert not drawn_labels.any()


def test_conditional_draws_keep_shares_to_within_one_a_condition() -> None:
    rng = np.random.default_rng(0)
    weights = rng.dirichlet(np.ones(6), 50)
    weights[3] = [0, 0, 1, 0, 0, 0]
    weights[4] = [1, 1, 0, 0, 0, 0]
    given = rng.integers(0, 50, 5000)
    outcomes = conditional(weights, given, rng)
    for c in range(50):
        expected = weights[c] / weights[c].sum() * (given == c).sum()
        found = np.bincount(outcomes[given == c], minlength=6)
        assert np.abs(found - expected).max() <= 1 + 1e-6
        assert not found[weights[c] == 0].any()


def test_outcomes_of_equal_conditions_are_in_random_order() -> None:
    """Two features with one parent must not be sorted alike: they would become dependent."""
    rng = np.random.default_rng(0)
    given = np.zeros(4000, int)
    first, second = (conditional(np.array([[0.5, 0.5]]), given, rng) for _ in range(2))
    # Five standard deviations: a false alarm below 6e-7.
    assert abs(np.corrcoef(first, second)[0, 1]) < 5 / np.sqrt(4000)
