"""Defects of generators that are trained by noisy clipped gradients."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import Any
from unittest.mock import patch

import numpy as np
import torch

from sfumato.learn import mechanism
from sfumato.learn.clipping import Flat
from sfumato.learn.examples import labelled
from sfumato.privacy.guarantee import Central
from sfumato.publish.generators import codes
from sfumato.publish.generators.gradient_trained import Run
from sfumato.publish.method import Calibrated

CVAE, COUNTED, DPGAN = "generators.cvae", "generators.cvae: classes counted", "generators.dpgan"
DPMI = "generators.dpmi"


class RealLabels(Run):
    """Draws images in the exact proportions of the private labels."""

    def __call__(self, data: Any, *rest: Any) -> Any:
        """A run whose shares of the classes are counted without noise."""
        counts = np.bincount(labelled(data)[1].numpy(), minlength=len(self.facts.classes))
        return Run.__call__(replace(self, prior=counts / counts.sum()), data, *rest)


def real_labels(made: Calibrated) -> Calibrated:
    """The same run with the private proportions of the classes."""
    run = made.run
    fields = {n: getattr(run, n) for n, f in run.__dataclass_fields__.items() if f.init}
    return replace(made, run=RealLabels(**fields))


def counts_for_free(made: Calibrated) -> Calibrated:
    """Leaves the class counts out of the total."""
    guarantee: Any = made.guarantee
    steps = made.run.steps.mechanism.event
    claim = Central(steps, guarantee.delta, guarantee.unit, guarantee.neighbours)
    return replace(made, guarantee=claim)


@contextmanager
def unclipped() -> Iterator[None]:
    """Noises the critic's gradients and clips none; the run's own look at its clip is taken out."""
    with (
        patch.object(Flat, "factors", lambda clip, norms: torch.ones_like(norms)),
        patch.object(mechanism, "check_joint", lambda *given: None),
    ):
        yield


@contextmanager
def standardised_codes() -> Iterator[None]:
    """Brings the codes of private images to mean 0 and spread 1, by their own mean and spread."""
    invert = codes.invert

    def scaled(*given: Any) -> Any:
        found = invert(*given)
        return (found - found.mean(dim=0)) / found.std(dim=0).clamp_min(1e-3)

    with patch.object(codes, "invert", scaled):
        yield
