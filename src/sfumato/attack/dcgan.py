"""A small DCGAN: what an attacker trains on released pictures to make more of them."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from torch import Tensor, nn

_BATCH = 64
_RATE, _MOMENTUM = 2e-4, 0.5
_LATENT = 64

Sampler = Callable[[int], NDArray[np.float32]]


def fit(pictures: NDArray[np.float32], *, steps: int, seed: int = 0) -> Sampler:
    """Trains generator and discriminator in turn, one step each.

    Args:
        pictures: (n, c, h, w) in [0, 1], at least 4 pixels a side.
        steps: Of each, with Adam on batches of 64.
        seed: Of weights, batches and noise.

    Returns:
        From how many to pictures (m, c, h, w) in [0, 1].

    Source: Radford, Metz, Chintala, ICLR 2016, with half the layers for small pictures.
    """
    import torch
    from torch.nn import functional

    shape = pictures.shape[1:]
    random = torch.Generator().manual_seed(seed)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        generator, critic = _generator(shape), _critic(shape[0])
        critic(torch.zeros(1, *shape))  # its last layer learns its width, and is drawn, here
    real_ones = torch.from_numpy(np.ascontiguousarray(pictures))
    makes, judges = (
        torch.optim.Adam(net.parameters(), _RATE, (_MOMENTUM, 0.999)) for net in (generator, critic)
    )

    def noise(count: int) -> Tensor:
        return torch.randn(count, _LATENT, generator=random)

    def wrong(scores: Tensor, real: bool) -> Tensor:
        wanted = torch.full_like(scores, 0.9 if real else 0.0)  # one-sided smoothing of labels
        return functional.binary_cross_entropy_with_logits(scores, wanted)

    for _ in range(steps):
        rows = torch.randint(len(real_ones), (_BATCH,), generator=random)
        real, made = real_ones[rows], generator(noise(_BATCH))
        loss = wrong(critic(real), True) + wrong(critic(made.detach()), False)
        judges.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        judges.step()
        loss = wrong(critic(made), True)
        makes.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        makes.step()
    generator.eval()

    def sample(count: int) -> NDArray[np.float32]:
        with torch.no_grad():
            parts = [generator(noise(min(256, count - at))).numpy() for at in range(0, count, 256)]
        return np.concatenate(parts).astype(np.float32)

    return sample


def _generator(shape: tuple[int, ...]) -> nn.Module:
    from torch import nn

    channels, height, width = shape
    rows, columns = -(-height // 4), -(-width // 4)

    class Crop(nn.Module):
        """What is too much at the right and at the bottom is cut off."""

        def forward(self, pictures: Tensor) -> Tensor:
            """pictures: (n, c, H, W) to (n, c, h, w)."""
            return pictures[:, :, :height, :width]

    return nn.Sequential(
        nn.Linear(_LATENT, 64 * rows * columns, bias=False),
        nn.BatchNorm1d(64 * rows * columns),
        nn.ReLU(),
        nn.Unflatten(1, (64, rows, columns)),
        nn.ConvTranspose2d(64, 32, 4, 2, 1, bias=False),
        nn.BatchNorm2d(32),
        nn.ReLU(),
        nn.ConvTranspose2d(32, channels, 4, 2, 1),
        nn.Sigmoid(),
        Crop(),
    )


def _critic(channels: int) -> nn.Module:
    from torch import nn

    return nn.Sequential(
        nn.Conv2d(channels, 32, 4, 2, 1),
        nn.LeakyReLU(0.2),
        nn.ZeroPad2d((0, 1, 0, 1)),  # one more row and column, for sides that two halvings lose
        nn.Conv2d(32, 64, 4, 2, 1),
        nn.LeakyReLU(0.2),
        nn.Flatten(),
        nn.LazyLinear(1),
        nn.Flatten(0),
    )
