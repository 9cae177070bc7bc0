"""Generators taught by private critics, end to end on small images."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tests.publish.generators.small import (
    BUDGET,
    FACTS,
    calibrated,
    drawn_from_again,
    images,
    interrupted,
)

from sfumato.data import ImageSchema, ImageSet
from sfumato.errors import BudgetError, InputError
from sfumato.privacy import events
from sfumato.privacy.budget import Budget
from sfumato.privacy.ledger import Ledger
from sfumato.publish.generators.datalens import DataLens
from sfumato.publish.generators.gpate import GPate
from sfumato.publish.generators.priors import Counted
from sfumato.publish.generators.student import Student

SMALL: dict[str, Any] = {
    "teachers": 4,
    "rounds": 5,
    "batch": 2,
    "crowd": 3,
    "coefficients": 27,
    "repeats": 1,
    "samples": 30,
    "latent": 3,
    "hidden": 6,
    "width": 4,
    "seed": 7,
}
GPATE = GPate(**SMALL, projection=5)
DATALENS = DataLens(**SMALL, kept=3)
ALL = pytest.mark.parametrize(
    "method",
    [GPATE, replace(GPATE, aggregate="sums"), replace(GPATE, threshold=0.4), DATALENS],
    ids=["votes", "sums", "tested", "datalens"],
)


@ALL
def test_a_release_can_be_drawn_from_again(method: Any, tmp_path: Path) -> None:
    drawn_from_again(method, tmp_path)


@ALL
def test_what_shows_the_number_of_records_says_that_it_is_public(method: Any) -> None:
    """Two data sets that differ by one record present or absent differ in it."""
    made = calibrated(replace(method, samples=None))
    assert made.plan["samples"] == FACTS.records
    assert any("number of records is declared public" in line for line in made.caveats)


@ALL
def test_counts_and_rounds_are_one_event(method: Any) -> None:
    made = calibrated(method)
    counted = Counted(3, made.plan["class_counts_stddev"]).event
    rounds = made.run.rounds.aggregation.event(made.guarantee.neighbours, 5)  # type: ignore[attr-defined, union-attr]
    assert made.guarantee.event == events.compose(counted, rounds)  # type: ignore[union-attr]
    assert 0.98 < made.guarantee.epsilon() <= 1.0
    declared = calibrated(method, class_prior="uniform")
    assert "class_counts_stddev" not in declared.plan
    assert declared.plan["stddev"] < made.plan["stddev"]
    assert calibrated(method, rounds=20).plan["stddev"] > 1.9 * made.plan["stddev"]


def test_a_stack_of_images_costs_more_than_one() -> None:
    one, four = (calibrated(DATALENS, batch=b, class_prior="uniform").plan for b in (1, 4))
    assert four["stddev"] == pytest.approx(2 * one["stddev"], rel=1e-3)


@ALL
def test_an_interrupted_training_goes_on_and_pays_once(method: Any, tmp_path: Path) -> None:
    step = (Student, "step")
    taken, _ = interrupted(
        calibrated(method), tmp_path, step, lambda student: student.steps_taken, after=2
    )
    assert taken == [1, 2, 3, 4, 5]


def test_a_resumed_training_ends_where_an_uninterrupted_one_does(tmp_path: Path) -> None:
    from sfumato.privacy.noise import SeededSource

    run: Any = calibrated(DATALENS).run

    def student(seed: int) -> Student:
        from sfumato.learn.examples import labelled

        seeds = {"parts": 1, "weights": 2, "training": 3}
        made: Student = run.student(*labelled(images()), seeds, SeededSource(seed))
        return made

    whole = student(5)
    for _ in range(2):
        whole.step()
    whole.save(tmp_path / "kept")
    whole.close()
    again = student(6)
    again.resume(tmp_path / "kept")
    assert again.steps_taken == 2
    for name, weight in whole.finish().state_dict().items():
        assert np.array_equal(weight, again.finish().state_dict()[name]), name
    again.close()


def test_no_more_rounds_are_taken_than_are_accounted(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nor after a resumption, those that were lost among them."""
    from sfumato.learn.examples import labelled
    from sfumato.learn.pate.critics import Critics
    from sfumato.privacy.noise import SeededSource

    run: Any = calibrated(DATALENS, rounds=2).run
    seeds = {"parts": 1, "weights": 2, "training": 3}
    first, again = (run.student(*labelled(images()), seeds, SeededSource(0)) for _ in range(2))
    first.step()
    first.save(tmp_path / "kept")
    first.step()  # lost with the process
    first.close()
    with pytest.warns(UserWarning, match="they are lost, and counted"):
        again.resume(tmp_path / "kept")
    monkeypatch.delattr(Critics, "pulls")  # nobody is asked anything
    for student in (first, again):
        with pytest.raises(BudgetError, match="all 2 rounds that are accounted have been taken"):
            student.step()
        assert student.steps_taken == 2
    again.close()


@ALL
def test_time_is_turned_into_rounds_before_a_private_image_is_looked_at(method: Any) -> None:
    release = calibrated(method, max_minutes=1e-9)(images(), ledger=Ledger.in_memory())
    assert release.card.plan["rounds_taken"] == 1 < release.card.plan["rounds"]
    release = calibrated(method, max_minutes=60)(images(), ledger=Ledger.in_memory())
    assert release.card.plan["rounds_taken"] == 5


@ALL
def test_what_cannot_be_is_refused_before_anything_is_spent(method: Any) -> None:
    for changes, message in (
        ({"rounds": 0}, "rounds is 0"),
        ({"teachers": 1}, "teachers is 1"),
        ({"teachers": 61}, "61 teachers for 60 records"),
        ({"stride": 0}, "stride is 0"),
        ({"max_minutes": -1}, "max_minutes is -1"),
        ({"coefficients": 2}, "coefficients is 2"),
        ({"class_prior": "real"}, "class_prior is 'real'"),
    ):
        with pytest.raises(InputError, match=message):
            calibrated(method, **changes)
    with pytest.raises(InputError, match="number of records is not declared"):
        method.calibrate(BUDGET, FACTS.with_records(None))
    with pytest.raises(InputError, match="delta is 0"):
        method.calibrate(Budget(1.0), FACTS)


def test_settings_of_another_mode_are_refused() -> None:
    for changes, message in (
        ({"aggregate": "sums", "bins": 4}, "bins is 4, and gradients are added up"),
        ({"aggregate": "sums", "threshold": 0.4}, "threshold is 0.4, and gradients are added up"),
        ({"aggregate": "sums", "test_ratio": 2.0}, "test_ratio is 2.0"),
        ({"test_ratio": 2.0}, "test_ratio is 2.0, and nothing is tested"),
    ):
        with pytest.raises(InputError, match=message):
            replace(GPATE, **changes)
    replace(GPATE, threshold=0.4, test_ratio=2.0)


@pytest.mark.filterwarnings("ignore::RuntimeWarning")  # figures of an epsilon of 5,000
def test_students_follow_their_teachers() -> None:
    """At next to no noise, images of a class come to look like its records."""
    rng = np.random.default_rng(0)
    labels = rng.integers(0, 2, 400)
    level = np.where(labels == 0, 0.15, 0.85)[:, None, None, None]
    pixels = (level + 0.05 * rng.standard_normal((400, 1, 8, 8))).clip(0, 1).astype(np.float32)
    private = ImageSet.from_arrays(pixels, labels, ("dark", "light"))
    facts = ImageSchema(1, 8, 8, ("dark", "light"), records=400)
    for method in (
        GPate(**SMALL | {"rounds": 60, "repeats": 3, "learning_rate": 0.01}, projection=16),
        DataLens(**SMALL | {"rounds": 60, "repeats": 3, "learning_rate": 0.01}, kept=8),
    ):
        made = method.calibrate(Budget(5000.0, 1e-3), facts)
        data: Any = made(private, ledger=Ledger.in_memory()).data
        means = [data.images[data.labels == label].mean() for label in (0, 1)]
        assert means[0] < 0.35 < 0.65 < means[1], (method.name, means)
