"""The models for images: one small convolutional network, a dense one, and logistic regression.

The architecture, the optimiser and the number of steps are fixed beforehand, and the last
checkpoint is the one that is judged: nothing is chosen by looking at test records.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from sfumato.measure.progress import Progress, silent
from sfumato.measure.threads import one_thread

if TYPE_CHECKING:
    from torch import nn

CONVOLUTIONAL, DENSE, LINEAR = "small CNN", "MLP", "logistic regression"
ARCHITECTURE = (
    "conv 3x3 (16), max-pool 2, ReLU, conv 3x3 (32), max-pool 2, ReLU, linear (128), ReLU, linear"
)
BATCH = 128
RATE = 2e-3
_LEAST_STEPS = 300  # a small set is passed over more often, to this many steps
_MOST_PASSES = 60


@dataclass(frozen=True)
class Fitted:
    """A trained model of images.

    Args:
        predict: From (n, c, h, w) float32 in [0, 1] to (n, K) probabilities.
    """

    predict: Callable[[NDArray[np.float32]], NDArray[np.float64]]


def classifier(
    family: str,
    images: NDArray[np.float32],
    labels: NDArray[Any],
    classes: int,
    *,
    seed: int,
    epochs: int = 3,
    progress: Progress = silent,
) -> Fitted:
    """Trains an image classifier with Adam (learning rate 0.002, cosine decay).

    Args:
        family: ``CONVOLUTIONAL``, ``DENSE`` (two hidden layers of 200 ReLU) or ``LINEAR``.
        images: (n, c, h, w) in [0, 1]; h and w at least 4 for the convolutional one.
        labels: (n,) class numbers below ``classes``, of which some may be absent; or (n, K) shares,
            soft labels, to which the cross-entropy is then taken.
        classes: K.
        seed: Of the initial weights and of the order of the images.
        epochs: Passes over the images; more where they are few.
        progress: Told before each pass.
    """
    import torch
    from torch.nn import functional

    from sfumato.measure.pooled import fused

    steps_a_pass = -(-len(images) // BATCH)
    passes = passes_over(len(images), epochs)
    centre, spread = float(images.mean()), float(images.std()) or 1.0
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model = fused(build(family, images.shape[1:], classes))
    optimiser = torch.optim.Adam(model.parameters(), lr=RATE)
    decay = torch.optim.lr_scheduler.CosineAnnealingLR(optimiser, passes * steps_a_pass)
    rng = np.random.default_rng(seed)
    targets = torch.from_numpy(np.ascontiguousarray(labels))

    def batch(some: NDArray[np.float32]) -> torch.Tensor:
        return torch.from_numpy((some - centre) / spread)

    for done in range(passes):
        progress(done, passes, f"training the {family}, pass {done + 1}")
        order = rng.permutation(len(images))
        with one_torch_thread():
            for start in range(0, len(images), BATCH):
                rows = order[start : start + BATCH]
                guesses = model(batch(images[rows]))
                loss = functional.cross_entropy(guesses, targets[torch.from_numpy(rows)])
                optimiser.zero_grad()
                loss.backward()  # type: ignore[no-untyped-call]
                optimiser.step()
                decay.step()

    def predict(new: NDArray[np.float32]) -> NDArray[np.float64]:
        parts = []
        with one_torch_thread(), torch.no_grad():
            for start in range(0, len(new), 1024):
                guesses = functional.softmax(model(batch(new[start : start + 1024])), dim=1)
                parts.append(guesses.numpy().astype(np.float64))
        return np.concatenate(parts)

    return Fitted(predict)


def passes_over(records: int, epochs: int) -> int:
    """How often a set is passed over: more than ``epochs`` times where it is small."""
    return max(epochs, min(_MOST_PASSES, -(-_LEAST_STEPS // -(-records // BATCH))))


@contextmanager
def one_torch_thread() -> Iterator[None]:
    """One thread, see :func:`one_thread`; the result is then the same on every machine, too."""
    import torch

    before = torch.get_num_threads()
    with one_thread():
        torch.set_num_threads(1)
        try:
            yield
        finally:
            torch.set_num_threads(before)


def build(family: str, shape: tuple[int, ...], classes: int) -> nn.Sequential:
    """An untrained network, its weights drawn from torch's global generator.

    Args:
        family: As for :func:`classifier`.
        shape: Of one record: (c, h, w), or (p,) features for the two without convolutions.
        classes: K.
    """
    from torch import nn

    if family == LINEAR:
        return nn.Sequential(nn.Flatten(), nn.Linear(math.prod(shape), classes))
    if family == DENSE:
        return nn.Sequential(
            nn.Flatten(),
            nn.Linear(math.prod(shape), 200),
            nn.ReLU(),
            nn.Linear(200, 200),
            nn.ReLU(),
            nn.Linear(200, classes),
        )
    channels, height, width = shape
    return nn.Sequential(
        nn.Conv2d(channels, 16, 3, padding=1),
        nn.MaxPool2d(2, ceil_mode=True),
        nn.ReLU(),
        nn.Conv2d(16, 32, 3, padding=1),
        nn.MaxPool2d(2, ceil_mode=True),
        nn.ReLU(),
        nn.Flatten(),
        nn.Linear(32 * -(-height // 4) * -(-width // 4), 128),
        nn.ReLU(),
        nn.Linear(128, classes),
    )
