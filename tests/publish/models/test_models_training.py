"""The shared run of a network: optimisers, schedules, averages, and what is published."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch

from sfumato.errors import InputError
from sfumato.learn.architectures import weights
from sfumato.learn.averaging import Averaging
from sfumato.learn.examples import labelled
from sfumato.learn.trainer import PrivateTrainer
from sfumato.privacy.budget import Budget
from sfumato.privacy.noise import SeededSource
from sfumato.publish.method import silent
from sfumato.publish.models.dpsgd import DpSgdMethod
from sfumato.publish.models.training import OPTIMIZERS, SCHEDULES, Optimisation, Training

RECORDS = 60


@pytest.fixture(scope="module")
def training(small_pictures: Any) -> Training:
    method = DpSgdMethod(network="dense", epochs=1.0, expected_batch_size=10, device="cpu")
    facts = small_pictures(RECORDS).schema.with_records(RECORDS)
    return method.calibrate(Budget(3.0, 1e-5), facts).run.training  # type: ignore[attr-defined]


def trained(training: Training, data: Any, seed: int = 4, **optimisation: Any) -> Any:
    """The weights that a training leaves, and what it told."""
    made = replace(training, optimisation=Optimisation(**optimisation))
    module, told = made.build(1), []
    inputs, targets = labelled(data)
    made.train(module, inputs, targets, SeededSource(seed), lambda *said: told.append(said))
    return weights(module), told


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"optimizer": "lbfgs"}, "optimizer is 'lbfgs'. Use one of sgd, adam"),
        ({"schedule": "steps"}, "schedule is 'steps'"),
        ({"learning_rate": 0}, "learning_rate is 0"),
        ({"learning_rate": math.inf}, "learning_rate is inf"),
        ({"momentum": 1.0}, "momentum is 1.0"),
        ({"momentum": -0.1}, "momentum is -0.1"),
        ({"averaging": 1.0}, "averaging is 1.0"),
        ({"physical_batch_size": 0}, "physical_batch_size is 0"),
    ],
)
def test_bad_settings_are_refused(changed: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError, match=message):
        Optimisation(**changed)


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_frozen_parameters_are_not_given_to_the_optimiser(name: str) -> None:
    module = torch.nn.Sequential(torch.nn.Linear(2, 2), torch.nn.Linear(2, 2))
    module[0].requires_grad_(False)
    optimizer = Optimisation(name, learning_rate=0.3, momentum=0.4).of(module)
    (group,) = optimizer.param_groups
    assert [id(p) for p in group["params"]] == [id(p) for p in module[1].parameters()]
    assert group["lr"] == 0.3
    assert name == "adam" or group["momentum"] == 0.4


def test_schedules_fall_from_1_to_a_hundredth_and_know_the_step_alone() -> None:
    assert Optimisation(schedule="constant").factor(10) is None
    linear = Optimisation(schedule="linear").factor(10)
    cosine = Optimisation(schedule="cosine").factor(10)
    assert linear is not None
    assert cosine is not None
    assert [round(linear(step), 6) for step in (0, 5, 9, 10)] == [1.0, 0.5, 0.1, 0.01]
    assert [round(cosine(step), 6) for step in (0, 5, 10)] == [1.0, 0.5, 0.01]
    for factor in (linear, cosine):
        values = [factor(step) for step in range(11)]
        assert values == sorted(values, reverse=True)
        assert min(values) >= 0.01


@pytest.mark.parametrize("schedule", SCHEDULES)
def test_the_learning_rate_of_each_step_is_that_of_the_schedule(
    schedule: str, training: Training, small_pictures: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen = []
    step = torch.optim.SGD.step

    def noted(self: Any, *args: Any) -> Any:
        seen.append(self.param_groups[0]["lr"])
        return step(self, *args)

    monkeypatch.setattr(torch.optim.SGD, "step", noted)
    trained(training, small_pictures(RECORDS), learning_rate=0.5, schedule=schedule)
    steps = training.mechanism.steps
    factor = Optimisation(schedule=schedule).factor(steps) or (lambda step: 1.0)
    assert seen == pytest.approx([0.5 * factor(k) for k in range(steps)])


def test_the_average_is_what_is_published(
    training: Training, small_pictures: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    kept: list[dict[str, Any]] = []
    update = Averaging.update

    def noted(self: Averaging, module: torch.nn.Module, step: int) -> None:
        update(self, module, step)
        kept.append(weights(module))

    monkeypatch.setattr(Averaging, "update", noted)
    found, _ = trained(training, small_pictures(RECORDS), averaging=0.5)
    wanted = {
        name: tensor.astype(np.float64) for name, tensor in weights(training.build(1)).items()
    }
    for step, at in enumerate(kept, start=1):
        decay = min(0.5, (1 + step) / (10 + step))
        wanted = {name: decay * w + (1 - decay) * at[name] for name, w in wanted.items()}
    for name, tensor in found.items():
        np.testing.assert_allclose(tensor, wanted[name], atol=1e-5)
    monkeypatch.undo()
    last, _ = trained(training, small_pictures(RECORDS), averaging=None)
    for name, tensor in last.items():
        np.testing.assert_array_equal(tensor, kept[-1][name])


def test_how_many_records_lie_in_memory_changes_nothing(
    training: Training, small_pictures: Any
) -> None:
    whole, _ = trained(training, small_pictures(RECORDS))
    parts, _ = trained(training, small_pictures(RECORDS), physical_batch_size=3)
    for name, tensor in whole.items():
        np.testing.assert_allclose(parts[name], tensor, atol=1e-5)


def test_progress_tells_steps_and_what_was_spent_and_no_loss(
    training: Training, small_pictures: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    from sfumato.publish.models import training as room

    monkeypatch.setattr(room, "_TOLD_EVERY", -1.0)
    _, told = trained(training, small_pictures(RECORDS))
    steps = training.mechanism.steps
    assert [(done, total) for done, total, _ in told] == [(k, steps) for k in range(1, steps + 1)]
    spent = [float(label.split("ε ")[1].split()[0]) for _, _, label in told]
    assert spent == sorted(spent)
    assert 2.9 < spent[-1] <= 3.0


def test_the_trainer_is_let_go_of_when_a_step_fails(
    training: Training, small_pictures: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    closed = []
    monkeypatch.setattr(PrivateTrainer, "close", lambda self: closed.append(True))

    def failing(self: PrivateTrainer) -> None:
        raise MemoryError

    monkeypatch.setattr(PrivateTrainer, "step", failing)
    with pytest.raises(MemoryError):
        trained(training, small_pictures(RECORDS))
    assert closed == [True]


def test_a_plan_says_the_mechanism_and_the_network_and_leaves_the_guarantee_its_own(
    training: Training,
) -> None:
    plan = training.plan
    assert plan["architecture"] == training.architecture
    assert plan["steps"] == training.mechanism.steps
    assert not {"event", "delta", "neighbours"} & set(plan)


def test_what_is_published_is_the_module_s_state(training: Training, small_pictures: Any) -> None:
    inputs, targets = labelled(small_pictures(RECORDS))
    module = training.build(1)
    training.train(module, inputs, targets, SeededSource(0), silent)
    artefact = training.artefact(module, {"initial weights": 1}, found=3)
    assert artefact.kind == "model"
    assert dict(artefact.notes) == {"found": 3}
    with torch.no_grad():
        scores = torch.softmax(module(inputs).double(), dim=1).numpy()
    np.testing.assert_allclose(
        artefact.content.probabilities(small_pictures(RECORDS)),  # type: ignore[union-attr]
        scores,
        atol=1e-6,
    )
