"""``learn.dynamic``, and correlated noise in ``learn.dpsgd``: from public facts to a model."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from sfumato.data import ImageSchema, ImageSet
from sfumato.errors import InputError
from sfumato.learn.adaptive import AdaptiveQuantile
from sfumato.learn.correlated import CorrelatedDpSgd
from sfumato.learn.dynamic import DynamicDpSgd
from sfumato.learn.mechanism import Run
from sfumato.learn.schedules import KINDS
from sfumato.privacy.budget import Budget
from sfumato.privacy.ledger import Ledger
from sfumato.privacy.neighbours import Neighbours
from sfumato.privacy.noise import SeededSource
from sfumato.publish.method import Calibrated
from sfumato.publish.models.dpsgd import DpSgdMethod
from sfumato.publish.models.dynamic import Dynamic
from sfumato.publish.models.training import Optimisation

RECORDS = 60
FACTS = ImageSchema(1, 4, 4, ("a", "b", "c")).with_records(RECORDS)
BUDGET = Budget(2.0, 1e-5)
SMALL: dict[str, Any] = {
    "network": "dense",
    "epochs": 2.0,
    "expected_batch_size": 10,
    "max_grad_norm": 1.0,
    "averaging": None,
    "seed": 1,
    "device": "cpu",
}


def pictures(seed: int = 0) -> ImageSet:
    rng = np.random.default_rng(seed)
    images = rng.random((RECORDS, 1, 4, 4)).astype(np.float32)
    return ImageSet.from_arrays(images, rng.integers(0, 3, RECORDS), FACTS.classes)


def mechanism_of(made: Calibrated) -> Any:
    return made.run.training.mechanism  # type: ignore[attr-defined]


@pytest.mark.parametrize("kind", KINDS)
def test_every_schedule_meets_the_budget_and_falls_as_asked(kind: str) -> None:
    made = Dynamic(noise_schedule=kind, noise_fall=2.0, **SMALL).calibrate(BUDGET, FACTS)
    mechanism = mechanism_of(made)
    assert isinstance(mechanism, DynamicDpSgd)
    assert 1.99 < made.guarantee.epsilon() <= 2.0  # type: ignore[union-attr]
    assert made.guarantee.event == mechanism.event  # type: ignore[union-attr]
    ratio = mechanism.multiplier_at(0) / mechanism.multiplier_at(mechanism.steps - 1)
    assert ratio == pytest.approx(1.0) if kind == "constant" else 1.5 < ratio < 2.05


def test_a_release_holds_a_model_and_says_what_the_source_claims_too_much() -> None:
    made = Dynamic(clip_schedule="linear", clip_fall=2.0, **SMALL).calibrate(BUDGET, FACTS)
    release = made(pictures(), ledger=Ledger.in_memory(), source=SeededSource(0))
    assert release.card.plan["clip_norms"] == {"kind": "linear", "first": 1.0, "last": 0.5}
    assert release.card.plan["noise_schedule"]["kind"] == "linear"
    assert any("largest norm of the private batch" in line for line in release.card.caveats)


def test_a_median_that_is_paid_for_moves_the_bound() -> None:
    settings = SMALL | {"expected_batch_size": 60, "clipping": "adaptive"}
    made = Dynamic(**settings).calibrate(Budget(8.0, 1e-5), FACTS)
    assert isinstance(mechanism_of(made).clipping, AdaptiveQuantile)


def weights(made: Calibrated, seed: int, workspace: Path | None = None) -> list[np.ndarray]:
    artefact = made.run(pictures(), SeededSource(seed), lambda *_: None, workspace)
    tensors = artefact.content.tensors  # type: ignore[attr-defined]
    return [np.asarray(tensors[name]) for name in sorted(tensors)]


METHODS = [
    Dynamic(**SMALL),
    Dynamic(clip_schedule="exponential", clip_fall=4.0, **SMALL),
    DpSgdMethod(bands=3, neighbours="zero-out", **SMALL),
]


@pytest.mark.parametrize("method", METHODS)
def test_an_interrupted_training_goes_on_at_the_same_guarantee(
    method: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = method.calibrate(BUDGET, FACTS)
    steps, taken = mechanism_of(made).steps, []
    step = Run.step

    def counted(self: Run, *args: Any, **named: Any) -> Any:
        taken.append(self.taken)
        if len(taken) == 6:
            raise KeyboardInterrupt
        return step(self, *args, **named)

    monkeypatch.setattr(Run, "step", counted)
    with pytest.raises(KeyboardInterrupt):
        weights(made, 0, tmp_path)
    with pytest.warns(UserWarning, match="5 steps were begun after the checkpoint"):
        found = weights(method.calibrate(BUDGET, FACTS), 1, tmp_path)
    assert sorted(set(taken)) == list(range(steps))  # each number once, whichever process
    assert all(np.isfinite(tensor).all() for tensor in found)
    assert made.guarantee == method.calibrate(BUDGET, FACTS).guarantee


@pytest.mark.parametrize("bands", [None, 2, 6])
@pytest.mark.parametrize("relation", ["zero-out", "replace-one"])
def test_correlated_noise_is_a_setting_of_dp_sgd(bands: int | None, relation: str) -> None:
    method = DpSgdMethod(bands=bands, neighbours=relation, **SMALL)
    made = method.calibrate(BUDGET, FACTS)
    mechanism = mechanism_of(made)
    assert isinstance(mechanism, CorrelatedDpSgd)
    assert len(mechanism.coefficients) == (bands or len(mechanism.coefficients))
    assert 1.99 < made.guarantee.epsilon() <= 2.0  # type: ignore[union-attr]
    assert mechanism.neighbours is Neighbours(relation)
    assert made.guarantee.event == mechanism.event  # type: ignore[union-attr]
    assert made.plan["coefficients"] == list(mechanism.coefficients)


def test_bands_know_momentum_and_the_schedule_of_the_learning_rate() -> None:
    plain = Optimisation(momentum=0.9).workload(4)
    assert (plain.momentum, plain.rates) == (0.9, None)
    falling = Optimisation(momentum=0.5, schedule="linear").workload(4)
    assert falling.rates == (1.0, 0.75, 0.5, 0.25)
    assert Optimisation(schedule="cosine").workload(5000).rates is None
    assert Optimisation("adam").workload(4).momentum == 0.0


@pytest.mark.parametrize(
    ("changes", "problem"),
    [
        ({"noise_schedule": "wave"}, "noise_schedule is 'wave'"),
        ({"noise_fall": 0.5}, "noise_fall is 0.5"),
        ({"noise_fall": 3.0, "noise_schedule": "constant"}, "noise_schedule is 'constant'"),
        ({"clip_fall": 3.0}, "clip_schedule is 'constant'"),
        ({"clip_schedule": "linear", "clipping": "automatic"}, "with clipping 'automatic'"),
        ({"clipping": "per-batch"}, "clipping is 'per-batch'"),
        ({"neighbours": "zero"}, "neighbours is 'zero'"),
        ({"hidden": "64"}, "hidden is '64'"),
        ({"momentum": 1.0}, "momentum is 1.0"),
        ({"epochs": 0}, "epochs is 0"),
    ],
)
def test_settings_that_make_no_sense_are_refused(changes: dict[str, Any], problem: str) -> None:
    with pytest.raises(InputError, match=problem):
        dataclasses.replace(Dynamic(**SMALL), **changes)


@pytest.mark.parametrize(
    ("changes", "problem"),
    [
        ({"bands": 2}, "no guarantee under add-remove"),
        ({"bands": None}, "no guarantee under add-remove"),
        ({"bands": 2, "neighbours": "zero-out", "clipping": "adaptive"}, "a moving bound"),
        ({"bands": 2, "neighbours": "zero-out", "components": 2}, "principal directions"),
        ({"bands": 0}, "bands is 0"),
    ],
)
def test_correlated_noise_without_a_proof_is_refused(changes: dict[str, Any], problem: str) -> None:
    with pytest.raises(InputError, match=problem):
        DpSgdMethod(**SMALL | changes)


def test_more_bands_than_batches_in_the_records_are_refused_before_anything_is_spent() -> None:
    with pytest.raises(InputError, match="do not fit into 7 groups"):
        DpSgdMethod(bands=7, neighbours="zero-out", **SMALL).calibrate(BUDGET, FACTS)


@pytest.mark.parametrize("preset", sorted(Dynamic.presets))
def test_the_presets_are_the_sources_settings(preset: str) -> None:
    method = Dynamic(**Dynamic.presets[preset])
    assert (method.noise_schedule, method.max_grad_norm) == (preset, 4.0)
    assert method.noise_fall == pytest.approx(15 / 4.85)
