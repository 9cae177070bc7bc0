"""A real set of small colour pictures that a package ships: patches of two photographs.

scikit-learn brings a photograph of a Chinese temple and one of a flower (CC BY). Patches of 16 by
16 pixels are labelled by the photograph they are of. Those from the left two thirds are for
publishing, those from the right third for judging; none is in both.
"""

from __future__ import annotations

import numpy as np

from sfumato.data import ImageSet

SIDE, STRIDE = 16, 6
CLASSES = ("temple", "flower")


def photographs(split: str) -> ImageSet:
    """The patches of ``"train"`` or ``"test"``."""
    from sklearn.datasets import load_sample_images

    patches, labels = [], []
    for label, picture in enumerate(load_sample_images().images):
        cut = 2 * picture.shape[1] // 3
        part = picture[:, :cut] if split == "train" else picture[:, cut:]
        windows = np.lib.stride_tricks.sliding_window_view(part, (SIDE, SIDE), axis=(0, 1))
        mine = windows[::STRIDE, ::STRIDE].reshape(-1, 3, SIDE, SIDE)
        patches.append(mine)
        labels.append(np.full(len(mine), label))
    return ImageSet.from_arrays(np.concatenate(patches), np.concatenate(labels), CLASSES)
