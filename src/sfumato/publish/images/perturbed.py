"""One image out for one image in: what methods that change images one by one share."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
from numpy.typing import NDArray

from sfumato.data.facts import Fact
from sfumato.errors import InputError
from sfumato.publish.method import Progress
from sfumato.release.release import Artefact

if TYPE_CHECKING:
    from sfumato.data import ImageSchema, ImageSet
    from sfumato.privacy.mechanisms import RandomizedResponse
    from sfumato.privacy.noise import NoiseSource

Images = NDArray[np.float32]
_CHUNK = 2048
"""Images at a time, whatever batches the data come in: what is drawn together is public."""

LABEL_NOISE = "label_noise_probability"
"""In the plan of a run that protects labels: how often one is drawn anew."""
LABELS_ARE_PUBLIC = (
    "Labels are published as they are: that they say nothing about anybody is the custodian's "
    "declaration. Give label_share to protect them."
)
ORDER_IS_PUBLIC = (
    "Images are published in the order of the records, which in a folder is that of their files' "
    "names: rename files whose order says something."
)
AS_THEY_CAME = (LABELS_ARE_PUBLIC, ORDER_IS_PUBLIC)
"""What is said of a run that neither changes labels nor draws an order."""


def public_labels(label: RandomizedResponse | None) -> tuple[Fact, ...]:
    """What a card lists as declared public of labels that are reported by this.

    Args:
        label: What protects them; None publishes them.
    """
    return () if label is not None else (Fact("label of every image", "as it is"),)


class Transform(Protocol):
    """What is done to every image by itself."""

    def release(self, images: Images, source: NoiseSource) -> Images:
        """(n, c, h, w) in [0, 1] of as many."""
        ...


@dataclass(frozen=True)
class Run:
    """Every image by itself.

    Args:
        facts: Of the images.
        transform: See :class:`Transform`.
        label: What labels are reported by; None publishes them.
    """

    facts: ImageSchema
    transform: Transform
    label: RandomizedResponse | None = None

    def __call__(self, data: ImageSet, source: NoiseSource, progress: Progress) -> Artefact:
        """Changes images and, where asked to, labels; in the order of the records.

        Where labels are protected and images come class by class, in an order that nobody knows.
        """
        from sfumato.data import ImageSet

        if self.label is not None and data.by_class:
            data = data.shuffled()
        total = len(data)
        made = np.empty((total, *self.facts.shape), np.uint8)
        for start in range(0, total, _CHUNK):
            rows = np.arange(start, min(start + _CHUNK, total))
            images = self.transform.release(within(data.select(rows).images), source)
            made[rows] = (images * 255).round().astype(np.uint8)
            progress(int(rows[-1]) + 1, total, "changing images")
        labels = data.labels.astype(np.int64)
        if self.label is not None:
            labels = self.label.randomise(labels, source)
        return Artefact(ImageSet.from_arrays(made, labels, self.facts.classes))


def within(images: Images) -> Images:
    """(n, c, h, w) with all pixels in [0, 1]; those that are no numbers are 0.

    What a transform claims of neighbours rests on that range. Images are looked through when they
    are opened, but an array of floats in memory is the caller's, who may have written to it since.
    """
    return np.clip(np.nan_to_num(images, nan=0.0, posinf=1.0, neginf=0.0), 0.0, 1.0)


def order_tells_labels(plan: Mapping[str, Any]) -> bool:
    """Whether the order of released images would give away what was paid for to hide.

    Images that lie in one folder a class are read class by class: where one stands is its label.
    """
    return LABEL_NOISE in plan


def images_only(facts: object, name: str) -> None:
    """Refuses facts that are not those of images.

    Raises:
        InputError: If they are not.
    """
    from sfumato.data import ImageSchema

    if not isinstance(facts, ImageSchema):
        raise InputError(f"{name} was given a table", "It publishes images.")


def shares(epsilon: float, label_share: float, facts: ImageSchema) -> tuple[float, float]:
    """What of an epsilon is for the image, and what for its label, where there are several.

    >>> from sfumato.data import ImageSchema
    >>> shares(1.0, 0.25, ImageSchema(1, 2, 2, ("a", "b")))
    (0.75, 0.25)
    """
    if not label_share or len(facts.classes) < 2:
        return epsilon, 0.0
    label = epsilon * label_share
    image = epsilon - label
    return (image if image + label <= epsilon else math.nextafter(image, 0)), label


def response(facts: ImageSchema, epsilon: float) -> RandomizedResponse | None:
    """What labels are reported by with this budget; None without one, or with one class.

    Args:
        facts: Of the images.
        epsilon: At least 0.
    """
    from sfumato.privacy.mechanisms import RandomizedResponse

    if not epsilon or len(facts.classes) < 2:
        return None
    return RandomizedResponse(len(facts.classes), epsilon)


def unit(pixels: int | None, labelled: bool) -> str:
    """What a report covers, in words.

    >>> unit(16, False), unit(None, True)
    ('16-pixel part', 'labelled whole image')
    """
    part = "whole image" if pixels is None else f"{pixels}-pixel part"
    return f"labelled {part}" if labelled else part
