"""Models that learnt their few records by heart, and models that never saw anybody."""

from __future__ import annotations

from functools import cache
from typing import Any

import numpy as np
import torch
from scipy.ndimage import zoom

from sfumato.data import ImageSet, Table, datasets
from sfumato.learn.architectures import build, weights
from sfumato.learn.examples import labelled
from sfumato.publish.models.network import architecture
from sfumato.release.card import Card
from sfumato.release.model import Model
from sfumato.release.release import Artefact, Release

NOISY = {"noise_multiplier": 1.0, "clipping": {"type": "Flat", "max_grad_norm": 0.1}}


def digits(split: str, start: int, count: int, scale: int = 1) -> ImageSet:
    """Some of the package's digits, ``scale`` times as large, with smooth edges."""
    data = datasets.load("digits", split)
    assert isinstance(data, ImageSet)
    data = data.select(np.arange(start, start + count))
    images = np.clip(zoom(data.images, (1, 1, scale, scale), order=1), 0, 1)
    return ImageSet.from_arrays(images, data.labels, data.schema.classes)


def fitted(
    data: Any,
    *,
    network: str = "auto",
    hidden: tuple[int, ...] = (),
    steps: int = 150,
    seed: int = 0,
) -> Model:
    """A network trained without privacy; with 0 steps, one that saw nobody."""
    made = architecture(data.schema, network, hidden)
    module = build(made, seed=seed)
    inputs, targets = labelled(data)
    optimizer = torch.optim.Adam(module.parameters(), 0.01)
    for _ in range(steps):
        optimizer.zero_grad()
        torch.nn.functional.cross_entropy(module(inputs), targets).backward()
        optimizer.step()
    return Model(data.schema, made, weights(module))


def unproven(content: Any, **plan: Any) -> Release:
    """A release without any guarantee."""
    card = Card(
        release_id="0" * 32,
        method={"name": "test"},
        guarantee={"kind": "empirical", "attacks": []},
        figures={},
        plan=plan,
        facts=(),
        ledger={},
        noise={},
        artefact={"kind": content.kind},
        versions={},
    )
    return Release(card=card, artefact=Artefact(content))


@cache
def census(split: str) -> Table:
    """Some 700 rows of the bundled census, of which the sex is to be predicted."""
    data = datasets.load("census-sample", split)
    assert isinstance(data, Table)
    return data.sample(700, 0).with_target("sex")
