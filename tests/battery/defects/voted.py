"""Defects of generators that are taught by private critics."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import replace
from functools import lru_cache
from typing import Any
from unittest.mock import patch

import torch

from battery.row import MethodRow
from sfumato.learn.pate import critics
from sfumato.learn.pate.critics import Critics
from sfumato.privacy import calibration, events
from sfumato.privacy.budget import Budget
from sfumato.publish.method import Calibrated

VOTES, SUMS, DATALENS = "generators.gpate: votes", "generators.gpate: sums", "generators.datalens"


def _claiming(row: MethodRow, event: Callable[[Any, float], Any]) -> MethodRow:
    """The row with its noise chosen by another event, which is claimed too."""

    @lru_cache
    def make(budget: Budget, facts: Any = row.facts, **changed: Any) -> Calibrated:
        made = row.subject(**{**row.settings, **changed}).calibrate(budget, facts)
        rounds, relation = made.run.rounds, made.guarantee.neighbours  # type: ignore[attr-defined]
        stddev = calibration.calibrate(
            lambda value: event(made.run, value), budget, relation, (1e-3, 1e9)
        )
        less = replace(rounds, aggregation=replace(rounds.aggregation, stddev=stddev))
        claim = replace(made.guarantee, event=event(made.run, stddev))
        return replace(made, run=replace(made.run, rounds=less), guarantee=claim)

    return replace(row, make=make)


def _one_image(run: Any) -> float:
    """What one image's gradients of a round can move by."""
    from sfumato.publish.generators.rounds import RELATION

    return float(run.rounds.aggregation.sensitivity(RELATION) / math.sqrt(run.method.batch))


def amplified_first(row: MethodRow) -> MethodRow:
    """Each image as if a teacher had been drawn for it alone; composed after that."""

    def event(run: Any, stddev: float) -> Any:
        one = events.PoissonSampledDpEvent(
            1 / run.method.teachers, events.GaussianDpEvent(stddev / _one_image(run))
        )
        return events.repeat(one, run.method.rounds * run.method.batch)

    return _claiming(row, event)


def one_image_charged(row: MethodRow) -> MethodRow:
    """The sensitivity of one image's gradient, charged once for the stack of a round."""

    def event(run: Any, stddev: float) -> Any:
        return events.repeat(events.GaussianDpEvent(stddev / _one_image(run)), run.method.rounds)

    return _claiming(row, event)


@contextmanager
def overlapping() -> Iterator[None]:
    """Every record is dealt to the next teacher too."""
    deal = Critics.of.__func__  # type: ignore[attr-defined]

    def twice(
        coordinates: Any, labels: Any, owners: Any, keys: Any, *, teachers: int, **more: Any
    ) -> Any:
        both = torch.cat([owners, (owners + 1) % teachers])
        return deal(
            Critics,
            torch.cat([coordinates, coordinates]),
            torch.cat([labels, labels]),
            both,
            torch.cat([keys, keys]),
            teachers=teachers,
            **more,
        )

    with patch.object(Critics, "of", twice):
        yield


@contextmanager
def untrained() -> Iterator[None]:
    """Teachers that never learn from a record, so that nothing private is ever asked."""
    deal = Critics.of.__func__  # type: ignore[attr-defined]

    def idle(*given: Any, **named: Any) -> Any:
        made = deal(Critics, *given, **named)
        return replace(made, present=torch.zeros_like(made.present))

    with patch.object(Critics, "of", idle):
        yield


def by_place() -> AbstractContextManager[Any]:
    """Records dealt out in turn: one less, and all behind it change hands."""

    def dealt(images: Any, teachers: int, seed: int) -> Any:
        return torch.arange(len(images)) % teachers

    return patch.object(critics, "owners", dealt)
