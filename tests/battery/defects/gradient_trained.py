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
from sfumato.publish.generators.augm import Augm
from sfumato.publish.generators.coded import Coded
from sfumato.publish.generators.dp2vae import Dp2Vae
from sfumato.publish.generators.step_run import Run
from sfumato.publish.generators.vaegm import VaeGm
from sfumato.publish.generators.work import Work
from sfumato.publish.method import Calibrated

AUGM, VAEGM, DP2VAE = "generators.augm", "generators.vaegm", "generators.dp2vae"
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


@contextmanager
def private_reconstructed() -> Iterator[None]:
    """Publishes what the private autoencoder makes of the private images."""
    original, given = Augm.train, []

    def train(method: Augm, work: Work) -> Any:
        given[:] = [(work.images, work.labels)]
        return original(method, work)

    def images(made: Coded, module: Any, labels: Any, generator: Any) -> Any:
        pictures, own = given[0]
        again = torch.arange(len(labels)) % len(own)
        return made.through(module, pictures[again], own[again])

    with patch.object(Augm, "train", train), patch.object(Coded, "images", images):
        yield


@contextmanager
def usual_images() -> Iterator[None]:
    """Begins each class's decoder at the exact mean of the class's images."""
    original = VaeGm.train

    def train(method: VaeGm, work: Work) -> Any:
        decoder = original(method, work)
        classes = torch.nn.functional.one_hot(work.labels, work.architecture.classes).float()
        sums = classes.T @ work.images.flatten(1)
        means = (sums + 0.5) / (classes.sum(dim=0)[:, None] + 1)
        with torch.no_grad():
            decoder.usual.weight += means.logit(1e-3).T
        return decoder

    with patch.object(VaeGm, "train", train):
        yield


@contextmanager
def quiet_encoder() -> Iterator[None]:
    """Trains the encoder without noise worth the name, as it is not published."""
    original = Dp2Vae._stage

    def stage(method: Dp2Vae, coder: Any, work: Work) -> None:
        if any(p.requires_grad for p in coder.encoder.parameters()):
            quiet = replace(work.steps.mechanism, noise_multiplier=0.05)
            work = replace(work, steps=replace(work.steps, mechanism=quiet))
        original(method, coder, work)

    with patch.object(Dp2Vae, "_stage", stage):
        yield


def decoder_alone(made: Calibrated) -> Calibrated:
    """Claims the decoder's steps and not the encoder's."""
    guarantee, mechanism = made.guarantee, made.run.steps.mechanism
    steps = mechanism.event_after(mechanism.steps - made.plan["encoder_steps"])
    claim: Any = guarantee
    return replace(made, guarantee=Central(steps, claim.delta, claim.unit, claim.neighbours))
