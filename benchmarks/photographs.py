"""A real set of small colour pictures that a package ships: patches of two photographs.

scikit-learn brings a photograph of a Chinese temple and one of a flower (CC BY). Patches of 16 by
16 pixels are labelled by the photograph they are of. Each photograph is cut in eight upright bands;
patches of every third band are for judging, those of the others for publishing. None is in both.
"""

from __future__ import annotations

import numpy as np

from sfumato.data import ImageSet

SIDE, STRIDE, BAND = 16, 6, 80
CLASSES = ("temple", "flower")


def photographs(split: str) -> ImageSet:
    """The patches of ``"train"`` or ``"test"``."""
    from sklearn.datasets import load_sample_images

    patches, labels = [], []
    for label, picture in enumerate(load_sample_images().images):
        for number in range(picture.shape[1] // BAND):
            if (number % 3 == 1) != (split == "test"):
                continue
            band = picture[:, number * BAND : (number + 1) * BAND]
            windows = np.lib.stride_tricks.sliding_window_view(band, (SIDE, SIDE), axis=(0, 1))
            mine = windows[::STRIDE, ::STRIDE].reshape(-1, 3, SIDE, SIDE)
            patches.append(mine)
            labels.append(np.full(len(mine), label))
    return ImageSet.from_arrays(np.concatenate(patches), np.concatenate(labels), CLASSES)
