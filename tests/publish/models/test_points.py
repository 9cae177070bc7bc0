"""Methods that put noise on records, on the loss and on weights: facts, refusals, resumption."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from sfumato.errors import InputError
from sfumato.learn import convex
from sfumato.privacy.budget import Budget
from sfumato.privacy.guarantee import Local
from sfumato.privacy.ledger import Ledger
from sfumato.privacy.neighbours import Neighbours
from sfumato.privacy.noise import SeededSource
from sfumato.publish.method import silent
from sfumato.publish.models.input import InputMethod
from sfumato.publish.models.objective import ObjectiveMethod
from sfumato.publish.models.output import OutputMethod

Make = Callable[..., Any]
LARGE = Budget(50.0, 1e-5)
CONVEX = (OutputMethod, ObjectiveMethod)


def trained(method: Any, private: Any, budget: Budget = LARGE, **more: Any) -> Any:
    made = method.calibrate(budget, private.schema.with_records(len(private)))
    return made(private, ledger=Ledger.in_memory(), source=SeededSource(1), **more)


@pytest.mark.parametrize("subject", CONVEX)
def test_it_learns_images_and_rows_where_there_is_next_to_no_noise(
    subject: type, small_pictures: Make, small_people: Make
) -> None:
    for private in (small_pictures(300), small_people(300)):
        model = trained(subject(), private).model
        truth = model._inputs(private)
        from sfumato.learn.examples import labelled

        labels = labelled(private)[1].numpy()
        assert (model.probabilities_from(truth).argmax(1) == labels).mean() > 0.9


def test_reports_teach_any_network(small_pictures: Make, small_people: Make) -> None:
    pictures, people = small_pictures(400), small_people(400)
    plain = {"epochs": 30, "learning_rate": 0.01, "device": "cpu", "seed": 0}
    for private, network in ((pictures, {}), (pictures, {"hidden": [8]}), (people, {})):
        release = trained(InputMethod(**plain, **network), private)
        guarantee = release.card.proven
        assert isinstance(guarantee, Local)
        assert guarantee.unit in ("whole image", "whole row")
        from sfumato.learn.examples import labelled

        inputs, labels = labelled(private)
        guessed = release.model.probabilities_from(inputs.numpy()).argmax(1)
        assert (guessed == labels.numpy()).mean() > 0.7


def test_the_released_model_shortens_what_the_training_shortened(small_pictures: Make) -> None:
    private = small_pictures(100)
    made = OutputMethod(max_norm=0.5).calibrate(LARGE, private.schema.with_records(100))
    artefact = made.run(private, SeededSource(1), silent)
    problem = made.run.problem(private)
    reached = made.run.perturbation.release(problem, SeededSource(1))
    scores = problem.rows @ reached
    found = artefact.content.probabilities(private)
    assert np.allclose(found, np.exp(scores) / np.exp(scores).sum(1, keepdims=True), atol=1e-5)


@pytest.mark.parametrize("subject", CONVEX)
def test_what_is_not_convex_is_refused_with_the_reason(subject: type, small_pictures: Make) -> None:
    for wrong in ({"hidden": [4]}, {"network": "small-cnn"}, {"network": "nothing"}):
        with pytest.raises(InputError, match="convex"):
            subject(**wrong)
    facts = small_pictures(60).schema.with_records(60)
    with pytest.raises(InputError, match="delta"):
        subject().calibrate(Budget(1.0), facts)
    with pytest.raises(InputError, match="records"):
        subject().calibrate(LARGE, small_pictures(60).schema)


@pytest.mark.parametrize("subject", CONVEX)
def test_an_interrupted_run_draws_once(
    subject: type, small_pictures: Make, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    private, ledger = small_pictures(60), Ledger.in_memory()
    made = subject().calibrate(LARGE, private.schema.with_records(60))
    folder = tmp_path / "work"
    monkeypatch.setattr(convex, "layer", lambda *_: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        made(private, ledger=ledger, workspace=folder)
    monkeypatch.undo()
    first = made(private, ledger=ledger, workspace=folder)
    again = made(private, ledger=ledger, workspace=folder)
    assert len(ledger.entries()) == 1
    for name, values in first.model.tensors.items():
        assert np.array_equal(values, again.model.tensors[name])


def test_regularisation_follows_from_public_numbers_alone(small_pictures: Make) -> None:
    facts = small_pictures(60).schema
    for subject in CONVEX:
        more, fewer = (
            subject().calibrate(LARGE, facts.with_records(n)).plan["regularisation"]
            for n in (1000, 500)
        )
        assert fewer == pytest.approx(2 * more)


def test_a_report_is_for_the_diameter_and_the_label(small_pictures: Make) -> None:
    facts = small_pictures(60).schema.with_records(60)
    made = InputMethod(max_norm=3.0, label_share=0.4).calibrate(Budget(2.0, 1e-5), facts)
    assert made.plan["label_epsilon"] == pytest.approx(0.8)
    assert made.guarantee.neighbours is Neighbours.REPLACE_ONE
    # With the label free, the diameter alone: 2 R / stddev is the mu of the budget at most.
    from sfumato.privacy.accounting import gaussian

    assert 6.0 / made.plan["stddev"] < gaussian.mu(2.0, 1e-5)
