from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from sfumato.attack import Evidence
from sfumato.attack.privacy_loss import PrivacyLoss
from sfumato.data import Categorical, Numeric, Schema, Table


def test_the_sources_game_measures_realism_and_the_corrected_one_leakage(
    make_people: Any, make_release: Any
) -> None:
    """A release of strangers is realistic and leaks nothing; noise is neither."""
    evidence = Evidence(make_people(300, 1), make_people(300, 2))
    strangers = PrivacyLoss(confidence=0.999)(make_release(make_people(600, 3)), evidence)
    source = strangers.details["source_privacy_loss"]
    assert source["value"] > 0.8
    assert "realistic" in source["warning"]
    assert not strangers.better_than_chance
    members = evidence.members
    leaky = PrivacyLoss()(make_release(members), evidence)
    assert leaky.breaks_guarantee
    assert leaky.value == pytest.approx(2 * leaky.details["P"] - 1)
    rng = np.random.default_rng(0)
    noise = Table.from_codes(
        {c.name: rng.integers(0, c.size, 600) for c in members.schema}, members.schema
    )
    unreal = PrivacyLoss()(make_release(noise), evidence)
    assert unreal.details["source_privacy_loss"]["value"] < source["value"] - 0.5


def test_judges_on_the_half_it_did_not_learn_from(make_people: Any, make_release: Any) -> None:
    evidence = Evidence(make_people(100, 1), make_people(100, 2))
    finding = PrivacyLoss()(make_release(make_people(100, 3)), evidence)
    assert finding.details["judged"] == 100
    assert finding.roc[0] == (0.0, 0.0)


@pytest.mark.parametrize("target", [None, "age", "owner"])
def test_works_whatever_the_target(target: str | None, make_people: Any, make_release: Any) -> None:
    members = make_people(200, 1).with_target(target)
    finding = PrivacyLoss()(make_release(members), Evidence(members, make_people(200, 2)))
    assert finding.better_than_chance


def test_one_column_and_one_class_are_no_error(make_release: Any) -> None:
    schema = Schema((Numeric("x", 0, 1000, 1),), "x")
    rng = np.random.default_rng(0)
    one, other = (Table.from_codes({"x": rng.integers(0, 1001, 60)}, schema) for _ in range(2))
    assert PrivacyLoss()(make_release(one), Evidence(one, other)).better_than_chance
    schema = Schema((Categorical("x", ("a", "b", "c")), Categorical("y", ("d", "e"))), "y")

    def rows(seed: int) -> Table:
        codes = np.random.default_rng(seed).integers(0, 2, (2, 60))
        return Table.from_codes({"x": codes[0], "y": codes[1]}, schema)

    constant = Table.from_codes({"x": np.arange(60) % 3, "y": np.zeros(60, int)}, schema)
    finding = PrivacyLoss(confidence=0.999)(make_release(constant), Evidence(rows(1), rows(2)))
    assert not finding.better_than_chance
