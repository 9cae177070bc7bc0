"""Trained groups are kept, found again, and trained anew where they are another's or damaged."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from sfumato.attack.shadows import Job, Recipe, halves, training
from sfumato.errors import InputError
from sfumato.measure import cnn


@pytest.fixture
def trained(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """How many models each call of the training trains."""
    monkeypatch.setattr(cnn, "_LEAST_STEPS", 2)
    calls: list[int] = []
    train = training.train

    def counted(*arguments: Any, **named: Any) -> Any:
        calls.append(len(arguments[4]))
        return train(*arguments, **named)

    monkeypatch.setattr(training, "train", counted)
    return calls


def job(folder: Path | None, models: int = 6) -> Job:
    rng = np.random.default_rng(0)
    inputs = rng.random((80, 12), dtype=np.float32)
    labels = rng.integers(0, 3, 80)
    return Job(inputs, labels, 3, halves(80, models, 0), Recipe(cnn.LINEAR, 1, 2), 5, folder)


def scores(made: Job) -> np.ndarray:
    return np.stack(list(made.train().scores(made.inputs)))


def test_what_is_kept_is_not_trained_again(tmp_path: Path, trained: list[int]) -> None:
    folder = tmp_path / "models"
    first = scores(job(folder))
    assert trained == [2, 2, 2]
    np.testing.assert_array_equal(scores(job(folder)), first)
    assert trained == [2, 2, 2]
    assert job(folder).cost().models == 0
    assert scores(job(folder, models=10)).shape[0] == 10
    assert trained == [2, 2, 2, 2, 2]
    assert folder.stat().st_mode & 0o777 == 0o700
    assert {file.stat().st_mode & 0o777 for file in folder.iterdir()} == {0o600}


def test_models_of_private_records_are_not_kept_in_a_release(
    tmp_path: Path, trained: list[int]
) -> None:
    (tmp_path / "card.json").write_text("{}")
    with pytest.raises(InputError, match="lies in a release"):
        job(tmp_path / "models").train()
    assert not trained
    assert not (tmp_path / "models").exists()


def test_an_interruption_loses_only_the_group_that_was_training(
    tmp_path: Path, trained: list[int]
) -> None:
    whole = scores(job(None))
    trained.clear()

    def stop(done: int, total: int, label: str) -> None:
        assert total == 6
        if done == 4:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        job(tmp_path).train(stop)
    before = len(trained)
    assert before < 4
    told: list[int] = []
    bank = job(tmp_path).train(lambda done, total, label: told.append(done))
    assert told[0] >= 4
    assert told[-1] == 6
    assert len(trained) <= 3
    found = np.stack(list(bank.scores(job(None).inputs)))
    np.testing.assert_allclose(found, whole, atol=1e-5)


def test_a_damaged_group_is_trained_again(tmp_path: Path, trained: list[int]) -> None:
    first = scores(job(tmp_path))
    file = sorted(tmp_path.glob("*.safetensors"))[0]
    file.write_bytes(file.read_bytes()[:100])
    np.testing.assert_allclose(scores(job(tmp_path)), first, atol=1e-6)
    assert trained == [2, 2, 2, 2]


def test_other_data_settings_or_seeds_are_other_models(tmp_path: Path, trained: list[int]) -> None:
    made = job(tmp_path)
    made.train()
    changed = [
        replace(made, inputs=made.inputs + np.float32(0.01)),
        replace(made, labels=(made.labels + 1) % 3),
        replace(made, rows=halves(80, 6, 1)),
        replace(made, recipe=Recipe(cnn.LINEAR, 2, 2)),
        replace(made, recipe=Recipe(cnn.DENSE, 1, 2)),
        replace(made, seed=6),
    ]
    for other in changed:
        trained.clear()
        other.train()
        assert trained == [2, 2, 2]


def test_a_folder_that_cannot_be_written_is_an_input_error(
    tmp_path: Path, trained: list[int]
) -> None:
    file = tmp_path / "file"
    file.write_text("not a folder")
    with pytest.raises(InputError, match="cannot write"):
        job(file / "models").train()


def test_the_cost_is_stated_in_models_passes_and_time(trained: list[int]) -> None:
    cost = job(None).cost()
    assert (cost.models, cost.kept, cost.records, cost.passes) == (6, 0, 40, 2)
    assert cost.seconds > 0
    assert "6 shadow models, logistic regression, 2 passes over 40 records each" in str(cost)
