"""A model's members, said by secret coins: what an attack must beat is exactly chance."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from sfumato.attack import suite


def test_attacks_on_a_model_and_the_suite_keep_what_coins_said(memorised: Any) -> None:
    release, evidence = memorised
    for by_coins in (False, True):
        given = replace(evidence, by_coins=by_coins)
        for finding in suite.run(release, given, attacks=["membership.loss", "membership.gap"]):
            assert (finding.margin is None) == by_coins
            if by_coins:
                assert finding.baseline == finding.chance
