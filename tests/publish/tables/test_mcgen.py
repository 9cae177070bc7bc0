from __future__ import annotations

import json
import math
from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sfumato.data import Categorical, Numeric, Ordinal, Schema, Table
from sfumato.errors import InputError
from sfumato.privacy.budget import Budget
from sfumato.privacy.ledger import Ledger
from sfumato.privacy.neighbours import Neighbours
from sfumato.privacy.noise import SeededSource
from sfumato.publish.tables import moments
from sfumato.publish.tables.embedding import STEP, Embedding, directions, groups, sides
from sfumato.publish.tables.mcgen import McGen

COLUMNS = (
    Numeric("age", 0, 90, 1, integer=True),
    Numeric("wage", 0, 5000, 0.5, missing=True),
    Categorical("job", tuple(f"job {i}" for i in range(9))),
    Ordinal("school", ("none", "some", "much"), missing=True),
    Categorical("country", ("here",)),
)
BUDGET = Budget(1.0, 1e-6)


def random_codes(n: int, seed: int) -> dict[str, np.ndarray]:
    rng = np.random.default_rng(seed)
    return {c.name: rng.integers(c.size, size=n) for c in COLUMNS}


# -- vectors -------------------------------------------------------------------------------------


def test_no_row_is_longer_than_one_and_entries_are_whole_steps() -> None:
    vectors = Embedding(COLUMNS).vectors(random_codes(2000, 0))
    assert np.linalg.norm(vectors, axis=1).max() <= 1
    assert (vectors / STEP == np.rint(vectors / STEP)).all()


def test_codes_come_back_from_their_own_vectors() -> None:
    """Levels and gaps exactly; numbers to within what the step resolves."""
    embedding = Embedding(COLUMNS)
    codes = random_codes(2000, 1)
    back = embedding.codes(embedding.vectors(codes))
    for column in COLUMNS:
        given, found = codes[column.name], back[column.name]
        if isinstance(column, Numeric):
            assert ((given == column.cardinality) == (found == column.cardinality)).all()
            apart = np.abs(given - found) / (column.cardinality - 1)
            assert apart.max() <= STEP * math.sqrt(len(COLUMNS))
        else:
            np.testing.assert_array_equal(given, found)


def test_vectors_of_any_length_have_codes() -> None:
    wild = np.random.default_rng(0).standard_normal((500, Embedding(COLUMNS).width)) * 100
    for name, codes in Embedding(COLUMNS).codes(wild).items():
        size = next(column.size for column in COLUMNS if column.name == name)
        assert codes.min() >= 0
        assert codes.max() < size


def test_clusters_know_the_seed_and_the_record_alone() -> None:
    embedding = Embedding(COLUMNS)
    planes = directions(embedding.width, 3, 5)
    np.testing.assert_array_equal(planes, directions(embedding.width, 3, 5))
    vectors = embedding.vectors(random_codes(400, 2))
    whole = sides(embedding, vectors, planes)
    assert len(np.unique(whole)) > 4
    np.testing.assert_array_equal(whole[:100], sides(embedding, vectors[:100], planes))


def test_groups_hold_every_column_once_in_order() -> None:
    found = groups(COLUMNS, 2)
    assert [len(g) for g in found] == [2, 2, 1]
    assert tuple(c for g in found for c in g) == COLUMNS


# -- moments -------------------------------------------------------------------------------------


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 2**32 - 1), st.integers(1, 5))
def test_a_record_moves_the_moments_by_no_more_than_its_contribution(seed: int, size: int) -> None:
    """Added anywhere: in L2, over all clusters."""
    embedding = Embedding(COLUMNS[:size])
    vectors = embedding.vectors(random_codes(30, seed))
    rng = np.random.default_rng(seed)
    clusters = rng.integers(4, size=30)
    with_all = moments.summed(vectors, clusters, 4)
    without = moments.summed(vectors[:-1], clusters[:-1], 4)
    assert np.linalg.norm(with_all - without) <= moments.CONTRIBUTION
    assert (with_all / moments.STEP == np.rint(with_all / moments.STEP)).all()


def test_the_contribution_is_nearly_reached() -> None:
    """A bound that nobody comes near would waste noise: one number at its end has length sqrt 3."""
    embedding = Embedding((Numeric("a", 0, 10, 1),))
    one = moments.summed(embedding.vectors({"a": np.array([10])}), np.array([0]), 1)
    assert np.linalg.norm(one) == pytest.approx(math.sqrt(3), rel=1e-3)


def test_sums_do_not_depend_on_order() -> None:
    embedding = Embedding(COLUMNS)
    vectors = embedding.vectors(random_codes(5000, 4))
    clusters = np.random.default_rng(1).integers(4, size=5000)
    order = np.random.default_rng(2).permutation(5000)
    np.testing.assert_array_equal(
        moments.summed(vectors, clusters, 4), moments.summed(vectors[order], clusters[order], 4)
    )


def test_exact_moments_give_back_mean_and_covariance() -> None:
    embedding = Embedding(COLUMNS)
    vectors = embedding.vectors(random_codes(3000, 5))
    normal = moments.Normal.of(moments.summed(vectors, np.zeros(3000, int), 1)[0], embedding.width)
    np.testing.assert_allclose(normal.mean, vectors.mean(axis=0), atol=1e-9)
    # The factor just below sqrt 2 costs nothing: it is divided out again.
    found = normal.root @ normal.root.T
    np.testing.assert_allclose(found, np.cov(vectors.T, bias=True), atol=1e-9)


def test_moments_of_noise_alone_are_still_a_distribution() -> None:
    rng = np.random.default_rng(0)
    for _ in range(50):
        noisy = rng.standard_normal(moments.size(6)) * 100
        normal = moments.Normal.of(noisy, 6)
        assert np.isfinite(normal.draw(20, rng)).all()
        assert np.linalg.norm(normal.mean) <= 1 + 1e-12


def test_planted_products_without_their_weight_move_less_than_is_paid_for() -> None:
    """And with twice the weight more: the factor is what makes the bound what it is."""
    x = np.full(4, 0.5)
    rows, columns = np.triu_indices(4)
    products = np.outer(x, x)[rows, columns]
    weighted = products * np.where(rows == columns, 1.0, moments.OFF_DIAGONAL)
    assert 0.99 < np.linalg.norm(weighted) <= 1
    assert np.linalg.norm(products * np.where(rows == columns, 1.0, 2.0)) > 1


# -- the method ----------------------------------------------------------------------------------


def table(rows: int, seed: int) -> Table:
    """Two numbers that go together within a class, and a level that follows the class."""
    schema = Schema(
        (
            Numeric("a", 0, 100, 1),
            Numeric("b", 0, 100, 1),
            Categorical("c", ("p", "q", "r")),
            Categorical("y", ("no", "yes")),
        ),
        target="y",
        records=rows,
    )
    rng = np.random.default_rng(seed)
    y = (rng.random(rows) < 0.4).astype(int)
    a = np.clip(rng.normal(40 + 15 * y, 10), 0, 100).round().astype(int)
    b = np.clip(a + rng.normal(0, 3, rows), 0, 100).round().astype(int)
    c = np.where(rng.random(rows) < 0.8, 2 * y, 1)
    return Table.from_codes({"a": a, "b": b, "c": c, "y": y}, schema)


def test_what_goes_together_within_a_set_still_does() -> None:
    private = table(20_000, 0)
    made = McGen(set_size=3, bits=1, seed=0).calibrate(BUDGET, private.schema)
    release = made(private, ledger=Ledger.in_memory(), source=SeededSource(1))
    codes, truth = release.data.codes(), private.codes()
    assert abs(len(release.data) - 20_000) < 500
    for label in (0, 1):
        found = np.corrcoef(codes["a"][codes["y"] == label], codes["b"][codes["y"] == label])[0, 1]
        there = np.corrcoef(truth["a"][truth["y"] == label], truth["b"][truth["y"] == label])[0, 1]
        assert abs(found - there) < 0.2
        assert abs((codes["c"][codes["y"] == label] == 2 * label).mean() - 0.8) < 0.08
    assert abs(codes["y"].mean() - 0.4) < 0.03
    assert release.card.verify() == []
    assert release.card.seeds == {"clusters_and_sampling": 0}


def test_sets_that_are_apart_lose_what_goes_together() -> None:
    private = table(20_000, 0)
    made = McGen(sets=(("a",), ("b", "c")), bits=0, seed=0).calibrate(BUDGET, private.schema)
    codes = made.run(private, SeededSource(1), lambda *_: None).data.codes()
    inside = codes["y"] == 0
    assert abs(np.corrcoef(codes["a"][inside], codes["b"][inside])[0, 1]) < 0.1


@pytest.mark.parametrize("epsilon", [0.1, 1.0, 8.0])
@pytest.mark.parametrize("set_size", [1, 2, 4])
def test_the_guarantee_is_the_budget(epsilon: float, set_size: int) -> None:
    made = McGen(set_size=set_size).calibrate(Budget(epsilon, 1e-6), table(100, 0).schema)
    assert 0.98 * epsilon < made.guarantee.epsilon() <= epsilon
    assert made.guarantee.neighbours is Neighbours.ADD_REMOVE
    json.dumps(made.plan)


def test_a_class_that_nobody_is_in_and_one_row_are_no_trouble(make_random: Callable) -> None:
    for rows in (1, 5):
        private = table(rows, 1)
        made = McGen(seed=0).calibrate(BUDGET, private.schema)
        release = made(private, ledger=Ledger.in_memory(), source=SeededSource(rows))
        assert len(release.data) >= 1


def test_without_a_target_and_with_every_kind_of_column(make_random: Callable) -> None:
    schema = Schema(COLUMNS)
    made = McGen(seed=0, bits=2).calibrate(BUDGET, schema)
    release = made(make_random(schema, 300, 0), ledger=Ledger.in_memory(), source=SeededSource(0))
    assert release.data.schema.names == schema.names


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"set_size": 0}, "set_size"),
        ({"bits": 11}, "bits"),
        ({"bits": -1}, "bits"),
        ({"rows": 0}, "rows"),
        ({"sets": "a"}, "sets"),
        ({"sets": ()}, "every attribute"),
        ({"sets": (("a", "b"),)}, "every attribute"),
        ({"sets": (("a", "b"), ("b", "c"))}, "every attribute"),
        ({"sets": (("a", "b"), ("c",)), "set_size": 2}, "both"),
        ({"target_bins": 4}, "target_bins"),
    ],
)
def test_what_cannot_be_is_refused(given: dict, message: str) -> None:
    with pytest.raises(InputError, match=message):
        McGen(**given).calibrate(BUDGET, table(10, 0).schema)


def test_a_delta_is_asked_for_and_a_set_can_be_too_large() -> None:
    with pytest.raises(InputError, match="delta"):
        McGen().calibrate(Budget(1.0), table(10, 0).schema)
    levels = tuple(str(i) for i in range(9000))
    wide = Schema((Categorical("a", levels), Categorical("y", ("no", "yes"))), target="y")
    with pytest.raises(InputError, match="moments"):
        McGen().calibrate(BUDGET, wide)
