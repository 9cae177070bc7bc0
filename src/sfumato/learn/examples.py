"""Private records as what networks take: images as they are, rows of a table as codes."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor

from sfumato.errors import InputError

if TYPE_CHECKING:
    from sfumato.data import ImageSchema, ImageSet, Schema, Table


def labelled(data: ImageSet | Table) -> tuple[Tensor, Tensor]:
    """Inputs and class numbers of every record.

    Args:
        data: Images, or a table with a target.

    Returns:
        Images (n, c, h, w) float32, or codes (n, d) int32 of all columns but the target; and
        (n,) int64 class numbers, a missing target being the last class.
    """
    records: Any = data  # which of the two, the kind says
    if records.kind == "images":
        labels = records.labels.astype(np.int64)
        return torch.from_numpy(records.images), torch.from_numpy(labels)
    target = records.schema.target
    assert target is not None
    codes = records.codes()
    return (
        torch.from_numpy(code_matrix(codes, [c.name for c in records.schema.features])),
        torch.from_numpy(np.asarray(codes[target], dtype=np.int64)),
    )


def code_matrix(codes: Any, names: list[str]) -> np.ndarray:
    """(n, d) int32 of the named columns of ``Table.codes()``."""
    rows = len(codes[names[0]])
    matrix = np.empty((rows, len(names)), dtype=np.int32)
    for j, name in enumerate(names):
        matrix[:, j] = codes[name]
    return matrix


def classes_of(facts: ImageSchema | Schema) -> tuple[str, ...]:
    """The names of the classes that a model of this task tells apart.

    Raises:
        InputError: If there is no target, nothing to predict it from, or it is a number.
    """
    from sfumato.data import ImageSchema, Numeric

    if isinstance(facts, ImageSchema):
        return facts.classes
    if facts.target is None:
        raise InputError("no target is declared, so there is nothing to predict", "Name one.")
    if not facts.features:
        raise InputError("the target is the only column", "Declare columns to predict it from.")
    goal = facts[facts.target]
    if isinstance(goal, Numeric):
        if goal.cardinality > 2:
            raise InputError(
                f"the target {goal.name!r} is a number",
                "Models here tell classes apart: declare it as ordinal or categorical levels.",
            )
        named = tuple(f"{value:g}" for value in goal.values(np.arange(goal.cardinality)))
    else:
        named = goal.levels
    return (*named, "missing") if goal.missing else named


def input_values(facts: ImageSchema | Schema) -> dict[str, Any]:
    """What an architecture has to know of its input: ``shape``, or ``columns`` of a table."""
    from sfumato.data import ImageSchema, Numeric

    if isinstance(facts, ImageSchema):
        return {"shape": list(facts.shape)}
    return {
        "columns": [
            {"size": c.size, "grid": c.cardinality if isinstance(c, Numeric) else None}
            for c in facts.features
        ]
    }
