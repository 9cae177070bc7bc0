"""Labels from gradients and updates: all of them where nothing protects them."""

from __future__ import annotations

from functools import cache
from typing import Any

import numpy as np
import pytest
import torch
from tests.attack.overfitted import NOISY, census, digits, fitted, unproven

from sfumato import registry
from sfumato.attack import Evidence
from sfumato.attack.finding import Finding
from sfumato.attack.gradients.exposure import Exposure
from sfumato.attack.gradients.labels import counts_of_bias
from sfumato.attack.label import Gradient, _Game, _log_odds, score
from sfumato.errors import InputError
from sfumato.measure import intervals
from sfumato.release.model import Model


@cache
def model(steps: int = 20) -> Model:
    return fitted(digits("train", 0, 100), hidden=(32,), steps=steps)


def evidence() -> Evidence:
    return Evidence(digits("train", 0, 100), digits("test", 0, 200))


def attack(name: str, plan: Any = None, steps: int = 20, **settings: Any) -> Finding:
    built = registry.build("attack", name, settings)
    found = built(unproven(model(steps), **(plan or {})), evidence())
    assert isinstance(found, Finding)
    return found


def test_single_gradients_give_every_label() -> None:
    finding = attack("label.gradient")
    assert finding.value == 1.0
    assert finding.better_than_chance
    assert finding.baseline is not None
    assert abs(finding.baseline) < 0.15


@pytest.mark.parametrize("name", ["label.gradient", "label.update"])
def test_the_noise_of_training_hides_labels(name: str) -> None:
    """A false alarm: an interval above the commonest class at 95 %; the seed is fixed."""
    finding = attack(name, {**NOISY, "noise_multiplier": 4.0}, max_targets=100)
    assert not finding.better_than_chance
    assert finding.ceiling is not None
    assert finding.interval[0] < finding.ceiling < 0.3


@pytest.mark.parametrize("name", ["label.gradient", "label.update"])
def test_a_class_that_nearly_everybody_has_is_named_without_a_gradient(name: str) -> None:
    """Planted: a baseline of another class than the commonest, which anything would beat."""
    data = digits("train", 0, 400)
    rows = np.flatnonzero(np.asarray(data.labels) == 3)
    more = np.flatnonzero(np.asarray(data.labels) == 5)[:6]
    sides = [data.select(np.sort(np.concatenate([rows[k::2], more[k::2]]))) for k in range(2)]
    built = registry.build("attack", name, {"max_targets": 100})
    weak = {**NOISY, "noise_multiplier": 4.0}
    finding = built(unproven(model(), **weak), Evidence(*sides))
    assert finding.details["commonest_class_rate"] > 0.8
    assert finding.baseline == pytest.approx(score(finding.details["commonest_class_rate"], 10))
    assert not finding.better_than_chance
    low = score(0.8, 10)
    assert finding.baseline > low
    assert finding.ceiling > low


def test_batches_of_gradients_give_their_labels() -> None:
    finding = attack("label.gradient", steps=0, batch=5)
    assert finding.value > 0.9
    assert finding.better_than_chance


def test_the_interval_of_batches_is_not_chosen_by_what_they_gave() -> None:
    """Twenty batches that happen to be all right or all wrong are no twenty coins."""
    finding = attack("label.gradient", steps=20, batch=50, gradient="bare")
    n, (low, high) = finding.details["gradients"], finding.details["success_rate_interval"]
    rate = finding.details["success_rate"]
    assert (low, high) == pytest.approx(intervals.bounded_mean(rate, n))
    game = _Game.of(Gradient(), unproven(model()), evidence(), "released", 0)
    halves = np.repeat([0.0, 1.0], 10)
    found = [
        game.finding("x", Gradient(), halves, halves, Exposure(), "it", single=single).interval
        for single in (True, False)
    ]
    assert found[1][0] < found[0][0] < found[0][1] < found[1][1]


def test_counts_are_those_that_explain_the_mean_gradient() -> None:
    rng = np.random.default_rng(0)
    scores = torch.from_numpy(rng.dirichlet(np.ones(6), 6))
    counts = torch.tensor([[3, 0, 0, 2, 0, 3], [0, 8, 0, 0, 0, 0]])
    share = counts.double() / 8
    seen = share @ scores - share
    assert torch.equal(counts_of_bias(seen, scores, 8), counts)


def test_an_update_gives_the_label_to_whoever_may_only_ask() -> None:
    finding = attack("label.update", max_targets=60)
    assert finding.value > 0.9
    assert finding.better_than_chance


def test_an_update_of_a_sure_model_is_read_in_log_odds() -> None:
    """Planted: the mean rise of logarithms, which tells 31 % of these, 45 % being told by odds."""
    members = digits("train", 0, 300)
    sure = fitted(members, hidden=(16, 16, 16, 16), steps=600)
    built = registry.build("attack", "label.update", {"max_targets": 100})
    found = built(unproven(sure), Evidence(members, digits("train", 300, 600)))
    assert found.details["success_rate"] > 0.38


def test_log_odds_of_a_sure_answer_are_those_of_what_is_left() -> None:
    scores = torch.tensor([[40.0, 0.0, 1.0], [0.0, 0.0, 0.0]], dtype=torch.float64)
    rest = float(np.log1p(np.e))
    wanted = [[40 - rest, -np.logaddexp(40, 1), 1 - np.logaddexp(40, 0)], [-np.log(2)] * 3]
    assert _log_odds(scores).numpy() == pytest.approx(np.array(wanted), abs=1e-12)


def test_rows_have_labels_too() -> None:
    members, others = census("train"), census("test")
    release = unproven(fitted(members, hidden=(16,), steps=0))
    for name in ("label.gradient", "label.update"):
        built = registry.build("attack", name, {"max_targets": 100})
        assert built(release, Evidence(members, others)).value > 0.9


def test_the_score_is_nought_for_guessing_and_one_for_all() -> None:
    assert score(0.1, 10) == pytest.approx(0)
    assert score(1.0, 10) == 1


def test_batches_of_a_private_training_and_too_large_ones_are_refused() -> None:
    with pytest.raises(InputError, match="clipped and noised"):
        attack("label.gradient", NOISY, batch=4)
    with pytest.raises(InputError, match="members to put in it"):
        attack("label.gradient", batch=101)
    with pytest.raises(InputError, match="learning_rate"):
        attack("label.update", learning_rate=0)
