"""The public records that are put to the vote, and that the student learns from.

Their labels, if they come with any, are not looked at. Where they come from is the custodian's to
declare; nothing protects the people in them, so private records must never be among them.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor

from sfumato.data.addresses import named
from sfumato.data.facts import Fact
from sfumato.errors import InputError

if TYPE_CHECKING:
    from sfumato.data import ImageSchema, Schema


@dataclass(frozen=True, eq=False)
class Pool:
    """Public records without labels.

    Args:
        name: As the custodian gave it.
        inputs: (m, c, h, w) float32 images, or (m, d) int32 codes of all columns but the target.
    """

    name: str
    inputs: Tensor

    @property
    def fact(self) -> Fact:
        """For a card: name, number of records and a digest of their values."""
        digest = hashlib.sha256(np.ascontiguousarray(self.inputs.numpy()).tobytes()).hexdigest()
        value = {"name": named(self.name), "records": len(self.inputs), "sha256": digest}
        return Fact("public records", value, "public: declared by the custodian")


def load_pool(name: str, facts: ImageSchema | Schema, most: int) -> Pool:
    """Opens the public records.

    Args:
        name: A path or ``dataset:NAME/SPLIT``, as every command takes data.
        facts: Public facts of the private records; a public table is read with the same, but for
            the target, which it need not have.
        most: Records beyond so many are left out.

    Raises:
        InputError: If they cannot be read, or are not shaped like the private ones.
    """
    from sfumato.data import ImageSchema

    if isinstance(facts, ImageSchema):
        return Pool(name, _images(name, facts)[:most])
    return Pool(name, _rows(name, facts)[:most])


def _images(name: str, facts: ImageSchema) -> Tensor:
    from sfumato.data import ImageSet, image_files
    from sfumato.data.load import load_data

    path = Path(name).expanduser()
    own = name.startswith("dataset:") or path.is_dir()
    if path.suffix == ".npz" and path.is_file():
        own = "classes" in image_files.npz_arrays(path)  # they may well be others
    found = load_data(name, schema=None if own else facts.with_records(None))
    if not isinstance(found, ImageSet) or found.schema.shape != facts.shape:
        shape = found.schema.shape if isinstance(found, ImageSet) else "a table"
        raise InputError(
            f"the public records {name!r} are {shape}, the private ones {facts.shape}",
            "Bring them to the private images' size first.",
        )
    return torch.from_numpy(found.images)


def _rows(name: str, facts: Schema) -> Tensor:
    from sfumato.data import Table
    from sfumato.data.load import load_data
    from sfumato.learn.examples import code_matrix

    names = [column.name for column in facts.features]
    found = load_data(name, schema=facts.select(*names))
    if not isinstance(found, Table):
        raise InputError(f"the public records {name!r} are images", "Give a table.")
    return torch.from_numpy(code_matrix(found.codes(names), names))
