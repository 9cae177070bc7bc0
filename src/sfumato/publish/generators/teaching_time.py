"""How many pictures a taught set has time for: measured on made-up images, before the debit.

The time that a run takes on private images tells a little of them (how many a step sampled, say).
So how many pictures are drawn is fixed first, by what everything takes on images of noise, of which
there are as many as records are declared.
"""

from __future__ import annotations

import logging
import math
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, NamedTuple

from sfumato.errors import InputError
from sfumato.publish import rehearsal

if TYPE_CHECKING:
    from torch import Tensor

    from sfumato.learn.mechanism import DpSgd
    from sfumato.learn.moments import ClassMoments, NoisyMoments
    from sfumato.publish.generators.teaching import Run
    from sfumato.publish.method import Progress

LEAST = 1000
"""Pictures that are released at least, unless fewer are asked for."""
_TIMED = 1000
"""Images that each part of a run is timed with."""
_SPARE = 0.1
"""The part of the time that is left over, for what was not measured and for a busy machine."""


class Pictures(NamedTuple):
    """How many pictures there are.

    Attributes:
        drawn: And labelled.
        released: Of these.
    """

    drawn: int
    released: int


@dataclass(frozen=True)
class Times:
    """What a run takes on this machine, in seconds.

    Args:
        before: All that comes before the pictures, the measuring itself included.
        picture: Drawing and labelling one.
    """

    before: float
    picture: float

    def within(self, minutes: float, wanted: Pictures) -> Pictures | None:
        """As many as there is time for, at most as wanted; None if not the fewest.

        Fewer are drawn than were to be chosen among; then, where not even as many as are to be
        released can be drawn, fewer are released.

        >>> times, wanted = Times(before=60, picture=0.01), Pictures(20_000, 10_000)
        >>> times.within(10, wanted), times.within(3, wanted), times.within(1.5, wanted)
        (Pictures(drawn=20000, released=10000), Pictures(drawn=10200, released=10000), \
Pictures(drawn=2100, released=2100))
        >>> times.within(1.2, wanted)
        """
        left = 60 * minutes * (1 - _SPARE) - self.before
        drawn = min(wanted.drawn, math.floor(max(left, 0.0) / self.picture))
        if drawn < fewest(wanted):
            return None
        return Pictures(drawn, min(wanted.released, drawn))

    def least(self, wanted: Pictures) -> float:
        """The minutes that are enough for the fewest, rounded up to two digits.

        >>> Times(before=60, picture=0.01).least(Pictures(20_000, 10_000))
        1.3
        """
        needed = (self.before + fewest(wanted) * self.picture) / (1 - _SPARE) / 60
        digit = 10.0 ** (math.floor(math.log10(needed)) - 1)
        return float(f"{math.ceil(needed / digit) * digit:.2g}")


def fewest(wanted: Pictures) -> int:
    """The fewest pictures that are drawn and released."""
    return min(LEAST, wanted.released)


def chosen(run: Run, minutes: float, progress: Progress, *, paid: bool) -> Pictures:
    """How many pictures there is time for; where that is less than all, it is said.

    Args:
        run: Nothing private is in it.
        minutes: For all of it.
        progress: Told what is done.
        paid: Whether the run is paid for, and must go on: with the fewest, if need be.

    Raises:
        InputError: If there is no time for the fewest, and nothing was paid. It names the least
            time.
    """
    progress(0, 1, "measuring the time")
    times, wanted = measured(run), run.wanted
    found = times.within(minutes, wanted)
    if found is None and not paid:
        raise InputError(
            f"max_minutes is {minutes:g}, and the teacher with only {fewest(wanted)} pictures "
            f"takes about {times.least(wanted):g} minutes here",
            f"Nothing was spent: give at least {times.least(wanted):g}, or fewer steps.",
        )
    found = found or Pictures(fewest(wanted), fewest(wanted))
    if found != wanted:
        logging.getLogger("sfumato").warning(
            "in %g minutes there is time for %d of %d pictures, of which %d are released; the "
            "whole budget is spent all the same",
            minutes,
            found.drawn,
            wanted.drawn,
            found.released,
        )
    return found


def measured(run: Run) -> Times:
    """What everything takes, on images of noise; no private one is at hand.

    Args:
        run: Whose parts are timed.
    """
    import time

    began = time.perf_counter()
    records = run.teacher.dp_sgd.sampling.records
    _fit(run, *run.made_up(1))  # loads, once, what would else be timed as if for every record
    before = _describing(run, records) + _featuring(run, records)
    before += run.teacher.method.steps * _step(run)
    picture = _picture(run)
    return Times(before + time.perf_counter() - began, picture)


def _describing(run: Run, records: int) -> float:
    """Seconds of the description of so many records."""
    from sfumato.learn.noise import STREAM

    query = run.description
    if query is None:
        return 0.0
    images, labels = run.made_up(min(records, _TIMED))
    once = rehearsal.taken(lambda: query.release(images, labels, STREAM))
    more = rehearsal.taken(lambda: query.contributions(images, labels))
    return once + more * (records - len(images)) / len(images)


def _featuring(run: Run, records: int) -> float:
    """Seconds of the features of so many records, their mean, and a look at each of them."""
    images, labels = run.made_up(min(records, _TIMED))
    return rehearsal.taken(lambda: _fit(run, images, labels)) * records / len(images)


def _fit(run: Run, images: Tensor, labels: Tensor) -> None:
    """A teacher of one step on all of these images of noise."""
    from sfumato.learn.noise import STREAM
    from sfumato.learn.sampling import PoissonSampling

    mechanism = replace(run.teacher.dp_sgd, sampling=PoissonSampling(len(images), 1.0), steps=1)
    replace(run.teacher, dp_sgd=mechanism).fit(images, labels, source=STREAM)


def _step(run: Run) -> float:
    """Seconds of a step of the teacher."""
    import torch

    from sfumato.learn.noise import STREAM

    teacher = run.teacher
    width = math.prod(teacher.method.scattering.shape(*run.facts.shape))
    size = max(1, round(teacher.dp_sgd.sampling.expected_batch_size))
    features, labels = torch.rand(size, width), run.made_up(size)[1]
    none = torch.zeros(width)

    def trial(mechanism: DpSgd, size: int) -> None:
        short = replace(teacher, dp_sgd=mechanism)
        short.fit_features(features, labels, centre=none, source=STREAM, overwrite=True)

    return rehearsal.seconds(teacher.dp_sgd, trial)


def _picture(run: Run) -> float:
    """Seconds in which a picture is drawn and labelled."""
    import torch

    from sfumato.learn.recipe import ScatterLinearModel

    teacher, size = run.teacher, min(run.wanted.drawn, _TIMED)
    width = math.prod(teacher.method.scattering.shape(*run.facts.shape))
    classes = len(run.facts.classes)
    blank = ScatterLinearModel(
        teacher.method,
        torch.zeros(classes, width),
        torch.zeros(classes),
        teacher.event,
        teacher.guarantee(),
    )
    moments = None if run.description is None else _made_up_moments(run.description)
    return rehearsal.taken(lambda: run.labelled(blank, moments, size, 0)) / size


def _made_up_moments(query: ClassMoments) -> NoisyMoments:
    """A description of grey pictures, with as many directions as there can be."""
    import torch

    from sfumato.learn.moments import NoisyMoments

    classes, width = query.classes, query.width
    equal = torch.full((classes,), 1 / classes, dtype=torch.float64)
    means = torch.full((classes, width), 0.1, dtype=torch.float64)
    return NoisyMoments(
        query, equal, means, torch.eye(width).double().repeat(classes, 1, 1) / width
    )
