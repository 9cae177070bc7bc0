"""Plain words for findings: true to the figures, and careful where nothing was found."""

from __future__ import annotations

from typing import Any

import pytest

from sfumato.attack.finding import Finding
from sfumato.attack.margin import Margin
from sfumato.report.learns import in_hundred, learns

SUCCESS = {"members": [300, 1000], "control": [100, 1000], "naive": [50, 1000]}
ROW = {"success": SUCCESS, "tried": 1000}


def finding(attack: str, **changes: Any) -> Finding:
    values: dict[str, Any] = {
        "metric": "AUC",
        "value": 0.73,
        "interval": (0.7, 0.76),
        "confidence": 0.95,
        "chance": 0.5,
        "summary": "Its own words.",
    }
    return Finding(attack, **{**values, **changes})


@pytest.mark.parametrize(
    ("share", "said"),
    [
        (0.5, "50 in 100"),
        (0.0149, "1 in 100"),
        (0.0151, "2 in 100"),
        (0.004, "4 in 1,000"),
        (0.0005, "5 in 10,000"),
        (0.00001, "fewer than 2 in 10,000"),
        (0, "none"),
        (1, "all"),
        (0.9996, "nearly all"),
    ],
)
def test_shares_are_counted_as_people_count(share: float, said: str) -> None:
    assert in_hundred(share) == said


def test_an_attack_on_membership_is_a_guess_between_two() -> None:
    points = [{"fpr_target": 0.01, "tpr": 0.12}]
    said = learns(finding("membership.anything", details={"tpr_at_fpr": points}))
    assert said["asked"] == "Was this person in the data?"
    assert "right 73 times in 100 (between 70 and 76)" in said["answer"]
    assert "wrong about 1 in 100 of those who are not in the data finds 12 in 100" in said["answer"]
    assert "nothing is proven to limit" in said["so"]
    assert said["tone"] == "warn"


def test_the_rate_that_is_told_is_the_one_that_matters() -> None:
    sure = {"fpr_target": 0.001, "tpr": 0.03, "fpr": 0.001, "beats_chance": True}
    points = [{"fpr_target": 0.01, "tpr": 0.012}, sure]
    said = learns(
        finding("membership.loss", value=0.52, interval=(0.49, 0.6), details={"tpr_at_fpr": points})
    )
    assert (
        "wrong about 1 in 1,000 of those who are not in the data finds 3 in 100" in said["answer"]
    )
    assert said["tone"] == "warn"
    assert "exposed" in said["so"]


def test_the_guarantee_is_named_where_there_is_one_and_rounded_up() -> None:
    said = learns(finding("membership.loss", ceiling=0.7801))
    assert "keeps every attack below 78.1 %" in said["answer"]
    assert said["so"].endswith("within what the guarantee allows.")
    assert "Something is wrong" in learns(finding("membership.loss", ceiling=0.6))["so"]


def test_what_was_not_found_is_no_proof() -> None:
    luck = finding("membership.loss", value=0.51, interval=(0.47, 0.55))
    assert "Nothing was learnt here about anybody" in learns(luck)["so"]
    shifted = learns(finding("membership.loss", baseline=0.8))
    assert "not surely more than an attacker got without the release" in shifted["so"]
    assert "or seem to by luck" in shifted["so"]  # the baseline is of few people, and has no bounds
    for said in (learns(luck), shifted):
        assert "No proof" in said["so"]
        assert said["tone"] == "good"


def test_few_people_are_said_to_be_too_few_to_tell() -> None:
    few = finding("membership.loss", baseline=0.6, margin=Margin(0.1, (-0.05, 0.25), 60))
    said = learns(few)
    assert "cannot be told: the two may differ by −0.050 to 0.250" in said["so"]
    assert "take it for a leak" in said["so"]
    assert said["tone"] == "warn"
    none = learns(finding("membership.loss", baseline=0.9, margin=Margin(-0.2, (-0.3, -0.1), 60)))
    assert "no more than an attacker got without the release" in none["so"]
    assert none["tone"] == "good"


def test_members_who_do_worse_than_others_are_not_called_exposed_without_a_doubt() -> None:
    said = learns(finding("membership.loss", value=0.1, interval=(0.05, 0.2)))
    assert "If the two were exchanged" in said["so"]
    assert said["tone"] == "warn"


@pytest.mark.parametrize(
    ("attack", "details", "named"),
    [
        ("privacy_loss", {"P": 0.61}, "right 61 times in 100"),
        ("anonymeter.linkability", ROW, "30 in 100 of the people in the data are joined"),
        (
            "anonymeter.inference",
            {"secret": "town", "secrets": [{"secret": "town", **ROW}]},
            "guesses 'town' right for 30 in 100 of the people in the data",
        ),
        (
            "anonymeter.singling_out",
            {"mode": "univariate", "among": 5000, "modes": [{"mode": "univariate", **ROW}]},
            "Among as many people who are not in the data, 10 in 100 do",
        ),
        (
            "attribute.inference",
            {
                "secret": "town",
                "secrets": [
                    {"secret": "town", "accuracy": {"members": 0.4, "non_members": 0.25}},
                ],
            },
            "Of people who are not in it, 25 in 100",
        ),
        (
            "linkage.nearest",
            {"game": "rank-1", "line_up": 1000, "linked": 14},
            "finds the right person for 14; by drawing lots, about 1",
        ),
        (
            "memorisation.nearest",
            {
                "targets": 2000,
                "released": {"compared": 800, "memorised": 21},
                "reproduced": {"training": 20, "held_out": 1},
            },
            "20 training pictures came back in this way",
        ),
    ],
)
def test_every_attack_says_what_its_figure_means(attack: str, details: Any, named: str) -> None:
    assert named in learns(finding(attack, metric="risk", details=details))["answer"]


def test_a_finding_that_is_not_known_keeps_its_own_words() -> None:
    said = learns(finding("audit.new", metric="epsilon"))
    assert said["answer"] == "Its own words."
    assert learns(finding("anonymeter.linkability", details={}))["answer"] == "Its own words."
