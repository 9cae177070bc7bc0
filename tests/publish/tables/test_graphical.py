from __future__ import annotations

import sys

import numpy as np
import pytest

from sfumato.data import Categorical, Schema, Table
from sfumato.errors import InputError, MissingExtraError
from sfumato.privacy.budget import Budget
from sfumato.privacy.ledger import Ledger
from sfumato.privacy.noise import SeededSource
from sfumato.publish.tables import marginal_trees
from sfumato.publish.tables.bayesian_network import BayesianNetwork
from sfumato.publish.tables.bins import Cells
from sfumato.publish.tables.forest import forest
from sfumato.publish.tables.graphical import graph
from sfumato.publish.tables.groups import Groups
from sfumato.publish.tables.marginal_trees import Marginals
from sfumato.publish.tables.marginals import Independent

ROWS = 40_000
SIZES = (3, 4, 2, 5)
CIRCLE = ((0, 1), (1, 2), (2, 3), (0, 3))


def circle(seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Labels and four features, each of which goes with the next, and the last with the first."""
    rng = np.random.default_rng(seed)
    field = np.zeros((*SIZES, 2))
    for i, j in CIRCLE:
        shape = [SIZES[at] if at in (i, j) else 1 for at in range(4)]
        field = field + rng.normal(0, 1.0, (*shape, 2))
    shares = np.exp(field - field.max())
    drawn = rng.choice(shares.size, ROWS, p=(shares / shares.sum()).ravel())
    *features, labels = np.unravel_index(drawn, shares.shape)
    return labels, np.stack(features, axis=1)


def counts(rows: np.ndarray, labels: np.ndarray, *features: int) -> np.ndarray:
    shape = (*(SIZES[i] for i in features), 2)
    flat = np.ravel_multi_index((*(rows[:, i] for i in features), labels), shape)
    return np.bincount(flat, minlength=int(np.prod(shape))).reshape(shape)


def columns() -> list[Categorical]:
    return [Categorical(f"x{i}", tuple("abcde"[:n])) for i, n in enumerate(SIZES)]


def apart(rows: np.ndarray, labels: np.ndarray, drawn: tuple, pair: tuple[int, int]) -> float:
    """The distance in L1 between a pair's real and drawn table, as a share of the rows."""
    other_labels, features = drawn
    found = counts(np.stack(features, axis=1), other_labels, *pair)
    return float(np.abs(counts(rows, labels, *pair) - found).sum()) / ROWS


def test_pairs_that_close_a_circle_are_all_kept_and_by_a_tree_one_is_lost() -> None:
    labels, rows = circle()
    cells = Independent.fit([counts(rows, labels, i) for i in range(4)])
    groups = [Groups.fine(Cells.of(column, 5, "equal")) for column in columns()]
    measured = {pair: counts(rows, labels, *pair) for pair in CIRCLE}
    tree = forest(cells, groups, {pair: measured[pair] for pair in CIRCLE[:3]}, 0.0)
    made = graph(tree, measured, 1.0, 1.0)
    drawn = made.sample(ROWS, np.random.default_rng(1))
    assert max(apart(rows, labels, drawn, pair) for pair in CIRCLE) < 0.02
    by_tree = tree.sample(ROWS, np.random.default_rng(1))
    assert apart(rows, labels, by_tree, (0, 3)) > 0.1
    # What it keeps draws the same rows again.
    again = type(made).of_tensors(made.tensors, [g.cells for g in groups])
    other = again.sample(ROWS, np.random.default_rng(1))
    np.testing.assert_array_equal(np.stack(drawn[1]), np.stack(other[1]))


def test_of_a_tree_the_library_says_what_the_closed_form_says() -> None:
    """Both are the most random distribution with the measured tables."""
    labels, rows = circle(1)
    cells = Independent.fit([counts(rows, labels, i) for i in range(4)])
    groups = [Groups.fine(Cells.of(column, 5, "equal")) for column in columns()]
    measured = {pair: counts(rows, labels, *pair) for pair in CIRCLE[:3]}
    tree = forest(cells, groups, measured, 0.0)
    # From a start that knows no pair.
    made = graph(forest(cells, groups, {}, 0.0), measured, 1.0, 1.0)
    assert np.abs(joint(made) - joint(tree)).sum() < 0.01


def joint(network: BayesianNetwork) -> np.ndarray:
    """(features ..., classes) probabilities."""
    shares = network.cells.classes / network.cells.classes.sum()
    product = np.broadcast_to(shares, (*SIZES, 2))
    for step in network.steps:
        given = step.table / step.table.sum(axis=-2, keepdims=True)
        axes = [*step.parents, step.feature, 4]
        order = np.argsort(axes)
        shape = [1] * 5
        for at in order:
            shape[axes[at]] = given.shape[at]
        product = product * given.transpose(order).reshape(shape)
    return product


def test_publishes_what_a_tree_cannot_keep(tmp_path) -> None:
    labels, rows = circle()
    schema = Schema((*columns(), Categorical("y", ("no", "yes"))), target="y")
    codes = {f"x{i}": rows[:, i] for i in range(4)} | {"y": labels}
    table = Table.from_codes(codes, schema)
    found = {}
    for cycles in (0, 1):
        run = Marginals(seed=0, cycles=cycles).calibrate(Budget(4.0, 1e-6), schema)
        assert 3.9 < run.guarantee.epsilon() <= 4.0
        release = run(table, ledger=Ledger.in_memory(), source=SeededSource(3))
        assert len(release.card.plan["pairs"]) == 3 + cycles
        assert ("one tree" in release.card.caveats[0]) == (cycles == 0)
        drawn = release.data.codes()
        features = [drawn[f"x{i}"] for i in range(4)]
        found[cycles] = max(apart(rows, labels, (drawn["y"], features), p) for p in CIRCLE)
        release.save(tmp_path / str(cycles))
        more = Marginals(seed=0, cycles=cycles).resample(release, 100, 5)
        assert len(more) == 100
    assert found[1] < 0.05 < found[0]


def test_too_many_cycles_and_a_missing_library_are_told_before_anything_is_spent(
    monkeypatch,
) -> None:
    schema = Schema((*columns(), Categorical("y", ("no", "yes"))), target="y")
    with pytest.raises(InputError, match="4 features have 3 pairs beyond a tree"):
        Marginals(cycles=4).calibrate(Budget(1.0, 1e-6), schema)
    with pytest.raises(InputError, match="cycles"):
        Marginals(cycles=-1)
    monkeypatch.setitem(sys.modules, "mbi", None)
    with pytest.raises(MissingExtraError, match=r"sfumato\[graph\]"):
        Marginals(cycles=1).calibrate(Budget(1.0, 1e-6), schema)
    assert Marginals().calibrate(Budget(1.0, 1e-6), schema)


def test_where_no_pair_is_worth_a_cycle_nothing_is_compiled(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def compiled(*_: object) -> None:
        raise AssertionError("the library was asked for a tree")

    monkeypatch.setattr(marginal_trees, "graph", compiled)
    schema = Schema((*columns(), Categorical("y", ("no", "yes"))), target="y")
    rng = np.random.default_rng(0)
    table = Table.from_codes({n: rng.integers(0, 2, 40) for n in schema.names}, schema)
    run = Marginals(seed=0, cycles=2).calibrate(Budget(0.3), schema)
    release = run(table, ledger=Ledger.in_memory(), source=SeededSource(0))
    assert release.card.plan["rounds"] == 5
    assert len(release.card.plan["pairs"]) <= 3
