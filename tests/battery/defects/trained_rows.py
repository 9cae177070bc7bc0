"""Defects of table methods that count first and then train by noisy clipped gradients."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import Any
from unittest.mock import patch

import numpy as np
import torch

from sfumato.learn import mechanism
from sfumato.learn.clipping import Automatic
from sfumato.privacy.guarantee import Central
from sfumato.publish.method import Calibrated
from sfumato.publish.tables.augm import PublicRows, TableAugm
from sfumato.publish.tables.gan import TableGan
from sfumato.publish.tables.gradient_trained import RowWork
from sfumato.publish.tables.start import Start

GAN, AUGM = "tables.gan", "tables.augm"


def counts_for_free(made: Calibrated) -> Calibrated:
    """Leaves the first counts out of the total."""
    guarantee: Any = made.guarantee
    steps = made.run.steps.mechanism.event
    claim = Central(steps, guarantee.delta, guarantee.unit, guarantee.neighbours)
    return replace(made, guarantee=claim)


def _exact(work: RowWork) -> Start:
    """What the private rows say, without noise."""
    encoded = work.heads.encoded(work.places).numpy()
    classes = len(work.start.prior)
    sums = np.stack([encoded[work.labels.numpy() == k].sum(axis=0) for k in range(classes)])
    parts = np.split(sums.T.astype(np.int64), np.cumsum(work.heads.sizes)[:-1])
    return Start.of(parts)


@contextmanager
def sampled_by_frequency() -> Iterator[None]:
    """Conditions are drawn at the frequencies that they have in the private rows."""
    original = TableGan.train

    def train(method: TableGan, work: RowWork) -> Any:
        return original(method, replace(work, start=_exact(work)))

    with patch.object(TableGan, "train", train):
        yield


@contextmanager
def packs() -> Iterator[None]:
    """Brings the gradients of a batch together to the bound, as one pack, and no single one."""

    def factors(clip: Automatic, norms: torch.Tensor) -> torch.Tensor:
        whole = norms.sum(dim=1, keepdim=True).clamp_min(1e-6)
        return (clip.max_grad_norm * norms.shape[1] / whole).expand_as(norms)

    with (
        patch.object(Automatic, "factors", factors),
        patch.object(mechanism, "check_joint", lambda *given: None),
    ):
        yield


@contextmanager
def private_reconstructed() -> Iterator[None]:
    """Publishes what the private autoencoder makes of the private rows."""
    original = TableAugm.train

    def train(method: TableAugm, work: RowWork) -> Any:
        private = PublicRows("private", work.places.numpy().astype(np.int64), work.labels.numpy())
        return original(method, replace(work, prepared=private))

    with patch.object(TableAugm, "train", train):
        yield


@contextmanager
def spoilt_in_order() -> Iterator[None]:
    """What spoils a row depends on how many others come before it in the batch."""
    from sfumato.learn import own_noise

    def uniform(keys: torch.Tensor, width: int, seed: int, step: int) -> torch.Tensor:
        generator = torch.Generator().manual_seed(seed + step)
        return torch.rand(len(keys), width, generator=generator)

    with patch.object(own_noise, "uniform", uniform):
        yield
