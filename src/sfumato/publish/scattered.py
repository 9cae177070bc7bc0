"""A calibrated recipe fitted on private images: its mean, and each of its steps, are drawn once."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from sfumato.data import ImageSet
    from sfumato.learn.recipe import CalibratedScatterLinear, ScatterLinearModel
    from sfumato.privacy.noise import NoiseSource
    from sfumato.publish.method import Progress


def fitted(
    ready: CalibratedScatterLinear,
    data: ImageSet,
    source: NoiseSource,
    progress: Progress,
    workspace: Path | None,
) -> ScatterLinearModel:
    """The model: noisy output alone.

    Args:
        ready: The recipe.
        data: Private images.
        source: The noise.
        progress: Told steps done and in all.
        workspace: Where the mean and the steps are kept; features are not. None keeps nothing.

    Raises:
        InputError: If images or labels do not fit, or what was kept is damaged.
    """
    import torch

    from sfumato.learn.examples import labelled
    from sfumato.learn.records import check_labels
    from sfumato.publish.workspace import TRAINING, once

    method = ready.method
    images, labels = labelled(data)
    check_labels(images, labels, method.classes)
    progress(0, method.steps, "computing features")
    features = method.features(images)
    centre = once(workspace, "centre", lambda: ready.centre(features, source).tolist(), drawn=True)
    return ready.fit_features(
        features,
        labels,
        whitening=method.whitening(data.schema.shape),
        centre=torch.tensor(centre),
        source=source,
        progress=progress,
        folder=None if workspace is None else workspace / TRAINING,
        overwrite=True,
    )
