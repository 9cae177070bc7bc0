from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch

from sfumato.attack import Evidence
from sfumato.attack.shadows import Job, Recipe
from sfumato.data import ImageSet, datasets
from sfumato.measure import cnn
from sfumato.privacy.guarantee import Empirical


class Known:
    """A model known by its schema and predictions only."""

    kind = "model"

    def __init__(self, schema: Any, predict: Any, takes: str = "images") -> None:
        self.schema, self.takes, self.probabilities_from = schema, takes, predict


def holding(model: Any, guarantee: Any = None) -> Any:
    """What attacks need of a release, around any model."""
    card = SimpleNamespace(guarantee=(guarantee or Empirical(())).to_dict())
    return SimpleNamespace(
        card=card, model=model, artefact=SimpleNamespace(content=model, kind="model")
    )


def fitted(inputs: Any, labels: Any, classes: int, family: str, seed: int) -> Any:
    """One network trained without privacy until it knows its records."""
    rows = np.arange(len(inputs))[None]
    return Job(inputs, labels, classes, rows, Recipe(family, 40), seed).train().module(0)


def predictions(module: Any) -> Any:
    def predict(inputs: Any) -> Any:
        with torch.no_grad():
            return torch.softmax(module(torch.from_numpy(inputs)).double(), 1).numpy()

    return predict


def digits(seed: int) -> tuple[ImageSet, ImageSet, ImageSet]:
    """300 members, 300 others and 800 auxiliary digits; a fifth of the labels are noise."""
    data = datasets.load("digits")
    rng = np.random.default_rng(seed)
    labels = np.asarray(data.labels, np.int64).copy()
    guessed = rng.random(len(labels)) < 0.2
    labels[guessed] = rng.integers(0, 10, guessed.sum())
    noisy = ImageSet.from_arrays(data.images, labels, data.schema.classes)
    order = rng.permutation(len(labels))
    ends = ((0, 300), (300, 600), (600, 1400))
    first, second, third = (noisy.select(np.sort(order[a:b])) for a, b in ends)
    return first, second, third


def overfitted(members: ImageSet, seed: int = 99) -> Any:
    labels = np.asarray(members.labels, np.int64)
    module = fitted(members.images, labels, 10, cnn.DENSE, seed)
    model = Known(members.schema, predictions(module))
    model.module = module  # only the attack that looks inside asks for it
    return holding(model)


@pytest.fixture(scope="session")
def memorised() -> tuple[Any, Evidence]:
    """A model that memorised its members, and the evidence against it."""
    members, others, auxiliary = digits(0)
    return overfitted(members), Evidence(members, others, auxiliary)


@pytest.fixture(scope="session")
def innocent() -> tuple[Any, Evidence]:
    """A model as overfitted, of which neither the members nor the others were a part."""
    members, others, auxiliary = digits(0)
    strangers, rest = auxiliary.select(np.arange(300)), auxiliary.select(np.arange(300, 800))
    return overfitted(strangers), Evidence(members, others, rest)
