from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import nn

pytest.importorskip("captum")

from sfumato.errors import MissingExtraError
from sfumato.learn.features import Column, Features
from sfumato.privacy import accounting
from sfumato.privacy.budget import Budget
from sfumato.privacy.ledger import Ledger
from sfumato.privacy.neighbours import Neighbours
from sfumato.privacy.noise import SeededSource
from sfumato.publish.tables import network
from sfumato.publish.tables.adaptive import Adaptive
from sfumato.publish.tables.importance import UNITS, whole_units
from sfumato.publish.tables.network import EXPLAINERS, Explained

FEATURES = Features((Column(11, 11), Column(3), Column(12, 11), Column(2)))
METHODS = tuple(EXPLAINERS)


def trained(seed: int = 0, weight: float = 1.0, kept: tuple[int, ...] = (0, 1, 2, 3)) -> nn.Module:
    """A network that looks at some columns only."""
    from sfumato.learn.architectures import build

    columns = [{"size": c.size, "grid": c.grid} for c in FEATURES.columns]
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        net = build({"family": "table-dense", "columns": columns, "classes": 2, "hidden": [16]})
    slots = np.repeat(np.arange(4), [c.slots for c in FEATURES.columns])
    with torch.no_grad():
        for j in set(range(4)) - set(kept):
            net[1].weight[:, slots == j] = 0
        net[1].weight *= weight
    return net


def records(n: int, seed: int = 0) -> np.ndarray:
    rng = np.random.default_rng(seed)
    return np.stack([rng.integers(c.size, size=n) for c in FEATURES.columns], axis=1)


@pytest.mark.parametrize("method", METHODS)
def test_a_records_attributions_are_bounded_and_its_own(method: str) -> None:
    explained = Explained.of(FEATURES, trained(), method)
    codes = records(200)
    units = explained.units(codes)
    assert units.shape == (200, 4)
    assert (units >= 0).all()
    assert (units.sum(axis=1) <= UNITS).all()
    changed = codes.copy()
    changed[7] = [10, 2, 11, 1]
    moved = explained.units(changed)
    others = np.arange(200) != 7
    # The same arithmetic on the same rows, in one batch of the same size.
    np.testing.assert_array_equal(units[others], moved[others])


@pytest.mark.parametrize("method", METHODS)
def test_what_the_network_does_not_look_at_gets_nothing(method: str) -> None:
    units = Explained.of(FEATURES, trained(kept=(0, 1)), method).units(records(300))
    share = units.sum(axis=0) / units.sum()
    assert share[[2, 3]].max() < 1e-6
    assert share[[0, 1]].min() > 0.05


@pytest.mark.parametrize("method", METHODS)
def test_weights_that_overflow_or_are_blank_count_for_all_alike(method: str) -> None:
    for net in (trained(weight=1e38), trained(kept=())):
        units = Explained.of(FEATURES, net, method).units(records(20))
        assert (units.sum(axis=1) <= UNITS).all()
        assert (units >= 0).all()
    assert (units == units[0, 0]).all()


def test_whole_units_of_anything_stay_within_the_bound() -> None:
    rng = np.random.default_rng(0)
    given = rng.exponential(size=(1000, 7)) ** rng.integers(1, 200, (1000, 1))
    given[0] = np.nan
    given[1, 3] = np.inf
    units = whole_units(given)
    assert (units.sum(axis=1) <= UNITS).all()
    assert (units[:2] == units[0, 0]).all()


def test_planted_permutation_within_the_batch_would_tell_of_other_records() -> None:
    """What is not done here: an attribute's column shuffled among the records of a batch."""
    net = trained()
    encoder, layers = net[0], net[1:]
    codes = records(50)

    def shuffled(given: np.ndarray) -> np.ndarray:
        order = np.random.default_rng(0).permutation(50)
        drawn = given.copy()
        drawn[:, 1] = given[order, 1]
        logits = [layers(encoder(torch.from_numpy(x.astype(np.int32)))) for x in (given, drawn)]
        return (logits[0] - logits[1]).abs().sum(1).detach().numpy()

    changed = codes.copy()
    changed[7, 1] = (codes[7, 1] + 1) % 3
    others = np.arange(50) != 7
    assert not np.array_equal(shuffled(codes)[others], shuffled(changed)[others])
    explained = Explained.of(FEATURES, trained(), "permutation")
    np.testing.assert_array_equal(explained.units(codes)[others], explained.units(changed)[others])


@pytest.mark.parametrize("method", METHODS)
def test_importance_finds_the_column_that_decides(method: str) -> None:
    from sfumato.data import Categorical, Numeric, Schema, Table

    schema = Schema(
        (
            Numeric("a", 0, 10, 1),
            Categorical("b", ("p", "q", "r")),
            Numeric("c", 0, 10, 1, missing=True),
            Categorical("y", ("no", "yes")),
        ),
        target="y",
        records=4000,
    )
    rng = np.random.default_rng(0)
    codes = {c.name: rng.integers(c.size, size=4000) for c in schema.features}
    codes["y"] = np.where(rng.random(4000) < 0.9, codes["b"] == 2, codes["b"] != 2).astype(int)
    made = Adaptive(importance="paid", attribution=method, seed=0, model_share=0.4).calibrate(
        Budget(4.0, 1e-5), schema
    )
    assert made.guarantee.epsilon() <= 4.0
    assert made.guarantee.neighbours is Neighbours.REPLACE_ONE
    model = accounting.epsilon(made.run.learner.model.event, 1e-5, Neighbours.REPLACE_ONE)
    assert 0.9 * 1.6 < model <= 1.6
    release = made(
        Table.from_codes(codes, schema), ledger=Ledger.in_memory(), source=SeededSource(1)
    )
    found = {e["name"]: e["importance"] for e in release.card.plan["attributes"]}
    assert max(found, key=found.get) == "b"
    assert release.card.verify() == []


def test_without_captum_it_says_how_to_get_it(monkeypatch: pytest.MonkeyPatch) -> None:
    import sys

    monkeypatch.setitem(sys.modules, "captum.attr", None)
    with pytest.raises(MissingExtraError, match=r"sfumato\[explain\]"):
        network.captum()
