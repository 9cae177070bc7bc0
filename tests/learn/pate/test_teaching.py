"""Shards, teachers and election as one object. Seeded; nothing here is a statistic."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from sfumato.errors import InputError
from sfumato.learn.pate.teaching import CalibratedPate, Pate, affordable_queries
from sfumato.learn.pate.voting import Answers, ConfidentGnMax
from sfumato.privacy import accounting
from sfumato.privacy.budget import Budget
from sfumato.privacy.neighbours import Neighbours
from sfumato.privacy.noise import SeededSource

BUDGET = Budget(2.0, 1e-5)


def groups(n: int, seed: int) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(seed)
    labels = torch.randint(4, (n,), generator=generator)
    points = torch.randn(n, 10, generator=generator)
    points[torch.arange(n), labels] += 6
    return points, labels


def small(**settings: Any) -> Pate:
    return Pate(**{"classes": 4, "teachers": 60, "queries": 12, "components": 5, **settings})


def asked(calibrated: CalibratedPate, labels: Tensor | None = None) -> tuple[Answers, Tensor]:
    points, truth = groups(600, 1)
    pool, _ = groups(300, 2)
    return calibrated.ask(
        lambda rows: points[rows], truth if labels is None else labels, pool, source=SeededSource(3)
    ), pool


@pytest.mark.parametrize("voting", ["gnmax", "confident", "lnmax"])
@pytest.mark.parametrize("neighbours", [Neighbours.ADD_REMOVE, Neighbours.REPLACE_ONE])
def test_the_event_of_what_runs_meets_the_budget(voting: str, neighbours: Neighbours) -> None:
    calibrated = small(voting=voting).calibrate(BUDGET, neighbours=neighbours)
    spent = calibrated.guarantee().epsilon()
    assert 0.998 * BUDGET.epsilon < spent <= BUDGET.epsilon
    assert calibrated.guarantee().neighbours is neighbours


def test_both_relations_cost_the_same_noise() -> None:
    """One teacher's vote moves under either; dealing in contributions must not double that."""
    add, replace_one = (small().calibrate(BUDGET, neighbours=r).noise for r in list(Neighbours)[:2])
    assert add == pytest.approx(replace_one, rel=1e-3)
    mu = math.sqrt(2 * 12) / add
    assert mu == pytest.approx(
        accounting.gdp_mu(small().election(add).event(Neighbours.ADD_REMOVE), Neighbours.ADD_REMOVE)
    )


def test_a_student_learns_what_teachers_know() -> None:
    calibrated = small().calibrate(Budget(8.0, 1e-5))
    answers, pool = asked(calibrated)
    _, truth = groups(300, 2)
    assert (answers.labels == truth[answers.queries].numpy()).all()
    targets = calibrated.targets(pool, answers)
    assert (targets.argmax(axis=1) == truth.numpy()).mean() > 0.97


def test_without_a_budget_nothing_is_learnt() -> None:
    """Labels that say nothing must not move what is said of the pool: the noise swallows them."""
    calibrated = small().calibrate(Budget(1e-3, 1e-5))
    answers, pool = asked(calibrated)
    targets = calibrated.targets(pool, answers)
    assert np.allclose(targets, 0.25, atol=0.05)


def test_queries_are_rows_of_the_pool() -> None:
    answers, pool = asked(small(voting="confident", answers=4).calibrate(Budget(8.0, 1e-5)))
    assert 1 <= len(answers.queries) <= 4
    assert answers.queries.max() < len(pool)
    assert answers.asked <= 12


def test_targets_use_public_records_and_answers_alone() -> None:
    calibrated = small().calibrate(BUDGET)
    answers, pool = asked(calibrated)
    shuffled = groups(600, 1)[1].flip(0)
    other, _ = asked(calibrated, shuffled)
    first = calibrated.targets(pool, answers)
    assert np.array_equal(first, calibrated.targets(pool, answers))
    same = replace(other, queries=answers.queries, counts=answers.counts)
    assert np.array_equal(first, calibrated.targets(pool, same))


@pytest.mark.parametrize("voting", ["gnmax", "lnmax"])
def test_a_clear_histogram_is_believed_and_a_flat_one_is_not(voting: str) -> None:
    calibrated = small(voting=voting).calibrate(Budget(8.0, 1e-5))
    counts = np.array([[60.0, 0, 0, 0], [15.0, 15, 15, 15]])
    found = calibrated.posterior(Answers(np.arange(2), counts, 2))
    assert found[0, 0] > 0.9
    assert np.allclose(found[1], 0.25)


def test_a_third_of_the_teachers_is_the_noise_aimed_at() -> None:
    count = affordable_queries(Budget(1.0, 1e-5), 600, "gnmax")
    noise = small(teachers=600, queries=count).calibrate(Budget(1.0, 1e-5)).noise
    assert noise == pytest.approx(200, rel=0.01)


def test_the_election_of_2018_costs_what_it_costs() -> None:
    """250 teachers, T = 200, s1 = 150, s2 = 40: 286 answers to 572 queries, whatever the votes."""
    made = Pate(10, teachers=250, queries=572, voting="confident", answers=286)
    election = made.election(40.0)
    assert election == ConfidentGnMax(40.0, 150.0, 200.0, 572, 286)
    event = election.event(Neighbours.ADD_REMOVE)
    assert accounting.epsilon(event, 1e-5, Neighbours.ADD_REMOVE) == pytest.approx(2.53, abs=0.01)


def test_a_label_that_is_no_class_is_refused_before_any_vote() -> None:
    labels = torch.full((600,), 4)
    with pytest.raises(InputError, match="label is 4"):
        asked(small().calibrate(BUDGET), labels)


@pytest.mark.parametrize(
    "settings",
    [
        {"voting": "loudest"},
        {"teachers": 1},
        {"queries": 0},
        {"answers": 3},
        {"voting": "confident", "answers": 13},
        {"threshold": 1.5},
        {"components": 0},
    ],
)
def test_impossible_settings_are_refused(settings: dict[str, Any]) -> None:
    with pytest.raises(InputError):
        small(**settings)
