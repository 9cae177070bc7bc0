"""Verdicts: attacks are never called proofs, and what few people show is not called safe."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from sfumato.attack.margin import Margin
from sfumato.report import verdicts, wording

Make = Callable[..., Any]


@pytest.mark.parametrize(
    ("changes", "tone", "words"),
    [
        ({}, "good", "evidence, not proof: a better attack may exist, and only the ceiling"),
        ({"ceiling": None}, "good", "a better attack may exist."),
        (
            {"value": 0.54, "interval": (0.53, 0.55)},
            "warn",
            "1 of 1 attack did better than chance: membership.distance. All stayed within",
        ),
        (
            {"value": 0.54, "interval": (0.53, 0.55), "ceiling": None},
            "warn",
            "the figure itself is what to judge",
        ),
        (
            {"value": 0.1, "interval": (0.0, 0.2)},
            "warn",
            "If the two were exchanged, this is a leak",
        ),
        ({"value": 0.9, "interval": (0.8, 0.95)}, "bad", "further than the guarantee allows"),
    ],
)
def test_attack_verdicts(
    changes: dict[str, Any], tone: str, words: str, make_finding: Make
) -> None:
    found = make_finding(**changes)
    said = verdicts.attack_verdict([found])
    assert said[0] == tone
    assert words in said[1]
    assert verdicts.finding_verdict(found)[0] == tone
    assert "proves" not in said[1]
    assert "proof that" not in said[1]


def test_a_leak_of_few_members_is_one(make_finding: Make) -> None:
    point = {"fpr_target": 0.001, "tpr": 0.03, "fpr": 0.001, "beats_chance": True}
    few = make_finding(details={"tpr_at_fpr": [point]})
    assert verdicts.finding_verdict(few) == ("warn", "finds a few members")
    assert "1 of 1 attack did better than chance" in verdicts.attack_verdict([few])[1]
    broken = make_finding(details={"tpr_at_fpr": [{**point, "breaks_guarantee": True}]})
    assert verdicts.finding_verdict(broken)[0] == "bad"
    assert "further than the guarantee allows" in verdicts.attack_verdict([broken])[1]


def test_to_beat_guessing_but_not_the_baseline_is_told_apart(make_finding: Make) -> None:
    inside = make_finding(interval=(0.501, 0.52))
    assert verdicts.finding_verdict(inside) == ("good", "no better than its baseline")
    assert verdicts.finding_verdict(make_finding()) == ("good", "no better than chance")


def test_what_few_people_cannot_tell_is_neither_good_nor_a_leak(make_finding: Make) -> None:
    few = make_finding(
        value=0.6, interval=(0.53, 0.66), ceiling=None, margin=Margin(0.05, (-0.04, 0.14), 46)
    )
    assert verdicts.finding_verdict(few) == ("warn", "not told from its baseline")
    assert verdicts.beaten(few) == "beaten by −0.040 to 0.140 (46 people)"
    tone, said = verdicts.attack_verdict([few])
    assert tone == "warn"
    assert "None of 1 attack surely did better" in said
    assert "membership.distance it cannot be told" in said
    sure = make_finding(value=0.6, interval=(0.53, 0.66), ceiling=None)
    assert "it cannot be told" in verdicts.attack_verdict([sure, few])[1]
    assert verdicts.beaten(sure) == ""


def test_no_attack_is_no_evidence() -> None:
    assert verdicts.attack_verdict([]) == ("none", "No attack was run.")


@pytest.mark.parametrize(
    ("real", "released", "majority", "words"),
    [
        (0.9, 0.8, 0.7, "50 % is kept"),
        (0.9, 0.95, 0.7, "100 % is kept"),
        (0.9, 0.65, 0.7, "no better than the baseline"),
        (0.705, 0.70, 0.7, "hardly beat the baseline"),
    ],
)
def test_utility_verdicts(real: float, released: float, majority: float, words: str) -> None:
    said = verdicts.utility_verdict("accuracy", real, released, majority)
    assert words in said.replace("\xa0", " ")
    assert wording.figure(released) in said


def test_an_auroc_is_judged_against_one_half() -> None:
    assert "50\xa0% is kept" in verdicts.utility_verdict("AUROC", 0.9, 0.7, None)
