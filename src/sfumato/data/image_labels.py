"""Labels of images as they come, checked against declared classes."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from sfumato.data.image_schema import ImageSchema
from sfumato.errors import InputError

Labels = NDArray[np.int64]
SoftLabels = NDArray[np.float32]

_SUM = 1e-2  # how far the shares of a soft label may be from 1: float16 rounds them


def names(classes: NDArray[Any], where: str) -> tuple[str, ...]:
    """Names of classes from an array of texts, bytes or whole numbers.

    Raises:
        InputError: If it is none, or has another shape than (K,).
    """
    if classes.ndim != 1 or classes.dtype.kind not in "USiu":
        raise InputError(
            f"{where}: classes hold {classes.dtype} of shape {classes.shape}",
            "Give the name of every label in one row.",
        )
    if classes.dtype.kind == "S":
        try:
            return tuple(name.decode() for name in classes)
        except UnicodeDecodeError:
            raise InputError(f"{where}: classes are not UTF-8", "Give them as texts.") from None
    return tuple(str(name) for name in classes)


def hard(labels: NDArray[Any], schema: ImageSchema) -> Labels:
    """(n,) class numbers of (n,) or (n, 1) numbers or names.

    Raises:
        InputError: If they have another shape or kind, or one was never declared.
    """
    labels = np.asarray(labels)
    if labels.ndim == 2 and labels.shape[1] == 1:
        labels = labels[:, 0]
    if labels.ndim != 1:
        raise InputError(f"labels have shape {labels.shape}", "Give one label an image.")
    if labels.dtype.kind in "UO":
        places = {name: label for label, name in enumerate(schema.classes)}
        for row, name in enumerate(labels):
            if name not in places:
                raise _undeclared(row, name, schema)
        return np.array([places[name] for name in labels], np.int64)
    if labels.dtype.kind not in "iu":
        raise InputError(f"labels hold {labels.dtype}", "Give integers or names of classes.")
    wrong = (labels < 0) | (labels >= len(schema.classes))
    if wrong.any():
        row = int(np.argmax(wrong))
        raise _undeclared(row, int(labels[row]), schema)
    return labels.astype(np.int64)


def soft(shares: NDArray[Any], schema: ImageSchema) -> SoftLabels:
    """(n, K) shares of the classes.

    Raises:
        InputError: If they have another shape or kind, or some are no shares.
    """
    shares = np.asarray(shares)
    classes = len(schema.classes)
    if shares.ndim != 2 or shares.shape[1] != classes or shares.dtype.kind != "f":
        raise InputError(
            f"soft labels hold {shares.dtype} of shape {shares.shape}",
            f"Give a number for each image and each of the {classes} classes.",
        )
    whole = np.abs(shares.sum(axis=1, dtype=np.float64) - 1) < _SUM
    wrong = ~(np.isfinite(shares).all(axis=1) & (shares >= 0).all(axis=1) & whole)
    if wrong.any():
        row = int(np.argmax(wrong))
        raise InputError(
            f"the soft label of image {row} is {shares[row].tolist()}",
            "Give shares of at least 0 that sum to 1.",
        )
    return shares.astype(np.float32)


def _undeclared(row: int, label: Any, schema: ImageSchema) -> InputError:
    return InputError(
        f"image {row} has the label {label!r}, which was never declared",
        f"Labels are 0..{len(schema.classes) - 1}: {', '.join(schema.classes[:20])}.",
    )
