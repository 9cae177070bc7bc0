"""Small private data sets for the battery: people in a table, pictures with labels."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np

from sfumato.data import Categorical, ImageSchema, ImageSet, Numeric, Ordinal, Schema, Table

PEOPLE = Schema(
    (
        Numeric("age", 0, 15, 1),  # an odd diameter
        Numeric("income", 0, 8, 1, missing=True),  # an even one, and a presence bit
        Categorical("city", tuple("abcdefghijkl")),
        Ordinal("rank", ("low", "middle", "high", "top")),
        Categorical("ill", ("no", "yes")),
    ),
    target="ill",
)
LAST = {column.name: column.size - 1 for column in PEOPLE}
"""The record of all highest codes (a missing income among them)."""
TOP = LAST | {"income": 8}
"""The record of all highest values."""

PICTURES = ImageSchema(1, 4, 4, ("a", "b", "c"))


def people(seed: int, rows: int = 60, schema: Schema = PEOPLE) -> Table:
    """People whose every distribution differs from seed to seed."""
    rng = np.random.default_rng(seed)
    codes = {
        column.name: rng.choice(column.size, rows, p=rng.dirichlet(np.full(column.size, 0.4)))
        for column in schema
    }
    return Table.from_codes(codes, schema)


def alike(code: dict[str, int], rows: int, schema: Schema = PEOPLE) -> Table:
    """The same person many times."""
    return Table.from_codes({n: np.full(rows, c) for n, c in code.items()}, schema)


def replaced(table: Table, row: int, code: dict[str, int]) -> Table:
    """The table with one record replaced."""
    codes = table.codes()
    for name, value in code.items():
        codes[name][row] = value
    return Table.from_codes(codes, table.schema)


def anyone(rng: np.random.Generator, schema: Schema = PEOPLE) -> dict[str, int]:
    """A record drawn uniformly from the domain, or one of its corners."""
    if rng.random() < 0.5:
        return {c.name: int(rng.integers(c.size)) for c in schema}
    return {c.name: int(rng.choice([0, c.size - 1])) for c in schema}


def replace_somebody(table: Table, rng: np.random.Generator) -> Table:
    """A neighbour under replace-one."""
    return replaced(table, int(rng.integers(table.num_rows)), anyone(rng, table.schema))


def add_or_remove(table: Table, rng: np.random.Generator) -> Table:
    """A neighbour under add/remove."""
    codes = table.codes()
    if rng.random() < 0.5:
        gone = int(rng.integers(table.num_rows))
        return Table.from_codes({n: np.delete(c, gone) for n, c in codes.items()}, table.schema)
    code = anyone(rng, table.schema)
    return Table.from_codes({n: np.append(c, code[n]) for n, c in codes.items()}, table.schema)


def pictures(seed: int, n: int = 30) -> ImageSet:
    """Pictures whose classes and brightness differ from seed to seed."""
    rng = np.random.default_rng(seed)
    labels = rng.choice(3, n, p=rng.dirichlet(np.ones(3)))
    images = (rng.random((n, 1, 4, 4)) ** rng.uniform(0.3, 3)).astype(np.float32)
    return ImageSet.from_arrays(images, labels, PICTURES.classes)


def replace_picture(data: ImageSet, rng: np.random.Generator) -> ImageSet:
    """A neighbour under replace-one: one image and its label replaced."""
    images, labels = data.images, data.labels.copy()
    at = int(rng.integers(len(labels)))
    images[at] = rng.random(images.shape[1:]) if rng.random() < 0.5 else float(rng.integers(2))
    labels[at] = rng.integers(3)
    return ImageSet.from_arrays(images, labels, data.schema.classes)


def add_or_remove_picture(data: ImageSet, rng: np.random.Generator) -> ImageSet:
    """A neighbour under add/remove: one image and its label gone, or one more at any place."""
    if rng.random() < 0.5:
        gone = int(rng.integers(len(data)))
        return data.select(np.delete(np.arange(len(data)), gone))
    shape = (1, *data.schema.shape)
    more = rng.random(shape) if rng.random() < 0.5 else np.full(shape, float(rng.integers(2)))
    label, at = rng.integers(len(data.schema.classes)), int(rng.integers(len(data) + 1))
    images = np.insert(data.images, at, more.astype(np.float32)[0], axis=0)
    labels = np.insert(data.labels, at, label)
    return ImageSet.from_arrays(images, labels, data.schema.classes)


class Batched:
    """A data set handed out a few records at a time, whatever batch was asked for."""

    def __init__(self, data: Any, rows: int) -> None:
        self._data = data
        self._rows = rows

    def __getattr__(self, name: str) -> Any:
        return getattr(self._data, name)

    def __len__(self) -> int:
        return len(self._data)

    def codes_batches(self, rows: int = 0, columns: Any = None) -> Iterator[Any]:
        """Batches of a table."""
        return self._data.codes_batches(self._rows, columns)

    def batches(self, size: int = 0) -> Iterator[Any]:
        """Batches of an image set."""
        return self._data.batches(self._rows)
