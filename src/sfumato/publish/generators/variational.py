"""A conditional variational autoencoder: the decoder is what is published.

Every term of the loss is one example's own: its reconstruction and its divergence from a *fixed*
prior. A divergence of the aggregate posterior would couple the examples of a batch, and no clip of
one example's gradient would bound what one record can do.

Source: Kingma and Welling 2014; generative.md 3.5.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional

from sfumato.learn import own_noise
from sfumato.learn.trainer import PrivateTrainer
from sfumato.publish import room
from sfumato.publish.generators.fitting import fit
from sfumato.publish.generators.networks import SIZES, Architecture

if TYPE_CHECKING:
    from torch.optim import Optimizer

    from sfumato.learn.records import Inputs
    from sfumato.publish.generators.work import Work
    from sfumato.publish.room import Part

_SMALL = 7  # pixels a side at which the encoder stops halving
_GROUPS = 8
_PUBLIC_BATCH = 256


class Encoded(NamedTuple):
    """What the loss needs of (n) examples.

    Attributes:
        images: (n, c, h, w) reconstructions in [0, 1].
        mean: (n, latent) of the posterior.
        log_variance: (n, latent) of the posterior.
    """

    images: Tensor
    mean: Tensor
    log_variance: Tensor


class Encoder(nn.Module):
    """An image and its class to the parameters of a posterior; mixes no examples.

    Args:
        shape: ``(channels, height, width)``.
        classes: K.
        latent: Dimensions of the posterior.
        width: Channels of the first map.
        hidden: Width of the dense layer.
    """

    def __init__(
        self, shape: Sequence[int], classes: int, latent: int, width: int, hidden: int
    ) -> None:
        super().__init__()
        channels, height, across = shape
        layers: list[nn.Module] = []
        while True:
            channels, height, across, given = width, (height + 1) // 2, (across + 1) // 2, channels
            groups = math.gcd(width, _GROUPS)
            layers.append(nn.Conv2d(given, width, 3, 2, 1))
            # Of a single number a norm leaves nothing, and torch refuses one where a sample of the
            # private images happens to hold one image.
            if width * height * across > groups:
                layers.append(nn.GroupNorm(groups, width))
            layers.append(nn.ReLU())
            if max(height, across) <= _SMALL:
                break
            width *= 2
        self.features = nn.Sequential(*layers, nn.Flatten())
        self.dense = nn.Linear(channels * height * across + classes, hidden)
        self.posterior = nn.Linear(hidden, 2 * latent)

    def described(self, images: Tensor, classes: Tensor) -> Tensor:
        """(n, hidden) what the posterior is read from."""
        found = torch.cat([self.features(2 * images - 1), classes], dim=1)
        return functional.relu(self.dense(found))

    def forward(self, images: Tensor, classes: Tensor) -> tuple[Tensor, Tensor]:
        """Mean and log-variance, (n, latent) each, of images and (n, K) one-hot classes."""
        both: Tensor = self.posterior(self.described(images, classes))
        mean, log_variance = both.chunk(2, dim=1)
        return mean, log_variance.clamp(-8, 8)


class Autoencoder(nn.Module):
    """Encoder and decoder together.

    Args:
        encoder: Gives the posterior.
        decoder: As ``architecture`` builds it, normalised in groups.
        architecture: Of the decoder.
    """

    def __init__(self, encoder: nn.Module, decoder: nn.Module, architecture: Architecture) -> None:
        super().__init__()
        self.encoder, self.decoder, self.architecture = encoder, decoder, architecture

    def forward(self, images: Tensor, classes: Tensor, noise: Tensor) -> Encoded:
        """Reconstructions through a draw of the posterior.

        Args:
            images: (n, c, h, w).
            classes: (n, K) one-hot.
            noise: (n, latent) standard normal.
        """
        mean, log_variance = self.encoder(images, classes)
        latent = mean + noise * torch.exp(log_variance / 2)
        made = self.decoder(torch.cat([latent, classes], dim=1))
        _, height, width = self.architecture.shape
        return Encoded(made[:, :, :height, :width], mean, log_variance)


def loss_of(weight: float) -> Callable[[Encoded, Tensor], Tensor]:
    """The (n,) losses: mean cross-entropy of a pixel, and the divergence from a normal prior.

    Args:
        weight: Of the divergence, once it is divided by the number of pixels as well.
    """

    def losses(found: Encoded, images: Tensor) -> Tensor:
        variance = found.log_variance.exp()
        divergence = (found.mean**2 + variance - 1 - found.log_variance).sum(dim=1) / 2
        return cross_entropy(found.images, images) + weight * divergence / images[0].numel()

    return losses


def cross_entropy(made: Tensor, images: Tensor) -> Tensor:
    """(n,) mean cross-entropy of the pixels of reconstructions, (n, c, h, w) in [0, 1]."""
    pixels, wanted = made.clamp(1e-4, 1 - 1e-4).flatten(1), images.flatten(1)
    return -(wanted * pixels.log() + (1 - wanted) * (1 - pixels).log()).mean(dim=1)


def build(architecture: Architecture, width: int, hidden: int, seed: int) -> Autoencoder:
    """An autoencoder with public initial weights."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        encoder = Encoder(
            architecture.shape, architecture.classes, architecture.latent, width, hidden
        )
        return Autoencoder(encoder, architecture.build(), architecture)


def weights(architecture: Architecture, width: int, hidden: int) -> Part:
    """What an autoencoder with the settings ``encoder_width`` and ``encoder_hidden`` takes."""
    return room.network(
        "the autoencoder's weights",
        (*SIZES, "encoder_width", "encoder_hidden"),
        lambda: build(architecture, width, hidden, 0),
        room.TRAINED,
    )


def train(
    coder: nn.Module,
    optimizer: Optimizer,
    divergence: float,
    averaging: float,
    work: Work,
) -> None:
    """Trains an autoencoder in place, and leaves the average of its weights in it.

    Args:
        coder: Takes images, one-hot classes and noise; frozen parameters stay as they are.
        optimizer: Of its trainable parameters.
        divergence: See :func:`loss_of`.
        averaging: Decay of the average of the weights.
        work: Private images, mechanism, seeds and noise.
    """
    latent, seed = work.architecture.latent, work.seeds["training"]
    classes = functional.one_hot(work.labels, work.architecture.classes).float()

    def with_noise(inputs: Inputs, targets: Tensor) -> tuple[Inputs, Tensor]:
        images, given, keys = inputs
        noise = own_noise.gaussian(keys, latent, seed, trainer.steps_taken)
        return (images, given, noise), targets

    trainer = PrivateTrainer(
        coder,
        loss_of(divergence),
        optimizer,
        work.steps.mechanism,
        ((work.images, classes, own_noise.keys_of(work.images)), work.images),
        averaging=averaging,
        augment=with_noise,
        source=work.source,
    )
    fit(trainer, work)
    assert trainer.average is not None
    trainer.average.copy_to(coder)


class Blind(nn.Module):
    """An encoder that is not told the class: of images whose labels are not looked at.

    Args:
        encoder: Takes images and one-hot classes.
    """

    def __init__(self, encoder: nn.Module) -> None:
        super().__init__()
        self.encoder = encoder

    def forward(self, images: Tensor, classes: Tensor) -> tuple[Tensor, Tensor]:
        """As the encoder, of images (n, c, h, w) and classes (n, K) that are left out."""
        both: tuple[Tensor, Tensor] = self.encoder(images, torch.zeros_like(classes))
        return both


def train_in_public(
    coder: Autoencoder,
    images: Tensor,
    learning_rate: float,
    divergence: float,
    epochs: float,
    seed: int,
) -> None:
    """Trains an autoencoder on images that nobody protects, without labels and without noise.

    Args:
        coder: Trained in place.
        images: (m, c, h, w) public.
        learning_rate: Of Adam.
        divergence: See :func:`loss_of`.
        epochs: How often each image is seen, on average.
        seed: Of batches and posterior draws.
    """
    device = next(coder.parameters()).device
    optimizer = torch.optim.Adam(coder.parameters(), learning_rate)
    generator = torch.Generator().manual_seed(seed)
    losses = loss_of(divergence)
    made = coder.architecture
    for _ in range(max(1, round(epochs * len(images) / _PUBLIC_BATCH))):
        chosen = torch.randint(len(images), (_PUBLIC_BATCH,), generator=generator)
        some = images[chosen].to(device)
        noise = torch.randn(_PUBLIC_BATCH, made.latent, generator=generator).to(device)
        nobody = torch.zeros(_PUBLIC_BATCH, made.classes, device=device)
        loss = losses(coder(some, nobody, noise), some).mean()
        optimizer.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        optimizer.step()
