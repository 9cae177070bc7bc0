from __future__ import annotations

import numpy as np
import pytest

from sfumato.data import Categorical, Numeric, Schema, Table
from sfumato.errors import InputError
from sfumato.privacy.budget import Budget
from sfumato.privacy.ledger import Ledger
from sfumato.privacy.noise import SeededSource
from sfumato.publish.tables import sampling
from sfumato.publish.tables.adaptive import Adaptive

WIDE = Schema(
    (
        *(Categorical(f"c{i}", tuple("abcd")) for i in range(6)),
        Numeric("n", 0, 10, 1),
        Numeric("gap", 0, 10, 1, missing=True),
        Categorical("only", ("one",)),
        Categorical("y", ("no", "yes")),
    ),
    target="y",
)


def constant(rows: int, code: int = 1) -> Table:
    codes = {column.name: np.full(rows, min(code, column.size - 1)) for column in WIDE}
    return Table.from_codes(codes, WIDE)


@pytest.mark.parametrize("count", [1, 2, 5, 8])
def test_every_row_reports_as_many_attributes_each_with_its_own_probability(count: int) -> None:
    """Six standard errors a probability."""
    shares = np.random.default_rng(0).dirichlet(np.full(8, 0.5))
    chances = sampling.inclusion(shares, count)
    assert chances.sum() == pytest.approx(count)
    assert (chances <= 1).all()
    rows = 50_000
    picked = sampling.chosen(chances, rows, np.random.default_rng(1))
    assert (picked.sum(axis=1) == count).all()
    slack = 6 * np.sqrt(chances * (1 - chances) / rows)
    assert (np.abs(picked.mean(axis=0) - chances) <= slack + 1e-12).all()


def test_what_is_chosen_does_not_depend_on_batches() -> None:
    table = constant(1000)
    names, chances = ("c0", "c1", "n"), np.array([0.5, 0.5, 1.0])
    view = sampling.SampledTable(table, names, chances, 7)
    whole = next(iter(view.codes_batches(1000)))
    parts = list(view.codes_batches(64))
    for name in WIDE.names:
        np.testing.assert_array_equal(np.concatenate([p[name] for p in parts]), whole[name])
    assert (whole["n"] == 1).all()
    assert set(np.unique(whole["c0"])) == {1, 4, 5, 6, 7}


def hidden(made, table: Table, seed: int) -> dict[str, np.ndarray]:
    """Which cells a row does not report."""
    chances = made.run.row.chances(made.run.weights)
    view = sampling.SampledTable(table, tuple(chances), np.array(list(chances.values())), seed)
    (codes,) = view.codes_batches(len(table))
    return {name: codes[name] >= WIDE[name].size for name in chances}


def run(sampled: int | str, epsilon: float, **settings):
    method = Adaptive(sampled=sampled, seed=3, **settings)
    return method.calibrate(Budget(epsilon), WIDE)


@pytest.mark.parametrize("sampled", [1, 3, 8])
def test_the_reported_parts_sum_to_the_rows_epsilon(sampled: int) -> None:
    made = run(sampled, 2.0)
    assert 2.0 * (1 - 1e-9) <= made.guarantee.epsilon() <= 2.0
    attributes = [a for a in made.plan["attributes"] if a["name"] != "only"]
    if sampled < 8:
        assert sum(a["reported"] for a in attributes) == pytest.approx(sampled)
        each = {a["epsilon_where_reported"] for a in attributes}
        assert max(each) * sampled + made.plan["label"]["epsilon"] <= 2.0
    else:
        assert "reported_attributes" not in made.plan, "all of them are reported"


def test_an_attribute_that_is_not_reported_says_nothing_of_the_row() -> None:
    """Two tables that share no value, the same coins: the same cells but for those reported."""
    made = run(2, 1.0, label_share=0.1)
    rows = 400
    seeds = [made.run(constant(rows, code), SeededSource(5), lambda *_: None) for code in (0, 3)]
    assert seeds[0].seeds == seeds[1].seeds == {"attributes": 3}
    one, other = (artefact.data.codes() for artefact in seeds)
    for name, left_out in hidden(made, constant(rows), 3).items():
        assert left_out.any()
        np.testing.assert_array_equal(one[name][left_out], other[name][left_out])
        if name == "gap":
            assert (one[name][left_out] == 11).all()  # missing
        elif name == "n":
            assert (one[name][left_out] == 5).all()  # the middle
        else:  # a uniform level: six standard errors
            counts = np.bincount(one[name][left_out], minlength=4) / left_out.sum()
            assert (np.abs(counts - 0.25) < 6 * np.sqrt(0.1875 / left_out.sum())).all()


def test_a_few_good_reports_carry_more_than_many_poor_ones() -> None:
    """What sampling is for: the squared excess over chance of a level, in the mean over rows."""
    truth = constant(4000, 1)
    carried = {}
    for sampled in (None, 1):
        made = Adaptive(sampled=sampled, seed=0, label_share=0.01).calibrate(Budget(6.0), WIDE)
        released = made.run(truth, SeededSource(1), lambda *_: None).data.codes()
        gone = hidden(made, truth, 0) if sampled else {}
        excess = []
        for name in (f"c{i}" for i in range(6)):
            shown = ~gone.get(name, np.zeros(4000, bool))
            right = (released[name][shown] == 1).mean()
            excess.append(shown.mean() * (right - 0.25) ** 2)
        carried[sampled] = np.mean(excess)
    assert carried[1] > 1.5 * carried[None]


def test_sampling_under_gaussian_noise_is_refused() -> None:
    with pytest.raises(InputError, match="sampled under Gaussian noise"):
        Adaptive(sampled=2, noise="gaussian").calibrate(Budget(1.0, 1e-6), WIDE)


@pytest.mark.parametrize("sampled", [0, -1, 1.5, True, "some"])
def test_impossible_numbers_are_refused(sampled) -> None:
    with pytest.raises(InputError, match="sampled"):
        Adaptive(sampled=sampled)


def test_the_seed_of_the_choice_is_on_the_card() -> None:
    release = run("auto", 3.0)(constant(100), ledger=Ledger.in_memory(), source=SeededSource(0))
    assert release.card.seeds == {"attributes": 3}
    assert release.card.plan["reported_attributes"] == 1
