"""Where secret coins said who is a member, nobody without the release knows more than they do."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from sfumato import registry
from sfumato.attack import Evidence, Finding
from sfumato.data import Table

ON_ROWS = (
    "membership.distance",
    "membership.domias",
    "linkage.nearest",
    "privacy_loss",
    "attribute.inference",
    "anonymeter.inference",
)


def mixed(members: Table, others: Table, copied: int) -> Table:
    """Rows of others, and the first few members in their midst."""
    own, rest = members.codes(), others.codes()
    both = {n: np.concatenate([own[n][:copied], rest[n][copied:]]) for n in own}
    return Table.from_codes(both, members.schema)


def pair(name: str, release: Any, evidence: Evidence, **settings: Any) -> tuple[Finding, Finding]:
    """The attack on files of others, and where coins parted them."""
    attack: Any = registry.build("attack", name, settings)
    coins = replace(evidence, by_coins=True)
    return attack(release, evidence, seed=0), attack(release, coins, seed=0)


@pytest.mark.parametrize("name", ON_ROWS)
def test_the_figure_is_the_same_and_what_it_must_beat_is_chance(
    name: str, make_people: Any, make_release: Any
) -> None:
    members, others = make_people(60, 1), make_people(60, 2)
    release = make_release(mixed(members, make_people(60, 3), 40))
    few = {"attribute.inference": {"secrets": ["owner", "degree"]}}.get(name, {})
    files, coins = pair(name, release, Evidence(members, others), **few)
    assert files.margin is not None
    assert coins.margin is None
    assert coins.baseline == coins.chance
    assert not coins.undecided
    assert coins.better_than_chance == (coins.interval[0] > coins.chance)
    if "secret" not in coins.details:
        assert (coins.value, coins.interval) == (files.value, files.interval)
    else:  # of several rows, the surest by its own figure
        assert coins.interval[0] == max(row["interval"][0] for row in coins.details["secrets"])
    assert Finding.from_dict(coins.to_dict()) == replace(coins, records=None)


def test_descriptions_keep_their_margin(make_people: Any, make_release: Any) -> None:
    """They are tried on the same people again and again: no exact null."""
    members, others = make_people(60, 1), make_people(60, 2)
    release = make_release(mixed(members, make_people(60, 3), 40))
    few = {"queries": 50}
    files, coins = pair("anonymeter.singling_out", release, Evidence(members, others), **few)
    assert coins.margin is not None
    assert coins == files


def test_a_leak_that_few_people_cannot_tell_from_their_own_difference_is_told_by_coins(
    make_people: Any, make_release: Any, make_gaussian: Any
) -> None:
    members, others = make_people(60, 20), make_people(60, 21)
    release = make_release(mixed(members, make_people(60, 22), 20), make_gaussian(0.1))
    files, coins = pair("membership.distance", release, Evidence(members, others), confidence=0.99)
    assert coins.better_than_chance
    assert not files.better_than_chance
    assert files.undecided
    assert "cannot tell" in files.verdict
