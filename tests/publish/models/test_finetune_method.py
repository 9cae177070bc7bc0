"""``learn.finetune`` end to end: from private images to a release, without the extra's weights."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from sfumato import registry
from sfumato.data import ImageSchema, ImageSet
from sfumato.errors import InputError, MissingExtraError
from sfumato.learn.trainer import PrivateTrainer
from sfumato.privacy.budget import Budget
from sfumato.privacy.ledger import Ledger
from sfumato.privacy.noise import SeededSource
from sfumato.publish.method import silent
from sfumato.publish.models.finetune import FineTuneMethod
from sfumato.release.release import Release

FACTS = ImageSchema(3, 20, 24, ("sound", "broken"), records=40)
BUDGET = Budget(3.0, 1e-4)
QUICK: dict[str, Any] = {"weights": "random", "side": 32, "steps": 3, "device": "cpu"}


def images(seed: int = 0, n: int = 40) -> ImageSet:
    rng = np.random.default_rng(seed)
    pixels = rng.random((n, 3, 20, 24), dtype=np.float32)
    return ImageSet.from_arrays(pixels, rng.integers(0, 2, n), FACTS.classes)


def publish(**settings: Any) -> Release:
    calibrated = FineTuneMethod(**QUICK | settings).calibrate(BUDGET, FACTS)
    return calibrated(images(), ledger=Ledger.in_memory(), source=SeededSource(1))


@pytest.mark.parametrize("word", ["head", "bias-1", "lora-1"])
def test_a_release_is_a_network_that_can_be_saved_and_loaded(word: str, tmp_path: Path) -> None:
    release = publish(trainable=word)
    release.save(tmp_path / "release")
    again = Release.load(tmp_path / "release").model
    scores = release.model.probabilities(images(1))
    np.testing.assert_allclose(scores.sum(axis=1), 1)
    np.testing.assert_allclose(again.probabilities(images(1)), scores, atol=1e-5)
    assert again.architecture == {"family": "efficientnet-lite0", "side": 32, "classes": 2}


def test_the_card_says_what_was_public_and_what_was_drawn() -> None:
    card = publish().card
    facts = {fact.name: fact for fact in card.facts}
    assert facts["initial weights"].provenance == "public: random numbers from a fixed seed"
    assert card.plan["expected_batch_size"] == pytest.approx(5)
    assert card.plan["sampling"]["kind"] == "poisson"
    assert card.figures["epsilon"] <= 3.0
    assert any("40 records" in line for line in card.caveats)
    assert any("the place" in line for line in card.caveats)


def test_other_private_images_change_nothing_but_the_weights() -> None:
    calibrated = FineTuneMethod(**QUICK).calibrate(BUDGET, FACTS)
    one, two = (
        calibrated.run(images(seed), SeededSource(1), silent).content.tensors for seed in (0, 1)
    )
    assert set(one) == set(two)
    changed = {name for name in one if not np.array_equal(one[name], two[name])}
    assert changed == {"head.weight", "head.bias"}


def test_an_interrupted_training_goes_on_and_pays_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    calibrated = FineTuneMethod(**QUICK | {"trainable": "lora-1"}).calibrate(BUDGET, FACTS)
    ledger = Ledger.in_memory()
    step = PrivateTrainer.step

    def killed(trainer: PrivateTrainer) -> None:
        step(trainer)
        if trainer.steps_taken == 2:
            raise KeyboardInterrupt

    monkeypatch.setattr(PrivateTrainer, "step", killed)
    with pytest.raises(KeyboardInterrupt):
        calibrated(images(), ledger=ledger, workspace=tmp_path / "kept")
    monkeypatch.setattr(PrivateTrainer, "step", step)
    with pytest.warns(UserWarning, match="2 steps were begun after the checkpoint"):
        release = calibrated(images(), ledger=ledger, workspace=tmp_path / "kept")
    assert len(list(ledger.entries())) == 1
    assert release.model.probabilities(images(1)).shape == (40, 2)


def test_a_missing_extra_is_named_before_anything_is_spent(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(MissingExtraError, match=r"pip install 'sfumato\[finetune\]'"):
        FineTuneMethod().calibrate(BUDGET, FACTS)


@pytest.mark.parametrize(
    ("setting", "value"),
    [
        ("trainable", "tail-3"),
        ("weights", "jft"),
        ("side", 16),
        ("steps", 0),
        ("neighbours", "zero-out"),
        ("device", "tpu"),
        ("body_rate", 0),
    ],
)
def test_settings_out_of_range_are_refused(setting: str, value: Any) -> None:
    with pytest.raises(InputError):
        FineTuneMethod(**{setting: value})


def test_facts_that_do_not_do_are_refused() -> None:
    method = FineTuneMethod(**QUICK)
    with pytest.raises(InputError, match="number of records"):
        method.calibrate(BUDGET, FACTS.with_records(None))
    with pytest.raises(InputError, match="one class"):
        method.calibrate(BUDGET, ImageSchema(1, 8, 8, ("a",), records=40))


def test_it_is_in_the_list_of_methods() -> None:
    assert registry.find("method", "learn.finetune") is FineTuneMethod
