"""Small networks that attackers train on pictures of their own: a prior, and a decoder.

Dense ones, which take pictures of any shape and train in seconds on a CPU.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from torch import Tensor, nn

_BATCH = 128
_RATE = 1e-3


@dataclass(frozen=True)
class Prior:
    """What the attacker holds pictures of this kind for: a decoder of standard normal numbers.

    Args:
        decode: From (n, latent) to (n, c, h, w) in [0, 1], differentiable.
        latent: How many numbers a picture is made of.
    """

    decode: Callable[[Tensor], Tensor]
    latent: int


def fit_prior(
    pictures: NDArray[np.float32], *, latent: int = 16, width: int = 400, steps: int = 1500,
    seed: int = 0,
) -> Prior:  # fmt: skip
    """Fits a variational autoencoder to pictures of the attacker's.

    Args:
        pictures: (n, c, h, w) in [0, 1].
        latent: Width of the code.
        width: Of the hidden layers.
        steps: Of Adam on batches of 128.
        seed: Of weights, batches and codes.

    Source: Kingma, Welling, ICLR 2014.
    """
    import torch
    from torch import nn
    from torch.nn import functional

    shape = pictures.shape[1:]
    size = int(np.prod(shape))
    flat = torch.from_numpy(np.ascontiguousarray(pictures)).flatten(1)
    random = torch.Generator().manual_seed(seed)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        encoder = nn.Sequential(nn.Linear(size, width), nn.ReLU(), nn.Linear(width, 2 * latent))
        decoder = _dense(latent, width, size)
    optimizer = torch.optim.Adam([*encoder.parameters(), *decoder.parameters()], _RATE)
    for rows in _batches(len(flat), steps, random):
        batch = flat[rows]
        centre, spread = encoder(batch).chunk(2, dim=1)
        noise = torch.randn(centre.shape, generator=random)
        code = centre + (spread / 2).exp() * noise
        error = functional.binary_cross_entropy_with_logits(decoder(code), batch, reduction="sum")
        divergence = (centre.square() + spread.exp() - spread - 1).sum() / 2
        optimizer.zero_grad()
        ((error + divergence) / len(batch)).backward()
        optimizer.step()
    decoder.requires_grad_(False)
    return Prior(lambda code: decoder(code).sigmoid().unflatten(1, shape), latent)


def fit_decoder(
    seen: NDArray[Any], pictures: NDArray[np.float32], *, width: int = 400, steps: int = 1500,
    seed: int = 0,
) -> Callable[[NDArray[Any]], NDArray[np.float32]]:  # fmt: skip
    """Learns to make pictures of what is seen of them, by least squares.

    Args:
        seen: (n, ...) what was released for each picture, any numbers.
        pictures: (n, c, h, w) in [0, 1].
        width: Of the hidden layers.
        steps: Of Adam on batches of 128.
        seed: Of weights and batches.

    Returns:
        From what is seen (m, ...) to pictures (m, c, h, w).
    """
    import torch

    shape = pictures.shape[1:]
    rows = np.asarray(seen, np.float32).reshape(len(seen), -1)
    centre, spread = rows.mean(axis=0), rows.std(axis=0)
    spread[spread < 1e-6] = 1.0

    def scaled(new: NDArray[Any]) -> Tensor:
        flat = np.asarray(new, np.float32).reshape(len(new), -1)
        return torch.from_numpy(np.clip((flat - centre) / spread, -10, 10))

    x, y = scaled(seen), torch.from_numpy(np.ascontiguousarray(pictures)).flatten(1)
    random = torch.Generator().manual_seed(seed)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        decoder = _dense(x.shape[1], width, y.shape[1])
    optimizer = torch.optim.AdamW(decoder.parameters(), _RATE, weight_decay=1e-2)
    decay = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, steps)
    for rows_of in _batches(len(x), steps, random):
        error = (decoder(x[rows_of]).sigmoid() - y[rows_of]).square().sum(dim=1).mean()
        optimizer.zero_grad()
        error.backward()
        optimizer.step()
        decay.step()

    def invert(new: NDArray[Any]) -> NDArray[np.float32]:
        with torch.no_grad():
            found = decoder(scaled(new)).sigmoid().unflatten(1, shape)
        return np.asarray(found.numpy(), np.float32)

    return invert


def _dense(width: int, hidden: int, out: int) -> nn.Module:
    from torch import nn

    return nn.Sequential(
        nn.Linear(width, hidden), nn.ReLU(), nn.Linear(hidden, hidden), nn.ReLU(),
        nn.Linear(hidden, out),
    )  # fmt: skip


def _batches(total: int, steps: int, random: Any) -> Any:
    """Row numbers of each step's batch, pass after pass."""
    import torch

    order = torch.empty(0, dtype=torch.int64)
    for _ in range(steps):
        if len(order) < min(_BATCH, total):
            order = torch.randperm(total, generator=random)
        yield order[:_BATCH]
        order = order[_BATCH:]
