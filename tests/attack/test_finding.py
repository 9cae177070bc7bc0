from __future__ import annotations

import json
import math

import pytest

from sfumato.attack import Finding
from sfumato.errors import InputError


def finding(**changes: object) -> Finding:
    values: dict[str, object] = {
        "attack": "membership.distance",
        "metric": "AUC",
        "value": 0.6,
        "interval": (0.55, 0.65),
        "confidence": 0.95,
        "chance": 0.5,
        "baseline": 0.52,
        "ceiling": 0.7,
        "roc": ((0.0, 0.0), (0.5, 0.7), (1.0, 1.0)),
        "details": {"targets": 100},
        "summary": "A sentence.",
    }
    return Finding(**{**values, **changes})  # type: ignore[arg-type]


def found(**changes: object) -> dict[str, object]:
    """Details with a point where few may be accused, at which members are found."""
    point = {"tpr": 0.03, "fpr": 0.001, "breaks_guarantee": False, "beats_chance": True}
    return {"tpr_at_fpr": [{"tpr": 0.04, "fpr": 0.01}, {**point, **changes}]}


def test_survives_json() -> None:
    one = finding()
    assert Finding.from_dict(json.loads(json.dumps(one.to_dict()))) == one
    bare = finding(baseline=None, ceiling=None)
    assert Finding.from_dict(json.loads(json.dumps(bare.to_dict()))) == bare


@pytest.mark.parametrize(
    ("changes", "better", "breaks", "verdict"),
    [
        ({}, True, False, "within what the guarantee allows"),
        ({"interval": (0.5, 0.65)}, False, False, "no better than guessing"),
        ({"baseline": 0.58}, False, False, "an attacker without the release"),
        ({"baseline": None}, True, False, "within what the guarantee allows"),
        ({"ceiling": 0.54}, True, True, "more than the guarantee allows"),
        ({"ceiling": 0.55}, True, False, "within what the guarantee allows"),
        ({"ceiling": None}, True, False, "nothing is proven"),
        (
            {"interval": (0.5, 0.65), "details": found()},
            True,
            False,
            "(3.00% of members are found where 0.10% of others are), within",
        ),
        (
            {"interval": (0.5, 0.65), "ceiling": None, "details": found()},
            True,
            False,
            "0.10% of others are), nothing is proven",
        ),
        (
            {"details": found(breaks_guarantee=True)},
            True,
            True,
            "more than the guarantee allows (3.00% of members",
        ),
        (
            {"interval": (0.5, 0.65), "details": found(beats_chance=False)},
            False,
            False,
            "no better",
        ),
        (
            {"value": 0.4, "interval": (0.3, 0.45), "details": found()},
            False,
            False,
            "exchanged, this is a leak",
        ),
        ({"interval": (0.5, 0.65), "details": {"tpr_at_fpr": "?"}}, False, False, "no better"),
        ({"value": 0.4, "interval": (0.3, 0.5)}, False, False, "no better than guessing"),
        ({"value": 0.0, "interval": (0.0, 0.01)}, False, False, "exchanged, this is a leak"),
        (
            {"attack": "stealing.copy", "value": 0.2, "interval": (0.1, 0.3)},
            False,
            False,
            "no better than guessing",
        ),
    ],
)
def test_verdict_follows_from_interval_chance_baseline_and_ceiling(
    changes: dict[str, object], better: bool, breaks: bool, verdict: str
) -> None:
    one = finding(**changes)
    assert one.better_than_chance is better
    assert one.breaks_guarantee is breaks
    assert verdict in one.verdict


@pytest.mark.parametrize(
    "changes",
    [
        {"value": 0.7},
        {"interval": (0.65, 0.55)},
        {"value": math.nan},
        {"interval": (0.5, math.inf)},
        {"ceiling": math.inf},
        {"confidence": 1.0},
        {"details": {"x": math.nan}},
    ],
)
def test_refuses_figures_that_cannot_be(changes: dict[str, object]) -> None:
    with pytest.raises(ValueError, match=r"."):
        finding(**changes)


@pytest.mark.parametrize("damage", [{"interval": None}, {"value": "x"}, {"roc": [[1]]}])
def test_a_damaged_finding_is_an_input_error(damage: dict[str, object]) -> None:
    with pytest.raises(InputError, match="cannot be read"):
        Finding.from_dict({**finding().to_dict(), **damage})
    with pytest.raises(InputError, match="cannot be read"):
        Finding.from_dict({})
