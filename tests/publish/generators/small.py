"""Small images, and what every method of generators is put through with them."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from sfumato.data import ImageSchema, ImageSet
from sfumato.privacy.budget import Budget
from sfumato.privacy.ledger import Ledger
from sfumato.publish.generators import sample
from sfumato.publish.method import Calibrated
from sfumato.release.release import Release

FACTS = ImageSchema(3, 9, 12, ("cat", "dog", "eel"), records=60)
BUDGET = Budget(1.0, 1e-5)


def images(seed: int = 0, n: int = 60) -> ImageSet:
    rng = np.random.default_rng(seed)
    pixels = rng.random((n, *FACTS.shape), dtype=np.float32)
    return ImageSet.from_arrays(pixels, rng.integers(0, 3, n), FACTS.classes)


def calibrated(method: Any, **changes: Any) -> Calibrated:
    made: Calibrated = replace(method, **changes).calibrate(BUDGET, FACTS)
    return made


def drawn_from_again(method: Any, folder: Path) -> Release:
    """Checks that a release of 30 images can be saved, loaded and drawn from; returns it."""
    release = calibrated(method)(images(), ledger=Ledger.in_memory())
    data: Any = release.data
    assert data.images.shape == (30, 3, 9, 12)
    release.save(folder / "release")
    again = Release.load(folder / "release")
    drawn = sample(again, 12, seed=3)
    assert np.array_equal(drawn.images, sample(again, 12, seed=3).images)
    assert not np.array_equal(drawn.images, sample(again, 12, seed=4).images)
    return release


def interrupted(
    made: Calibrated, folder: Path, steps: tuple[type, str], taken: Callable[[Any], int], after: int
) -> tuple[list[int], Release]:
    """A run that dies once, and goes on.

    Args:
        made: The run.
        folder: Where its workspace is made.
        steps: Class and name of what takes a step.
        taken: The number of steps, told by an instance of the class.
        after: How many steps are taken before it dies.

    Returns:
        The numbers of all steps that were taken in both lives, and the release, which was paid for
        once.
    """
    ledger, seen = Ledger.in_memory(), []
    step = getattr(*steps)

    def dies(trainer: Any) -> None:
        step(trainer)
        seen.append(taken(trainer))
        if len(seen) == after:
            raise KeyboardInterrupt

    with _replaced(*steps, dies):
        with pytest.raises(KeyboardInterrupt):
            made(images(), ledger=ledger, workspace=folder / "work")
        with pytest.warns(UserWarning, match="they are lost, and counted"):
            release = made(images(), ledger=ledger, workspace=folder / "work")
    assert [entry.kind for entry in ledger.entries()].count("debit") == 1
    return seen, release


@contextmanager
def _replaced(owner: type, name: str, value: Any) -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(owner, name, value)
        yield
