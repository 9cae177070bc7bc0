"""Trained groups on disk, so that an interruption loses at most the groups that were training.

The folder belongs to whoever owns the private records: its models were trained on them without
any protection. It is made for its owner only.
"""

from __future__ import annotations

import hashlib
import json
import os
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from sfumato.attack.shadows.training import Trained
from sfumato.errors import InputError
from sfumato.release.release import check_private

if TYPE_CHECKING:
    from sfumato.attack.shadows.design import Rows
    from sfumato.attack.shadows.networks import Network
    from sfumato.attack.shadows.training import Recipe

_FORM = 2  # raised when the training changes, so that older files are not taken


def digest(*arrays: NDArray[Any]) -> str:
    """A hash of arrays' contents, shapes and types."""
    found = hashlib.sha256()
    for array in arrays:
        found.update(f"{array.dtype.str}{array.shape}".encode())
        found.update(np.ascontiguousarray(array).data)
    return found.hexdigest()


def key(
    network: Network, recipe: Recipe, data: str, rows: Rows, seeds: Sequence[int]
) -> tuple[str, dict[str, Any]]:
    """The name of a group in the store, and what the name stands for.

    Args:
        network: The architecture.
        recipe: How it is trained.
        data: :func:`digest` of inputs and labels.
        rows: (m, k) of the group.
        seeds: Of the group.
    """
    stands_for = {
        "form": _FORM,
        "network": asdict(network),
        "recipe": asdict(recipe),
        "data": data,
        "rows": digest(rows),
        "seeds": [int(seed) for seed in seeds],
    }
    text = json.dumps(stands_for, sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()[:40], stands_for


@dataclass(frozen=True)
class Store:
    """A folder of trained groups.

    Args:
        folder: Made, for its owner only, when the first group is kept.

    Raises:
        InputError: If the folder lies in a release.
    """

    folder: Path

    def __post_init__(self) -> None:
        check_private(self.folder)

    def get(self, name: str) -> Trained | None:
        """The group of that name; None if it is not there or is damaged."""
        from safetensors import SafetensorError
        from safetensors.torch import load_file

        try:
            tensors = load_file(self.folder / f"{name}.safetensors")
            centre, spread = tensors.pop("centre"), tensors.pop("spread")
        except (OSError, SafetensorError, KeyError):
            return None  # it is trained again
        return Trained(tensors, centre, spread)

    def keep(self, name: str, group: Trained, stands_for: Mapping[str, Any]) -> None:
        """Writes a group, whole or not at all, and beside it what it is.

        Raises:
            InputError: If the folder cannot be written.
        """
        from safetensors.torch import save

        tensors = {k: v.contiguous() for k, v in group.weights.items()}
        data = save({**tensors, "centre": group.centre, "spread": group.spread})
        try:
            self.folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            self._write(f"{name}.json", json.dumps(dict(stands_for), indent=1).encode())
            self._write(f"{name}.safetensors", data)
        except OSError as error:
            raise InputError(
                f"cannot write {self.folder} ({error.strerror or error})", "Choose another folder."
            ) from None

    def _write(self, name: str, data: bytes) -> None:
        handle, scratch = tempfile.mkstemp(dir=self.folder)  # for its owner only
        try:
            with os.fdopen(handle, "wb") as file:
                file.write(data)
                file.flush()
                os.fsync(file.fileno())
            os.replace(scratch, self.folder / name)
        except BaseException:
            Path(scratch).unlink(missing_ok=True)
            raise
