"""How much released images are like real ones: Frechet distance, precision and recall.

Figures depend on the feature extractor and on the number of images; both are part of the result,
and so is what a second sample of real images scores, which is the figure to read the others by.

Source: Heusel et al. 2017 (arXiv 1706.08500) for the Frechet distance; Kynkaanniemi et al. 2019
(arXiv 1904.06991) for precision and recall.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from sfumato.errors import InputError
from sfumato.measure import features
from sfumato.measure.extractors import extractor

if TYPE_CHECKING:
    from sfumato.data.imageset import ImageSet

Floats = NDArray[np.float64]

IMAGES = 10_000
"""At most this many images of each set are compared."""
NEIGHBOURS = 3
FEWEST = 20
_NEIGHBOURHOODS = 5_000  # images of each set whose neighbourhoods are compared
_BLOCK = 512  # rows of a distance matrix held at a time


@dataclass(frozen=True)
class Fidelity:
    """Likeness of released images to the real ones they were made from.

    Args:
        frechet: Squared Frechet distance of the features' Gaussians; 0 is equal.
        frechet_floor: What real images that were held out score.
        precision: Share of released images that lie among real ones.
        precision_floor: What the held-out real images score.
        recall: Share of real images that lie among released ones.
        recall_floor: What the held-out real images score.
        extractor: Of the features, with its version; figures of two extractors say nothing
            about each other.
        images: How many images of each set were compared: the Frechet distance falls with it.
        neighbours: The neighbourhood of precision and recall.
    """

    frechet: float
    frechet_floor: float
    precision: float
    precision_floor: float
    recall: float
    recall_floor: float
    extractor: str
    images: int
    neighbours: int = NEIGHBOURS

    def to_dict(self) -> dict[str, Any]:
        """The figures as plain JSON values."""
        return asdict(self)

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> Fidelity:
        """Reads the figures back.

        Raises:
            InputError: If a field is missing or is not what it should be.
        """
        try:
            return cls(**values)
        except TypeError as error:
            raise InputError(
                f"the fidelity of images cannot be read ({error})",
                "The evaluation is damaged; run it again.",
            ) from None


def fidelity(
    release: ImageSet,
    members: ImageSet,
    non_members: ImageSet,
    *,
    which: str | None = None,
    images: int = IMAGES,
    seed: int = 0,
) -> Fidelity:
    """Compares released images with the real ones, and real ones with each other.

    Args:
        release: The released images.
        members: The real images that it was made from.
        non_members: Real images that it was not made from; they give the floors.
        which: The extractor, see :func:`~sfumato.measure.extractors.extractor`.
        images: At most this many of each set; the same number of all three.
        seed: Of the samples.

    Raises:
        InputError: If the sets do not fit each other or hold fewer than 20 images.
    """
    features.check_alike(release, members, "training records")
    features.check_alike(release, non_members, "test records")
    sets = (release, members, non_members)
    n = min(images, *map(len, sets))
    if n < FEWEST:
        raise InputError(
            f"{n} images of each set to compare", f"Give at least {FEWEST} released and real ones."
        )
    rng = np.random.default_rng([seed, 2])
    found = extractor(which)
    made, real, other = (
        found.compute(one.select(features.choose(len(one), n, rng)).images) for one in sets
    )
    k = min(NEIGHBOURS, n - 1)
    precision, recall = precision_recall(made, real, k, seed)
    precision_floor, recall_floor = precision_recall(other, real, k, seed)
    return Fidelity(
        frechet=frechet(made, real),
        frechet_floor=frechet(other, real),
        precision=precision,
        precision_floor=precision_floor,
        recall=recall,
        recall_floor=recall_floor,
        extractor=found.name,
        images=n,
        neighbours=k,
    )


def frechet(a: Floats, b: Floats) -> float:
    """Squared Frechet distance of the Gaussians with the means and covariances of two samples.

    Args:
        a: (n, d).
        b: (m, d).

    >>> frechet(np.array([[0.0], [2.0]]), np.array([[3.0], [5.0]]))
    9.0
    """
    means = a.mean(axis=0) - b.mean(axis=0)
    first, second = (np.atleast_2d(np.cov(x, rowvar=False, bias=True)) for x in (a, b))
    # trace of (first second)^(1/2), by the eigenvalues of a symmetric matrix that shares them.
    values, vectors = np.linalg.eigh(first)
    root = (vectors * np.sqrt(np.maximum(values, 0))) @ vectors.T
    shared = np.sqrt(np.maximum(np.linalg.eigvalsh(root @ second @ root), 0)).sum()
    return max(0.0, float(means @ means + np.trace(first) + np.trace(second) - 2 * shared))


def precision_recall(made: Floats, real: Floats, k: int, seed: int = 0) -> tuple[float, float]:
    """Shares of made images among the real ones, and of real images among the made ones.

    A point lies among others if it is no farther from one of them than that one's ``k``-th
    nearest neighbour in its own set.

    Args:
        made: (n, d).
        real: (m, d).
        k: At least 1, less than n and m.
        seed: Of the samples of large sets.
    """
    rng = np.random.default_rng(seed)
    made, real = (x[features.choose(len(x), _NEIGHBOURHOODS, rng)] for x in (made, real))
    return _among(made, real, k), _among(real, made, k)


def _among(points: Floats, others: Floats, k: int) -> float:
    """Share of points in the neighbourhood of one of the others at least."""
    # Itself is one of the neighbours: the k-th other one is the (k + 1)-th nearest.
    radii = np.concatenate(
        [np.partition(block, k, axis=1)[:, k] for block in _distances(others, others)]
    )
    inside = [(block <= radii).any(axis=1) for block in _distances(points, others)]
    return float(np.concatenate(inside).mean())


def _distances(a: Floats, b: Floats) -> Any:
    """Squared distances of a's rows from all of b's, some rows at a time."""
    norms = (b**2).sum(axis=1)
    for start in range(0, len(a), _BLOCK):
        part = a[start : start + _BLOCK]
        yield np.maximum((part**2).sum(axis=1)[:, None] + norms - 2 * part @ b.T, 0)
