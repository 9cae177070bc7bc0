"""``learn.vmf`` as a method; its noise is tested with the directions."""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from sfumato import registry
from sfumato.data import Categorical, ImageSchema, ImageSet, Numeric, Schema, Table
from sfumato.errors import BudgetError, InputError
from sfumato.learn.architectures import load
from sfumato.learn.directional_loop import DirectionalLoop
from sfumato.learn.examples import labelled
from sfumato.learn.noise import STREAM
from sfumato.privacy.budget import Budget
from sfumato.privacy.guarantee import Metric
from sfumato.privacy.ledger import Ledger
from sfumato.privacy.neighbours import Neighbours
from sfumato.privacy.noise import SeededSource
from sfumato.publish.method import silent
from sfumato.publish.models.vmf import VonMisesFisher
from sfumato.release.release import Artefact, Release

IMAGES = ImageSchema(1, 4, 4, ("dark", "bright"))
SMALL: dict[str, Any] = {"network": "dense", "steps": 40, "expected_batch_size": 50, "seed": 1}


def pictures(n: int, seed: int = 0) -> ImageSet:
    rng = np.random.default_rng(seed)
    labels = np.arange(n) % 2
    images = 0.25 * rng.random((n, 1, 4, 4)) + 0.7 * labels[:, None, None, None]
    return ImageSet.from_arrays(images.astype(np.float32), labels, IMAGES.classes)


def made(epsilon: float, n: int = 100, **settings: Any) -> Any:
    return VonMisesFisher(**{**SMALL, **settings}).calibrate(
        Budget(epsilon), IMAGES.with_records(n)
    )


def trained(kappa: float, **settings: Any) -> Artefact:
    return made(2 * 40 * kappa, **settings).run(pictures(100), SeededSource(1), silent)


def accuracy(artefact: Artefact) -> float:
    model = artefact.content
    inputs, targets = labelled(pictures(200, seed=5))
    scores = load(model.architecture, model.tensors)(inputs)
    return float((scores.argmax(dim=1) == targets).double().mean())


def test_it_is_registered_with_its_kind_of_guarantee() -> None:
    assert registry.find("method", "learn.vmf") is VonMisesFisher
    assert VonMisesFisher.relation == "metric"
    assert VonMisesFisher.gives == "model"


def test_the_guarantee_is_by_distance_and_meets_the_budget_at_any() -> None:
    calibrated = made(80.0)
    guarantee = calibrated.guarantee
    assert isinstance(guarantee, Metric)
    assert guarantee.epsilon() == pytest.approx(80.0)
    assert guarantee.epsilon_per_distance == pytest.approx(40.0)
    assert guarantee.worst_case.neighbours is Neighbours.REPLACE_ONE
    assert calibrated.plan["kappa"] == pytest.approx(1.0)
    assert calibrated.plan["steps"] == 40
    assert calibrated.source is STREAM
    assert "2 κ T = 80" in calibrated.caveats[0]
    assert any("replacing" in line for line in calibrated.caveats)


def test_a_delta_buys_a_larger_kappa() -> None:
    facts = IMAGES.with_records(1000)
    pure, other = (
        VonMisesFisher(**SMALL).calibrate(Budget(8.0, delta), facts) for delta in (0.0, 1e-5)
    )
    assert other.plan["kappa"] > 10 * pure.plan["kappa"]
    assert 7.9 < other.guarantee.epsilon() <= 8.0
    assert other.guarantee.delta == 1e-5
    assert other.plan["size"] == 16 * 2 + 2


def test_a_release_says_what_it_proves_and_survives_the_disk(tmp_path: Path) -> None:
    release = made(80.0)(pictures(100), ledger=Ledger.in_memory(), source=SeededSource(1))
    assert release.card.verify() == []
    assert release.card.figures["epsilon"] == pytest.approx(80.0)
    assert release.card.figures["tpr_ceiling"][0][1] < 0.1, "the worst draw is next to never seen"
    assert release.card.guarantee["kind"] == "metric"
    release.save(tmp_path / "release")
    loaded = Release.load(tmp_path / "release")
    assert loaded.card.guarantee == release.card.guarantee
    assert loaded.card.verify() == []


def test_it_learns_with_little_noise_and_not_with_much() -> None:
    assert accuracy(trained(2000.0)) > 0.95
    weights = [
        np.abs(trained(kappa).content.tensors["1.weight"]).mean() for kappa in (0.05, 2000.0)
    ]
    assert weights[0] > 10 * weights[1], "noise of unit vectors, scaled back to unbiased"


def test_a_ledger_with_a_ceiling_takes_it_as_long_as_it_fits() -> None:
    ledger = Ledger.in_memory()
    ledger.set_ceiling(Budget(100.0))
    calibrated = made(80.0)
    calibrated(pictures(100), ledger=ledger, source=SeededSource(1))
    assert ledger.total()[0].epsilon == pytest.approx(80.0)
    assert ledger.total()[0].neighbours is Neighbours.REPLACE_ONE
    with pytest.raises(BudgetError, match="ε = 20 is left"):
        calibrated(pictures(100), ledger=ledger, source=SeededSource(1))


def test_rows_of_a_table_can_be_learnt() -> None:
    schema = Schema(
        (Numeric("size", 0, 9, 1), Categorical("kind", ("no", "yes"))), target="kind", records=100
    )
    size = np.arange(100) % 10
    table = Table.from_codes({"size": size, "kind": (size > 4).astype(int)}, schema)
    calibrated = VonMisesFisher(steps=20, expected_batch_size=50, seed=1).calibrate(
        Budget(2.0 * 20 * 1000), schema
    )
    artefact = calibrated.run(table, SeededSource(1), silent)
    assert all(np.isfinite(value).all() for value in artefact.content.tensors.values())


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"steps": 0}, "steps is 0"),
        ({"block": 0}, "block is 0"),
        ({"hidden": 3}, "hidden is 3"),
        ({"hidden": (0,)}, "a width in hidden is 0"),
        ({"seed": -1}, "seed is -1"),
        ({"device": "tpu"}, "device is 'tpu'"),
        ({"learning_rate": math.nan}, "learning_rate is nan"),
        ({"momentum": 1.0}, "momentum is 1.0"),
        ({"optimizer": "lion"}, "optimizer is 'lion'"),
    ],
)
def test_nonsense_is_refused(changes: dict[str, Any], words: str) -> None:
    with pytest.raises(InputError, match=words):
        VonMisesFisher(**{**SMALL, **changes})


def test_what_the_facts_do_not_allow_is_refused_before_anything_is_spent() -> None:
    method = VonMisesFisher(**SMALL)
    with pytest.raises(InputError, match="number of records is not declared"):
        method.calibrate(Budget(1.0), IMAGES)
    with pytest.raises(InputError, match="expected_batch_size is 50 of 20 records"):
        made(1.0, n=20)
    with pytest.raises(InputError, match="kappa is"):
        made(1e15)


def test_settings_of_the_optimiser_change_the_weights_alone() -> None:
    plain = trained(1000.0)
    for changes in (
        {"learning_rate": 0.05},
        {"momentum": 0.0},
        {"schedule": "linear"},
        {"averaging": 0.5},
        {"optimizer": "adam", "learning_rate": 0.01},
        {"seed": 2},
    ):
        assert made(80.0, **changes).guarantee == made(80.0).guarantee
        other = trained(1000.0, **changes)
        assert not np.array_equal(
            other.content.tensors["1.weight"], plain.content.tensors["1.weight"]
        )


def test_a_block_changes_memory_alone() -> None:
    method = VonMisesFisher(**SMALL)
    assert made(1e5, block=7).plan == made(1e5).plan
    assert replace(method, block=7).block == 7
    assert accuracy(trained(2000.0, block=7)) > 0.95


def test_an_interrupted_training_goes_on_and_takes_each_step_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    calibrated = made(80.0, averaging=0.5)
    begun: list[int] = []
    backward = DirectionalLoop.backward

    def counted(self: DirectionalLoop) -> None:
        if len(begun) == 3:
            raise KeyboardInterrupt
        begun.append(self.taken)
        backward(self)

    monkeypatch.setattr(DirectionalLoop, "backward", counted)
    ledger, workspace = Ledger.in_memory(), tmp_path / "kept"
    with pytest.raises(KeyboardInterrupt):
        calibrated(pictures(100), ledger=ledger, workspace=workspace)
    monkeypatch.setattr(
        DirectionalLoop, "backward", lambda self: (begun.append(self.taken), backward(self))[1]
    )
    with pytest.warns(UserWarning, match="3 steps were begun after the checkpoint"):
        release = calibrated(pictures(100), ledger=ledger, workspace=workspace)
    assert begun == list(range(calibrated.plan["steps"]))
    assert [entry.kind for entry in ledger.entries()].count("debit") == 1
    assert all(np.isfinite(tensor).all() for tensor in release.model.tensors.values())
