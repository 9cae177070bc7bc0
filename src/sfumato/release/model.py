"""A trained model as what a release holds: its public facts, its architecture, its weights."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from sfumato.errors import InputError
from sfumato.release.weights import WEIGHTS, load_weights, save_weights

if TYPE_CHECKING:
    from torch import nn

    from sfumato.data import ImageSchema, Schema

SCHEMA = "schema.yaml"
_BATCH = 1024


@dataclass(frozen=True, eq=False)
class Model:
    """A classifier of images or of a table's rows.

    Args:
        schema: Public facts of what it was trained on; its input is described by the same.
        architecture: What :func:`sfumato.learn.architectures.build` builds the module from.
        tensors: The module's state.
    """

    schema: ImageSchema | Schema
    architecture: Mapping[str, Any]
    tensors: Mapping[str, NDArray[Any]]

    kind: ClassVar[str] = "model"

    @property
    def takes(self) -> str:
        """``"images"`` or ``"table"``."""
        return "table" if hasattr(self.schema, "columns") else "images"

    @cached_property
    def classes(self) -> tuple[str, ...]:
        """Names of the classes, in the order of the scores."""
        from sfumato.learn.examples import classes_of

        return classes_of(self.schema)

    @property
    def parameters(self) -> int:
        """How many numbers the release's weights are."""
        return sum(int(tensor.size) for tensor in self.tensors.values())

    @cached_property
    def module(self) -> nn.Module:
        """The network, in evaluation mode, on the CPU."""
        from sfumato.learn.architectures import load

        return load(self.architecture, self.tensors)

    def probabilities(self, records: Any) -> NDArray[np.float64]:
        """Scores of each class that sum to 1.

        Args:
            records: Images as an ``ImageSet`` or (n, c, h, w), (n, h, w) or (n, h, w, c) values in
                [0, 1]; rows as a ``Table`` or a data frame, with or without the target column.

        Returns:
            (n, K) float64, in the order of ``classes``.

        Raises:
            InputError: If the records are not what the model takes.
        """
        return self.probabilities_from(self._inputs(records))

    def probabilities_from(self, inputs: NDArray[Any]) -> NDArray[np.float64]:
        """The same for what the module itself takes.

        Args:
            inputs: (n, c, h, w) float32 in [0, 1], or (n, d) codes of all columns but the target.
        """
        import torch

        parts = [np.zeros((0, len(self.classes)))]
        with torch.no_grad():
            for start in range(0, len(inputs), _BATCH):
                scores = self.module(torch.from_numpy(inputs[start : start + _BATCH]))
                parts.append(torch.softmax(scores.double(), dim=1).numpy())
        return np.concatenate(parts)

    def predict(self, records: Any) -> NDArray[Any]:
        """The likeliest class of each record.

        Args:
            records: As for :meth:`probabilities`.

        Returns:
            (n,) class numbers for images, like an image set's ``labels``; for rows, values of the
            target column, a missing one as None.

        Raises:
            InputError: If the records are not what the model takes.
        """
        found = self.probabilities(records).argmax(axis=1)
        if self.takes == "images":
            return np.asarray(found, dtype=np.int64)
        from sfumato.data import Schema

        schema = self.schema
        assert isinstance(schema, Schema)
        goal = schema[str(schema.target)]
        return np.array(goal.decode(found).to_pylist(), dtype=object)

    def save(self, folder: str | Path) -> None:
        """Writes ``weights.safetensors`` and ``schema.yaml``."""
        folder = Path(folder)
        folder.mkdir(parents=True, exist_ok=True)
        save_weights(folder / WEIGHTS, self.tensors, self.architecture)
        # How many records there were is a fact of the training, not of what the model takes.
        self.schema.with_records(None).save(folder / SCHEMA)

    @classmethod
    def load(cls, folder: str | Path) -> Model:
        """Reads what :meth:`save` wrote.

        Raises:
            InputError: If a file is missing or damaged.
        """
        from sfumato.data.load import load_schema

        folder = Path(folder)
        tensors, architecture = load_weights(folder / WEIGHTS)
        return cls(load_schema(folder / SCHEMA), architecture, tensors)

    def _inputs(self, records: Any) -> NDArray[Any]:
        """What the module takes, as an array."""
        from sfumato.data import ImageSchema, ImageSet

        if not isinstance(self.schema, ImageSchema):
            return self._rows(records)
        if not isinstance(records, ImageSet):
            try:
                array = np.asarray(records)
            except ValueError:
                raise InputError(
                    "the array has rows of several lengths", "Give images of one size."
                ) from None
            labels = np.zeros(len(array), dtype=np.int64) if array.ndim else np.zeros(0)
            records = ImageSet.from_arrays(array, labels, self.schema.classes, where="the array")
        if records.schema.shape != self.schema.shape:
            raise InputError(
                f"the images are {records.schema.shape}, the model takes {self.schema.shape}",
                "Bring them to the model's size first.",
            )
        return np.ascontiguousarray(records.images)

    def _rows(self, records: Any) -> NDArray[Any]:
        from sfumato.data import Schema, Table
        from sfumato.learn.examples import code_matrix

        assert isinstance(self.schema, Schema)
        names = [column.name for column in self.schema.features]
        wanted = self.schema.select(*names)
        if type(records).__name__ == "DataFrame":
            records = Table.from_pandas(records, wanted)
        if not isinstance(records, Table):
            raise InputError(
                f"the model was given a {type(records).__name__}", "Give a Table or a data frame."
            )
        if missing := [name for name in names if name not in records.schema]:
            raise InputError(
                f"the rows lack column {missing[0]!r}", f"The model takes {', '.join(names)}."
            )
        if not records.schema.select(*names).encodes_like(wanted):
            raise InputError(
                "the rows have other levels or bounds than the model's",
                "Read them with the model's own schema.",
            )
        return code_matrix(records.codes(names), names)
