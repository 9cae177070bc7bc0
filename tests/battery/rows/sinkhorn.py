"""Rows of ``generators.sinkhorn``."""

from __future__ import annotations

from typing import Any

import numpy as np

from battery import data
from battery.row import MethodRow
from battery.rows.gradient_trained import ALTERNATIVES, SMALL, generator_of, with_counts
from battery.rows.trained import trained
from sfumato.data import ImageSet
from sfumato.privacy.budget import Budget
from sfumato.publish.generators.sinkhorn import Sinkhorn


def pictures(seed: int, n: int) -> ImageSet:
    """One picture alone in its class, dark or bright by the seed; the others are of other classes.

    What one record more can do shows where it is the first of its class, or turns the stack round.
    """
    base = data.pictures(seed, n)
    images, labels = base.images, base.labels.copy()
    labels[labels == 0] = 1
    images[0], labels[0] = 0.0, 0
    return ImageSet.from_arrays(images, labels, base.schema.classes)


def bright(private: ImageSet, _: Any) -> ImageSet:
    """The same with a bright picture more in the class of the dark one."""
    images, labels = private.images, private.labels
    more = np.concatenate([images, np.ones_like(images[:1])])
    return ImageSet.from_arrays(more, np.append(labels, 0), private.schema.classes)


def sinkhorn(name: str) -> MethodRow:
    """A generator drawn to private images by transport."""
    own = {
        "images_per_class": 2,
        "coefficients": 9,
        "learning_rate": 0.05,
        "max_grad_norm": 0.01,
        "blur": 0.01,
    }
    return trained(
        name,
        Sinkhorn,
        SMALL | own,
        ALTERNATIVES
        | {
            "images_per_class": 3,
            "coefficients": 4,
            "learning_rate": 0.02,
            "max_grad_norm": 0.02,
            "blur": 0.2,
            "debias": 0.0,
        },
        parts=with_counts,
        numbers=generator_of,
        paid_for=frozenset({"class_prior"}),
        pictures=pictures,
        neighbour=bright,
        huge=Budget(5e3, 0.02),
        tolerance=0.8,  # a stack of norm at most C has noise for 2 C, and no sum to drown it
        runs=0,
        slow_runs=400,
        canaries=40,
    )
