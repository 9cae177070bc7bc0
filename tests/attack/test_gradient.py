"""Pictures from gradients: rebuilt from bare ones, not from those that training protects."""

from __future__ import annotations

import json
from functools import cache
from typing import Any

import numpy as np
import pytest
import torch
from tests.attack.overfitted import NOISY, digits, fitted, unproven

from sfumato import registry
from sfumato.attack import Evidence, suite
from sfumato.attack.finding import Finding
from sfumato.attack.gradients.exposure import Exposure
from sfumato.data import ImageSet
from sfumato.errors import InputError
from sfumato.release.model import Model


@cache
def dense() -> Model:
    return fitted(digits("train", 0, 100), hidden=(32,), steps=40)


def evidence(scale: int = 1) -> Evidence:
    return Evidence(digits("train", 0, 100, scale), digits("test", 0, 100, scale))


def attack(model: Model, plan: Any = None, scale: int = 1, **settings: Any) -> Finding:
    built = registry.build("attack", "gradient.inversion", settings)
    found = built(unproven(model, **(plan or {})), evidence(scale))
    assert isinstance(found, Finding)
    return found


def test_a_first_linear_layer_gives_the_pictures_exactly() -> None:
    finding = attack(dense())
    assert finding.details["way"] == "analytic"
    assert finding.value == 1.0
    assert finding.details["ssim"]["least"] > 0.99
    assert finding.details["label_accuracy"] == 1.0
    assert finding.better_than_chance
    assert finding.ceiling is None


def test_the_noise_of_training_hides_them_and_its_ceiling_is_stated() -> None:
    finding = attack(dense(), NOISY)
    assert not finding.better_than_chance
    assert finding.details["exposure"] == {"max_grad_norm": 0.1, "noise_multiplier": 1.0}
    assert finding.ceiling is not None
    assert finding.baseline is not None
    assert finding.baseline < finding.ceiling < 1
    assert finding.details["label_accuracy"] < 0.6
    # The same gradients without their protection.
    assert attack(dense(), NOISY, gradient="bare").value == 1.0


def test_pictures_that_anybody_could_guess_are_no_success() -> None:
    """Where all people look alike one picture fits them all: the attacker without access has 1."""
    data = digits("train", 0, 1)
    drawn = np.random.default_rng(0).normal(0, 0.02, (200, 1, 8, 8))
    images = np.clip(data.images + drawn, 0, 1).astype(np.float32)
    labels = np.arange(200) % 10
    sides = [
        ImageSet.from_arrays(images[rows], labels[rows], data.schema.classes)
        for rows in (slice(0, 100), slice(100, 200))
    ]
    built = registry.build("attack", "gradient.inversion", {})
    finding = built(unproven(fitted(sides[0], hidden=(32,), steps=0)), Evidence(*sides))
    assert finding.value == 1.0 == finding.baseline
    assert not finding.better_than_chance


def test_a_convolutional_network_is_inverted_by_search() -> None:
    model = fitted(digits("train", 0, 100, 2), steps=0)
    finding = attack(model, scale=2, iterations=300)
    assert finding.details["way"] == "cosine"
    assert finding.details["ssim"]["mean"] > 0.7
    assert finding.better_than_chance


@pytest.mark.parametrize("way", ["dlg", "idlg"])
def test_deep_leakage_finds_smooth_networks_pictures(way: str) -> None:
    model = fitted(digits("train", 0, 100), steps=0)  # logistic regression
    finding = attack(model, way=way, iterations=40)
    assert finding.value > 0.9
    assert finding.details["label_accuracy"] > 0.9


def test_pictures_are_shown_to_whoever_asks_only() -> None:
    hidden, shown = attack(dense()), attack(dense(), reveal=True)
    assert "revealed" not in json.dumps(hidden.to_dict())
    assert len(shown.details["revealed"]) == 8
    assert hidden.value == shown.value


def test_what_does_not_fit_is_refused() -> None:
    with pytest.raises(InputError, match="way is 'guess'"):
        attack(dense(), way="guess")
    with pytest.raises(InputError, match="gradient is 'raw'"):
        attack(dense(), gradient="raw")
    with pytest.raises(InputError, match="weights is 'old'"):
        attack(dense(), weights="old")
    with pytest.raises(InputError, match="no single clip norm"):
        attack(dense(), {"noise_multiplier": 1.0, "clipping": {"type": "Grouped"}})
    with pytest.raises(InputError, match="first layer is not"):
        attack(fitted(digits("train", 0, 40, 2), steps=0), scale=2, way="analytic")


def test_it_is_run_where_it_is_named_only() -> None:
    assert "gradient.inversion" not in suite.chosen("model", None)
    assert suite.chosen("model", ["gradient.inversion"]) == ("gradient.inversion",)


AUTOMATIC = {"type": "Automatic", "max_grad_norm": 1.0, "gamma": 0.01}
FLAT = {"type": "Flat", "max_grad_norm": 1.0}


@pytest.mark.parametrize(
    "plan",
    [
        {"noise_multiplier": 1.0, "clipping": AUTOMATIC},
        {"noise_multiplier": 1.0, "clipping": {"type": "Stacked", "max_grad_norm": 1.0}},
        {"noise_multiplier": 1.0, "clipping": {"max_grad_norm": 1.0}},
        {"noise_multiplier": 1.0, "clip_norm": 1.0},
        {"noise_multiplier": True, "clipping": FLAT},
        {"noise_multiplier": 1.0, "clipping": FLAT, "coefficients": [1.0, 0.5]},
        {"noise_schedule": {"type": "constant"}, "scale": 1.0, "clipping": FLAT},
        {"teachers": 100, "votes_noise": 3.0},
        {"clipping": FLAT},
    ],
)
def test_only_flat_clipping_with_independent_noise_is_attacked_as_trained(plan: Any) -> None:
    with pytest.raises(InputError, match="no single clip norm"):
        Exposure.of_plan(plan, "as trained")
    assert Exposure.of_plan(plan, "bare") == Exposure()


def test_flat_clipping_and_no_protection_are_what_the_card_says() -> None:
    plan = {"noise_multiplier": 2.0, "clipping": FLAT, "directions_noise_multiplier": 9.0}
    assert Exposure.of_plan(plan, "as trained") == Exposure(1.0, 2.0)
    assert Exposure.of_plan({"steps": 10}, "as trained") == Exposure()


def test_the_noise_of_a_step_shares_no_numbers_with_guesses_weights_or_other_runs() -> None:
    """An attacker whose first guess is the noise itself would know it."""
    none = torch.zeros(3, 100)
    seen = Exposure(1.0, 1.0)
    guess = torch.randn(3, 100, generator=torch.Generator().manual_seed(7))
    assert not torch.equal(seen(none, 7), guess)
    assert abs(float((seen(none, 7) * guess).mean())) < 0.3  # 5.2 standard errors
    assert torch.equal(seen(none, (7, 3)), seen(none, (7, 3)))
    assert not torch.equal(seen(none, (7, 3)), seen(none, (8, 2)))


# Planted: the noise is announced, but not added.


def test_a_step_whose_noise_is_missing_breaks_its_ceiling(monkeypatch: pytest.MonkeyPatch) -> None:
    strong = {**NOISY, "noise_multiplier": 4.0}
    assert not attack(dense(), strong).breaks_guarantee
    monkeypatch.setattr(Exposure, "__call__", lambda self, gradients, seed: gradients)
    assert attack(dense(), strong).breaks_guarantee
