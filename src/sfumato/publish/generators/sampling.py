"""Images drawn from a generator: as many as wanted, at no cost to anybody's privacy."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from sfumato.errors import InputError
from sfumato.publish.generators.networks import Architecture

if TYPE_CHECKING:
    from torch import nn

    from sfumato.data import ImageSet
    from sfumato.publish.generators.denoiser import Denoiser
    from sfumato.release.release import Artefact, Release

_BATCH = 500
PRIOR = "class_prior"
"""Where the architecture of a release keeps the classes' shares."""


def sample(release: Release, n: int, seed: int = 0) -> ImageSet:
    """Draws ``n`` new labelled images from a released generator.

    Free: the generator is post-processing of the release, so no ledger is asked and none of the
    guarantee is used up. The same seed gives the same images.

    Args:
        release: Of a generator of images, as published or loaded.
        n: How many images, at least 1.
        seed: Of the draw, at least 0.

    Raises:
        InputError: If the release holds no generator, or a number is out of its range.
    """
    for name, value, lowest in (("n", n, 1), ("seed", seed, 0)):
        if isinstance(value, bool) or not isinstance(value, int) or value < lowest:
            raise InputError(f"{name} is {value!r}", f"Give a whole number from {lowest} up.")
    artefact = release.artefact
    if not artefact.architecture:
        raise InputError(
            "the release holds no generator, but a fixed set of data",
            "Use its data; how many there are is chosen when it is published.",
        )
    architecture = architecture_of(artefact.architecture)
    module = architecture.load(artefact.tensors)
    prior = np.asarray(artefact.architecture.get(PRIOR, ()), np.float64)
    if prior.shape != (architecture.classes,):
        raise InputError("the generator's class prior is missing", "The release is damaged.")
    classes = release.facts.classes
    return draw(architecture, module, prior, classes, n, seed)


class DrawsAgain:
    """A method whose release keeps a generator of images."""

    def resample(self, release: Release, n: int, seed: int) -> ImageSet:
        """``n`` more images from a released generator, which cost nothing."""
        return sample(release, n, seed)


def architecture_of(values: Mapping[str, Any]) -> Any:
    """What rebuilds a released generator, of whatever kind.

    Raises:
        InputError: If the values describe none.
    """
    from sfumato.publish.generators import coded, codes, denoiser

    kinds: dict[str, Any] = {
        codes.KIND: codes.CodeArchitecture,
        denoiser.KIND: denoiser.Denoiser,
        coded.Coded.KIND: coded.Coded,
    }
    return kinds.get(str(values.get("kind")), Architecture).from_dict(values)


def draw(
    architecture: Architecture | Denoiser,
    module: nn.Module,
    prior: NDArray[np.float64],
    classes: Sequence[str],
    n: int,
    seed: int,
) -> ImageSet:
    """``n`` images in random order, their classes in the prior's proportions.

    Args:
        architecture: Of the generator.
        module: The trained generator, on the CPU.
        prior: (K,) shares of the classes, with sum 1.
        classes: Their names.
        n: How many.
        seed: Of the latent variables and the order.
    """
    import torch

    from sfumato.data import ImageSet

    labels = np.repeat(np.arange(len(prior)), apportion(prior, n))
    np.random.default_rng(seed).shuffle(labels)
    generator = torch.Generator().manual_seed(seed)
    images = np.empty((n, *architecture.shape), np.uint8)
    with torch.no_grad():
        for start in range(0, n, _BATCH):
            part = torch.from_numpy(labels[start : start + _BATCH])
            made = architecture.images(module, part, generator)
            images[start : start + _BATCH] = (
                (made.nan_to_num() * 255).round().numpy().astype(np.uint8)
            )
    return ImageSet.from_arrays(images, labels, classes)


def publishable(
    architecture: Architecture | Denoiser,
    module: nn.Module,
    prior: NDArray[np.float64],
    classes: Sequence[str],
    n: int,
    seeds: Mapping[str, int],
    **notes: Any,
) -> Artefact:
    """The release of a trained generator: its weights, what rebuilds it, and a first sample.

    Args:
        architecture: Of the generator.
        module: Trained, on the CPU, in evaluation mode.
        prior: (K,) public or noisy shares of the classes.
        classes: Their names.
        n: Images in the first sample.
        seeds: Of what was random and is no privacy noise; ``"drawing"`` draws the sample.
        notes: Further facts learnt from noisy output alone.
    """
    from sfumato.publish.generators.networks import weights
    from sfumato.release.release import Artefact

    images = draw(architecture, module, prior, classes, n, seeds["drawing"])
    shares = dict(zip(classes, prior.tolist(), strict=True))
    return Artefact(
        images,
        weights(module),
        {**architecture.to_dict(), PRIOR: prior.tolist()},
        dict(seeds),
        {"class_prior": shares, **notes},
    )


def apportion(prior: NDArray[np.float64], n: int) -> NDArray[np.int64]:
    """(K,) whole numbers with sum ``n``, nearest to the prior's proportions (largest remainder).

    >>> apportion(np.array([0.5, 0.3, 0.2]), 4)
    array([2, 1, 1])
    """
    exact = prior / prior.sum() * n
    counts: NDArray[np.int64] = np.floor(exact).astype(np.int64)
    order = np.argsort(counts - exact, kind="stable")
    counts[order[: n - int(counts.sum())]] += 1
    return counts
