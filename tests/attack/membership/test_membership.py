"""What every membership attack must do: find what was memorised, and nothing where nothing was."""

from __future__ import annotations

import json
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from scipy.stats import binom

from sfumato import registry
from sfumato.attack import Evidence, blind, suite
from sfumato.attack.membership.game import finding, play
from sfumato.attack.settings import Settings
from sfumato.data import ImageSet
from sfumato.errors import InputError
from sfumato.measure import cnn
from sfumato.privacy import events
from sfumato.privacy.guarantee import Central

pytestmark = pytest.mark.xdist_group("membership")  # one model that memorised

SHADOWS = {"shadows": 16, "family": cnn.DENSE, "epochs": 40, "max_records": 800}
CASES: dict[str, tuple[str, dict[str, Any]]] = {
    "loss": ("loss", {}),
    "gap": ("gap", {}),
    "entropy": ("entropy", {}),
    "quantile": ("quantile", {}),
    "label_only": ("label_only", {}),
    "gradient_norm": ("gradient_norm", {}),
    "shadow": ("shadow", SHADOWS),
    "lira online": ("lira", SHADOWS),
    "lira of several queries": ("lira", {**SHADOWS, "queries": 3, "variance": "each"}),
    "lira offline": ("lira", {**SHADOWS, "mode": "offline"}),
    "rmia online": ("rmia", {**SHADOWS, "mode": "online", "population": 200}),
    "rmia offline": ("rmia", {**SHADOWS, "population": 200}),
}
FEW = {"shadows": 4, "epochs": 1}
EACH = pytest.mark.parametrize("case", CASES)
STRONG = ("lira online", "lira offline", "rmia online", "rmia offline")


def attack(case: str, release: Any, evidence: Evidence, seed: int = 1, **settings: Any) -> Any:
    name, usual = CASES[case]
    built = registry.build("attack", f"membership.{name}", {**usual, **settings})
    return built(release, evidence, seed=seed)


@pytest.fixture(scope="session")
def once(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], dict[str, str]]:
    """A setting with which attacks that ask for the same shadow models share them."""
    folder = tmp_path_factory.mktemp("shadows")
    return lambda case: {"cache": str(folder)} if "shadows" in CASES[case][1] else {}


@pytest.fixture(scope="session")
def found(memorised: tuple[Any, Evidence], once: Callable[[str], dict[str, str]]) -> dict[str, Any]:
    """Every attack's finding on the model that memorised."""
    return {case: attack(case, *memorised, **once(case)) for case in CASES}


@EACH
def test_a_model_that_memorised_is_found(case: str, found: dict[str, Any]) -> None:
    finding = found[case]
    assert finding.better_than_chance
    assert "nothing is proven to limit it" in finding.summary
    assert finding.details["accuracy"]["members"] > finding.details["accuracy"]["non_members"]
    assert finding.attack == f"membership.{CASES[case][0]}"
    json.dumps(finding.to_dict(), allow_nan=False)


@pytest.mark.parametrize("case", STRONG)
def test_shadow_models_find_more_than_the_loss_does(case: str, found: dict[str, Any]) -> None:
    assert found[case].value > found["loss"].value + 0.02
    if "online" in case:  # beyond what the two intervals leave to luck
        assert found[case].interval[0] > found["loss"].interval[1]


@pytest.mark.parametrize("case", ["lira online", "lira offline"])
def test_shadow_models_that_are_unlike_the_model_are_told(
    case: str,
    found: dict[str, Any],
    memorised: tuple[Any, Evidence],
    once: Callable[[str], dict[str, str]],
) -> None:
    """A forest of full trees answers 0 or 1, which no network does: the ratio says nothing then."""
    assert found[case].details["others_beyond_shadows"] < 0.4
    assert "unlike" not in found[case].summary
    release, evidence = memorised
    answers = release.model.probabilities_from

    def certain(inputs: Any) -> Any:
        told = answers(inputs)
        return np.eye(told.shape[1])[told.argmax(axis=1)]

    model = SimpleNamespace(**{**vars(release.model), "probabilities_from": certain})
    model.kind = release.model.kind
    certainly = SimpleNamespace(**{**vars(release), "model": model})
    certainly.artefact = SimpleNamespace(content=model, kind="model")
    finding = attack(case, certainly, evidence, **once(case))
    assert finding.details["others_beyond_shadows"] > 0.9
    assert (
        "every shadow model: these are unlike it, and a low figure says little" in finding.summary
    )


@EACH
def test_a_model_of_other_records_gives_nothing(
    case: str, innocent: tuple[Any, Evidence], once: Callable[[str], dict[str, str]]
) -> None:
    """At 99.99 % each: the whole test raises a false alarm with probability below 1e-3."""
    finding = attack(case, *innocent, confidence=0.9999, **once(case))
    assert not finding.better_than_chance
    assert finding.interval[0] <= 0.5 <= finding.interval[1]


@EACH
def test_the_seed_fixes_the_finding(
    case: str, memorised: tuple[Any, Evidence], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(cnn, "_LEAST_STEPS", 1)
    few = FEW if "shadows" in CASES[case][1] else {}
    one, again = (attack(case, *memorised, seed=3, max_targets=40, **few) for _ in range(2))
    assert one == again
    assert one.details["targets"] == 40


def test_guessing_is_significant_in_at_most_one_run_of_a_hundred(
    memorised: tuple[Any, Evidence],
) -> None:
    """1,000 random scores through the attacks' own code, at 99 %: half a percent a side.

    The attacker without access guesses as well. More alarms than the bound have probability 1e-6
    if the interval covers as stated, and the bound is below 2 %.
    """
    settings = Settings(confidence=0.99)
    game = play(settings, *memorised, 0)
    rng = np.random.default_rng(0)
    m = len(game.members)

    def guess(shift: float) -> Any:
        inside, outside = rng.normal(shift, 1, m), rng.normal(0, 1, m)
        rounds = []
        for _ in range(blind.ROUNDS):
            parts = blind.halves(m, m, rng)
            rows = (parts[0][1], parts[1][1])
            rounds.append(blind.Round(*(rng.normal(0, 1, len(some)) for some in rows), rows))
        luck = blind.Blind(tuple(rounds), (m, m))
        return finding(settings, game, inside, outside, attack="guess", how="luck", baseline=luck)

    alarms = sum(guess(0.0).better_than_chance for _ in range(1000))
    assert alarms <= 10
    assert binom.isf(1e-6, 1000, 0.005) < 20
    # The planted defect: scores that know a little raise the alarm.
    assert sum(guess(0.5).better_than_chance for _ in range(20)) > 15


def test_a_guarantee_that_cannot_be_true_is_broken(
    memorised: tuple[Any, Evidence], once: Callable[[str], dict[str, str]]
) -> None:
    release, evidence = memorised
    claim = Central(events.GaussianDpEvent(8.0), 1e-6)
    release.card.guarantee, before = claim.to_dict(), release.card.guarantee
    try:
        finding = attack("lira online", release, evidence, **once("lira online"))
    finally:
        release.card.guarantee = before
    assert finding.breaks_guarantee
    assert 0.5 < finding.ceiling < 0.6


@pytest.mark.parametrize("case", ["entropy", "quantile", "shadow", "lira offline", "rmia offline"])
def test_half_of_the_others_stand_in_for_auxiliary_records(
    case: str, memorised: tuple[Any, Evidence], monkeypatch: pytest.MonkeyPatch
) -> None:
    release, evidence = memorised
    without = Evidence(evidence.members, evidence.non_members)
    monkeypatch.setattr(cnn, "_LEAST_STEPS", 1)
    finding = attack(case, release, without, **({} if case in ("entropy", "quantile") else FEW))
    assert finding.details["auxiliary"] == 150
    assert finding.details["targets"] == 150
    few = Evidence(evidence.members, evidence.non_members.select(np.arange(30)))
    with pytest.raises(InputError, match="too few to set half"):
        attack(case, release, few)


def test_targets_auxiliary_records_and_pool_do_not_mix(memorised: tuple[Any, Evidence]) -> None:
    release, evidence = memorised
    without = Evidence(evidence.members, evidence.non_members)
    game = play(Settings(max_targets=50), release, without, 0, auxiliary=100, pool=300)

    def keys(side: Any) -> list[bytes]:
        return [row.tobytes() for row in side.inputs]

    targets = keys(game.members) + keys(game.others)
    assert keys(game.pool)[:100] == targets
    assert len(set(keys(game.pool))) == len(game.pool) == 300
    assert not set(keys(game.auxiliary)) & set(keys(game.pool))
    assert len(game.auxiliary) == 100


def test_costly_attacks_run_when_named_and_say_first_what_they_cost(
    memorised: tuple[Any, Evidence], monkeypatch: pytest.MonkeyPatch
) -> None:
    usual = suite.chosen("model", None)
    assert {"membership.loss", "membership.gap", "membership.label_only"} <= set(usual)
    costly = {"membership.lira", "membership.rmia", "membership.shadow"}
    assert not costly & set(usual)
    assert suite.chosen("model", ["membership.lira"]) == ("membership.lira",)
    monkeypatch.setattr(cnn, "_LEAST_STEPS", 1)
    told: list[str] = []
    release, evidence = memorised
    few = Evidence(*(s.select(np.arange(40)) for s in (evidence.members, evidence.non_members)))
    suite.run(
        release,
        few,
        attacks=["membership.lira"],
        progress=lambda done, total, label: told.append(label),
    )
    assert "64 shadow models, small CNN" in told[1]
    assert "about" in told[1]


def test_attacks_that_nobody_named_are_left_out_where_records_are_too_few(
    memorised: tuple[Any, Evidence],
) -> None:
    release, evidence = memorised
    few = Evidence(*(s.select(np.arange(30)) for s in (evidence.members, evidence.non_members)))
    names = {finding.attack for finding in suite.run(release, few)}
    assert names == {"membership.loss", "membership.gap", "membership.label_only"}


def test_the_weights_are_asked_for_where_they_are_needed(memorised: tuple[Any, Evidence]) -> None:
    release, evidence = memorised
    known = release.model
    release.model = type(known)(known.schema, known.probabilities_from)  # no module
    try:
        with pytest.raises(InputError, match="needs the model's weights"):
            attack("gradient_norm", release, evidence)
    finally:
        release.model = known


@pytest.mark.parametrize(
    ("case", "settings", "message"),
    [
        ("lira online", {"mode": "sideways"}, "mode is 'sideways'"),
        ("lira online", {"variance": "none"}, "variance is 'none'"),
        ("lira online", {"queries": 10}, "queries is 10"),
        ("lira online", {"shadows": 2}, "shadows is 2"),
        ("lira online", {"family": "forest"}, "family is 'forest'"),
        ("rmia online", {"gamma": 0.0}, "gamma is 0.0"),
        ("rmia online", {"gamma": "x"}, "gamma is 'x'.*a number above 0"),
        ("rmia online", {"a": 1.5}, "a is 1.5"),
        ("quantile", {"level": 1.0}, "level is 1.0"),
        ("label_only", {"repeats": 0}, "repeats is 0"),
    ],
)
def test_bad_settings_are_refused(
    case: str, settings: dict[str, Any], message: str, memorised: tuple[Any, Evidence]
) -> None:
    with pytest.raises(InputError, match=message):
        attack(case, *memorised, **settings)


def test_the_label_is_enough_where_a_model_rounds_its_answers(
    memorised: tuple[Any, Evidence],
) -> None:
    """Hiding probabilities is no defence: predicted classes give the same finding."""
    release, evidence = memorised
    whole = release.model.probabilities_from
    before = attack("label_only", release, evidence)
    release.model.probabilities_from = lambda x: np.eye(10)[whole(x).argmax(axis=1)]
    try:
        after = attack("label_only", release, evidence)
    finally:
        release.model.probabilities_from = whole
    assert after.value == before.value


def test_pictures_of_another_shape_are_refused(memorised: tuple[Any, Evidence]) -> None:
    release, _ = memorised
    rng = np.random.default_rng(0)
    parts = [
        ImageSet.from_arrays(
            rng.random((30, 1, 6, 6), dtype=np.float32), np.arange(30) % 2, ("a", "b")
        )
        for _ in range(2)
    ]
    with pytest.raises(InputError, match="other columns, levels, bounds or shapes"):
        attack("gap", release, Evidence(*parts))
