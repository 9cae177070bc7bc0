"""``learn.recipe``: a linear layer on public features, as a release."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch

from sfumato.errors import InputError
from sfumato.learn.recipe import ScatterLinear
from sfumato.privacy.budget import Budget
from sfumato.privacy.guarantee import Central
from sfumato.privacy.ledger import Ledger
from sfumato.privacy.neighbours import Neighbours
from sfumato.publish.models.recipe import Recipe
from sfumato.release.release import Release

RECORDS, SIDE = 60, 8
BUDGET = Budget(2.0, 1e-5)


@pytest.fixture(scope="module")
def facts(small_pictures: Any) -> Any:
    return small_pictures(RECORDS, SIDE).schema.with_records(RECORDS)


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"neighbours": "friends"}, "neighbours is 'friends'"),
        ({"steps": 0}, "steps is 0"),
        ({"sample_rate": 0}, "sample_rate is 0"),
        ({"sample_rate": 1.5}, "sample_rate is 1.5"),
        ({"averaged": 0}, "averaged is 0"),
        ({"momentum": 1.0}, "momentum is 1.0"),
        ({"centre_share": 1.0}, "centre_share is 1.0"),
        ({"learning_rate": 0}, "learning_rate is 0"),
        ({"max_grad_norm": 0}, "max_grad_norm is 0"),
    ],
    ids=lambda value: "" if isinstance(value, str) else next(iter(value)),
)
def test_bad_settings_are_refused(changed: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError, match=message):
        Recipe(**changed)


def test_what_does_not_fit_the_facts_is_refused_by_the_calibration(
    facts: Any, small_pictures: Any, small_people: Any
) -> None:
    with pytest.raises(InputError, match="was given a table"):
        Recipe().calibrate(BUDGET, small_people(RECORDS).schema.with_records(RECORDS))
    with pytest.raises(InputError, match="the number of records is not declared"):
        Recipe().calibrate(BUDGET, facts.with_records(None))
    with pytest.raises(InputError, match=r"images|pixels"):
        Recipe().calibrate(BUDGET, small_pictures(RECORDS, 3).schema.with_records(RECORDS))


@pytest.mark.parametrize("relation", ["add-remove", "replace-one"])
def test_the_guarantee_meets_the_budget_under_both_relations(relation: str, facts: Any) -> None:
    made = Recipe(steps=4, sample_rate=0.5, neighbours=relation).calibrate(BUDGET, facts)
    proven = made.guarantee
    assert isinstance(proven, Central)
    assert proven.neighbours is Neighbours(relation)
    assert 1.95 < proven.epsilon() <= 2.0


def test_the_release_predicts_after_a_round_trip(
    facts: Any, small_pictures: Any, tmp_path: Any
) -> None:
    data = small_pictures(RECORDS, SIDE)
    ledger = Ledger.in_memory()
    release = Recipe(steps=4, sample_rate=0.5).calibrate(BUDGET, facts)(data, ledger=ledger)
    release.save(tmp_path / "out")
    again = Release.load(tmp_path / "out")
    np.testing.assert_array_equal(
        again.model.probabilities(data), release.model.probabilities(data)
    )
    assert again.model.architecture["family"] == "scatter-linear"
    (entry,) = ledger.entries()
    assert entry.hash == release.card.ledger["entry"]
    assert release.card.noise["secure"] is True


def test_it_learns_at_a_generous_budget(small_pictures: Any) -> None:
    data, fresh = small_pictures(300, SIDE), small_pictures(200, SIDE, 9)
    facts = data.schema.with_records(300)
    made = Recipe(steps=40, sample_rate=0.5).calibrate(Budget(50.0, 1e-4), facts)
    model = made(data, ledger=Ledger.in_memory()).model
    assert (model.predict(fresh) == fresh.labels).mean() > 0.8


def test_a_release_straightens_what_it_predicts_if_it_was_trained_so(
    facts: Any, small_pictures: Any
) -> None:
    data = small_pictures(RECORDS, SIDE)
    made = Recipe(steps=4, sample_rate=0.5, **Recipe.presets["writing"]).calibrate(BUDGET, facts)
    release = made(data, ledger=Ledger.in_memory())
    architecture = release.model.architecture
    assert architecture["features"]["upright"] is True
    assert release.card.plan["upright"] is True
    inputs = torch.from_numpy(data.images)
    straight = ScatterLinear(3, upright=True).features(inputs)
    tensors = release.model.tensors
    weight, bias = (torch.from_numpy(tensors[f"linear.{name}"]) for name in ("weight", "bias"))
    expected = torch.softmax(straight @ weight.T + bias, dim=1)
    np.testing.assert_allclose(release.model.probabilities(data), expected, atol=1e-5)
