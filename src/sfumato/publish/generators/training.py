"""Training on the noisy embedding: post-processing, free of any further cost.

Nothing here can see a private image: the arguments are the noisy embedding and public choices.

The loss is the squared distance between the noisy mean embedding of each class and that of the
generated images, the classes weighted by their shares. Among ``b`` generated images the mean
embedding's squared norm is estimated over *different* images (a U-statistic); counting an image
with itself would add ``1 / b`` of its own norm, and pull all images of a class together. Each step
looks at a random part of the frequencies, which leaves the gradient right on average.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from sfumato.publish.generators.networks import Architecture

if TYPE_CHECKING:
    import torch
    from torch import nn

    from sfumato.publish.generators.embedding import NoisyEmbedding
    from sfumato.publish.generators.features import FourierFeatures

_EVERY = 10  # steps between reports of progress


@dataclass(frozen=True)
class Training:
    """How long and how hard to train; nothing of it matters to privacy.

    Args:
        steps: Of Adam.
        batch: Images a step, shared out evenly among the classes (at least two each).
        learning_rate: Of the first step; falls to 0 as a cosine.
        frequencies: How many of the frequencies a step looks at; all if there are fewer.
    """

    steps: int
    batch: int
    learning_rate: float
    frequencies: int


def train(
    embedding: NoisyEmbedding,
    features: FourierFeatures,
    architecture: Architecture,
    training: Training,
    *,
    seed: int,
    device: str,
    progress: Callable[[int], None],
) -> nn.Module:
    """A generator whose images have the noisy embedding, in evaluation mode, on the CPU.

    Args:
        embedding: The noisy embedding.
        features: The public feature map it was made with.
        architecture: Of the generator.
        training: Steps, batch, learning rate.
        seed: Of the first weights, the latent variables and the choice of frequencies.
        device: As torch names it.
        progress: Told how many steps are done.
    """
    import torch

    draws = torch.Generator().manual_seed(seed)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        module = architecture.build().to(device)
    module.train()
    optimiser = torch.optim.Adam(module.parameters(), lr=training.learning_rate, betas=(0.9, 0.99))
    decay = torch.optim.lr_scheduler.CosineAnnealingLR(optimiser, training.steps)

    shares = embedding.estimated_shares()
    # One frequency a row: a random part of them is then copied in whole lines.
    waves = torch.from_numpy(np.ascontiguousarray(features.angular.T)).to(device)
    cosines, sines = (
        _tensor(means / shares[:, np.newaxis], device)
        for means in (embedding.cosines, embedding.sines)
    )
    importance = _tensor(shares, device)
    each = max(2, training.batch // architecture.classes)
    labels = torch.arange(architecture.classes).repeat_interleave(each)
    looked_at = min(training.frequencies, features.pairs)

    for step in range(training.steps):
        chosen = torch.randperm(features.pairs, generator=draws)[:looked_at].to(device)
        images = architecture.images(module, labels, draws).flatten(1)
        phase = (images @ waves[chosen].T).view(architecture.classes, each, looked_at)
        distances = squared_distances(phase, cosines[:, chosen], sines[:, chosen])
        loss = (importance * distances).sum()
        optimiser.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        optimiser.step()
        decay.step()
        if (step + 1) % _EVERY == 0 or step + 1 == training.steps:
            progress(step + 1)
    return module.eval().cpu()


def squared_distances(
    phase: torch.Tensor, cosines: torch.Tensor, sines: torch.Tensor
) -> torch.Tensor:
    """(K,) squared distances of mean embeddings, less the constant that is the target's norm.

    Unbiased: the mean over images drawn from a generator is the distance of its own embedding.

    Args:
        phase: (K, b, m) projections of ``b`` generated images of each class.
        cosines: (K, m) mean cosine of each class to be reached.
        sines: (K, m) likewise.
    """
    each, waves = phase.shape[1:]
    cosine, sine = phase.cos().sum(dim=1), phase.sin().sum(dim=1)
    # cos^2 + sin^2 of one image is 1: taking `each` away leaves the pairs of different images.
    own = (cosine**2 + sine**2 - each) / (each * (each - 1))
    cross = (cosine * cosines + sine * sines) / each
    return (own - 2 * cross).sum(dim=1) / waves


def _tensor(array: NDArray[np.float64], device: str) -> torch.Tensor:
    import torch

    return torch.from_numpy(array.astype(np.float32)).to(device)
