"""Defects of ``generators.taught``."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import fields, replace
from typing import Any

import numpy as np

from sfumato.data import ImageSet
from sfumato.learn.examples import labelled
from sfumato.privacy.guarantee import Central
from sfumato.publish.generators.teaching import Run
from sfumato.publish.method import Calibrated
from sfumato.release.release import Artefact

TAUGHT = "generators.taught"


def into(cls: type[Run]) -> Callable[[Calibrated], Calibrated]:
    """The same calibrated run with one step done another way."""

    def change(made: Calibrated) -> Calibrated:
        run = made.run
        given = {field.name: getattr(run, field.name) for field in fields(run) if field.init}
        return replace(made, run=cls(**given))

    return change


def quiet_teacher(made: Calibrated) -> Calibrated:
    """Trains the teacher with a tenth of the noise that is accounted."""
    teacher = made.run.teacher
    less = teacher.dp_sgd.noise_multiplier / 10
    quiet = replace(teacher, dp_sgd=replace(teacher.dp_sgd, noise_multiplier=less))
    return replace(made, run=replace(made.run, teacher=quiet))


def only(part: str) -> Callable[[Calibrated], Calibrated]:
    """Leaves the other part of what is drawn out of the total."""

    def change(made: Calibrated) -> Calibrated:
        guarantee: Any = made.guarantee
        event = getattr(made.run, part).event
        claim = Central(event, guarantee.delta, guarantee.unit, guarantee.neighbours)
        return replace(made, guarantee=claim)

    return change


class PrivatePictures(Run):
    """Labels private images and publishes them among the drawn ones."""

    def __call__(self, data: ImageSet, source: Any, progress: Any) -> Artefact:
        """The released images, the first of them private."""
        made = super().__call__(data, source, progress)
        released: Any = made.data
        images = released.images
        images[0] = data.images[0]
        mixed = ImageSet.from_arrays(images, released.labels, released.schema.classes)
        return replace(made, content=mixed)


class PrivateShares(Run):
    """Balances the classes as the private labels are."""

    def __call__(self, data: ImageSet, source: Any, progress: Any) -> Artefact:
        """A run whose shares are counted without noise."""
        counts = np.bincount(labelled(data)[1].numpy(), minlength=len(self.facts.classes))
        return Run.__call__(replace(self, shares=counts / counts.sum()), data, source, progress)
