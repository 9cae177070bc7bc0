"""Defects of teachers that vote."""

from __future__ import annotations

from contextlib import AbstractContextManager
from dataclasses import fields, replace
from typing import Any
from unittest.mock import patch

import numpy as np

from battery.row import Array
from sfumato.learn.pate.shards import Shards
from sfumato.learn.pate.voting import Answers, ConfidentGnMax, GnMax, LnMax
from sfumato.privacy.neighbours import Neighbours
from sfumato.privacy.noise import NoiseSource
from sfumato.publish.method import Calibrated

GAUSSIAN, LAPLACE, CONFIDENT = (
    f"learn.pate: {voting}" for voting in ("gaussian", "laplace", "confident")
)


class OneScalar(GnMax):
    """One draw for all classes of a query."""

    def answer(self, votes: Array, neighbours: Neighbours, source: NoiseSource) -> Answers:
        found = GnMax(self.stddev, self.queries).answer(votes[:, :1], neighbours, source)
        return replace(found, counts=votes + found.counts - votes[:, :1])


class HalfScale(LnMax):
    """Laplace noise for a histogram that moves by 1, where it moves by 2."""

    def answer(self, votes: Array, neighbours: Neighbours, source: NoiseSource) -> Answers:
        return LnMax(self.scale / 2, self.queries).answer(votes, neighbours, source)


class FreeTest(ConfidentGnMax):
    """The threshold test is not in the event."""

    def event(self, neighbours: Neighbours) -> Any:
        return GnMax(self.stddev, self.answers).event(neighbours)


def by(made: Calibrated, voting: type) -> Calibrated:
    """The same run, with another election of the same settings."""
    ready = made.run.ready
    held = {f.name: getattr(ready.voting, f.name) for f in fields(ready.voting)}
    ready = replace(ready, voting=voting(**held))
    return replace(
        made,
        run=replace(made.run, ready=ready),
        guarantee=replace(made.guarantee, event=ready.event),
    )


def one_scalar(made: Calibrated) -> Calibrated:
    return by(made, OneScalar)


def half_scale(made: Calibrated) -> Calibrated:
    return by(made, HalfScale)


def free_test(made: Calibrated) -> Calibrated:
    return by(made, FreeTest)


def overlapping() -> AbstractContextManager[Any]:
    """Shards of equal size that begin again at the front when records run out."""

    def draw(shards: Shards, rows: int, source: NoiseSource) -> list[Array]:
        size = -(-rows // shards.teachers) + 1
        whole = np.arange(shards.teachers * size) % max(rows, 1)
        return [np.unique(part) if rows else part[:0] for part in np.split(whole, shards.teachers)]

    return patch.object(Shards, "draw", draw)
