from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
import pytest

import sfumato
from sfumato import registry
from sfumato.attack import Evidence, roc, suite
from sfumato.attack.finding import Finding
from sfumato.attack.settings import Settings
from sfumato.errors import InputError
from sfumato.measure import intervals


@pytest.fixture
def evidence(make_people: Any) -> Evidence:
    return Evidence(make_people(60, 1), make_people(60, 2))


def test_runs_all_that_fit_with_intervals_that_hold_together(
    evidence: Evidence, make_people: Any, make_release: Any
) -> None:
    told: list[tuple[int, int, str]] = []
    findings = suite.run(
        make_release(make_people(60, 3)), evidence, progress=lambda *step: told.append(step)
    )
    names = [finding.attack for finding in findings]
    assert set(names) >= {
        "attribute.inference",
        "linkage.nearest",
        "membership.distance",
        "privacy_loss",
    }
    assert {f.confidence for f in findings} == {1 - 0.01 / len(names)}
    assert [step[0] for step in told] == list(range(len(names) + 1))
    assert told[-1][:2] == (len(names), len(names))


def test_a_guess_is_hardly_ever_said_to_succeed(
    evidence: Evidence, make_people: Any, make_release: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """At most 1 % of 1,000 guesses, by what a run asks for by itself; at 95 % it would be 3 %."""

    @dataclass(frozen=True)
    class Guess(Settings):
        kinds: ClassVar[tuple[str, ...]] = ("table",)

        def __call__(self, release: Any, evidence: Evidence, *, seed: int = 0) -> Finding:
            inside, outside = np.random.default_rng(seed).standard_normal((2, 100))
            area, interval = intervals.auc(inside, outside, self.confidence)
            low = roc.at_low_fpr(inside, outside, (0.01, 0.001), self.confidence, None)
            details = {"tpr_at_fpr": low}
            return Finding("guess", "AUC", area, interval, self.confidence, 0.5, details=details)

    monkeypatch.setattr(registry, "find", lambda kind, name: Guess)
    monkeypatch.setattr(registry, "build", lambda kind, name, settings: Guess(**settings))
    release = make_release(make_people(60, 3))
    alarms = 0
    for seed in range(1000):
        (finding,) = suite.run(release, evidence, attacks=["guess"], seed=seed)
        alarms += finding.better_than_chance
    assert alarms <= 10


def test_another_confidence_is_shared_and_checked(
    evidence: Evidence, make_people: Any, make_release: Any
) -> None:
    release = make_release(make_people(60, 3))
    two = ["membership.distance", "linkage.nearest"]
    given = sfumato.attack(
        release,
        members=evidence.members,
        non_members=evidence.non_members,
        attacks=two,
        confidence=0.9,
    )
    assert [finding.confidence for finding in given] == [0.95, 0.95]
    wrongs: Any = (0.2, 1.0, float("nan"), "high", True)
    for wrong in wrongs:
        with pytest.raises(InputError, match="confidence is"):
            suite.run(release, evidence, attacks=two, confidence=wrong)


def test_runs_those_that_are_named_once_each(
    evidence: Evidence, make_people: Any, make_release: Any
) -> None:
    release = make_release(make_people(60, 3))
    chosen = ["membership.distance", "linkage.nearest", "membership.distance"]
    findings = suite.run(release, evidence, attacks=chosen)
    assert [finding.attack for finding in findings] == chosen[:2]
    assert suite.run(release, evidence, attacks=[]) == []


def test_refuses_unknown_attacks_before_any_runs(
    evidence: Evidence, make_people: Any, make_release: Any
) -> None:
    with pytest.raises(InputError, match=r"unknown attack 'linkage.nearst'"):
        suite.run(make_release(make_people(60, 3)), evidence, attacks=["linkage.nearst"])


def test_refuses_attacks_on_another_kind(
    evidence: Evidence, make_people: Any, make_release: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(registry.find("attack", "linkage.nearest"), "kinds", ("images",))
    assert "linkage.nearest" not in suite.fitting("table")
    with pytest.raises(InputError, match="does not attack table"):
        suite.run(make_release(make_people(60, 3)), evidence, attacks=["linkage.nearest"])


def test_an_attack_takes_settings_in_brackets_and_presets(
    evidence: Evidence, make_people: Any, make_release: Any
) -> None:
    release = make_release(make_people(60, 3))
    asked = "membership.distance[max_targets=25]"
    (finding,) = suite.run(release, evidence, attacks=[asked])
    assert finding.attack == "membership.distance"
    assert finding.details["targets"] == 25
    assert finding.confidence == 0.99
    text = "membership.shadow[preset=s001,epochs=4]"
    assert suite.chosen("model", [text]) == (text,)
    name, settings = suite.read(text)
    built = registry.build("attack", name, settings)
    assert (built.shadows, built.epochs, built.family) == (10, 4, "small CNN")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("membership.distance[max_targets]", "has no '='"),
        ("membership.distance[targets=3]", "has no setting 'targets'"),
        ("membership.distance[max_targets=3]", "max_targets is 3"),
        ("membership.distance[preset=s001]", "has no preset 's001'"),
        ("membership.distance[", "cannot be read"),
    ],
)
def test_settings_that_are_not_an_attacks_are_refused_before_any_runs(
    text: str, message: str, evidence: Evidence, make_people: Any, make_release: Any
) -> None:
    told: list[str] = []
    with pytest.raises(InputError, match=message):
        suite.run(
            make_release(make_people(60, 3)),
            evidence,
            attacks=["linkage.nearest", text],
            progress=lambda done, total, label: told.append(label),
        )
    assert not told
