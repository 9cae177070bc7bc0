"""Weights in a release's folder: safetensors, with what rebuilds their module beside them."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sfumato.errors import InputError

if TYPE_CHECKING:
    import numpy as np

WEIGHTS = "weights.safetensors"


def save_weights(
    file: Path, tensors: Mapping[str, np.ndarray], architecture: Mapping[str, Any]
) -> None:
    """Writes tensors and, as JSON in the file's header, what rebuilds the module around them.

    Raises:
        OSError: If they cannot be written, as on a full disk.
    """
    from safetensors import SafetensorError
    from safetensors.numpy import save_file

    try:
        save_file(dict(tensors), file, metadata={"architecture": json.dumps(dict(architecture))})
    except SafetensorError as error:
        raise OSError(f"{file.name}: {error}") from None


def load_weights(file: Path) -> tuple[dict[str, np.ndarray], dict[str, Any]]:
    """The tensors and the architecture that :func:`save_weights` wrote.

    Raises:
        InputError: If the file cannot be read.
    """
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(file, framework="numpy") as handle:
            tensors = {name: handle.get_tensor(name) for name in handle.keys()}  # noqa: SIM118
            architecture = json.loads((handle.metadata() or {}).get("architecture", "{}"))
    except (OSError, SafetensorError, json.JSONDecodeError) as error:
        raise InputError(
            f"{file} cannot be read ({error})", "The release is damaged; copy it again."
        ) from None
    return tensors, architecture
