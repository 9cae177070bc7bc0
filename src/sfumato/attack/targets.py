"""The records that an attack is tried on, as arrays, members and non-members in equal number."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from sfumato.attack import persons
from sfumato.attack.nearest import Nearest, nearest_codes, nearest_pixels
from sfumato.errors import InputError
from sfumato.measure import features

if TYPE_CHECKING:
    from sfumato.attack.evidence import Evidence
    from sfumato.data.columns import Column
    from sfumato.data.imageset import ImageSet
    from sfumato.data.table import Table
    from sfumato.release.release import Release


@dataclass(frozen=True)
class Records:
    """Rows of a table as codes, or images as pixels.

    Args:
        values: (n, d) codes, or (n, p) pixels in [0, 1].
        columns: What the codes mean; empty for pixels.
        labels: (n,) class numbers of images; None for tables.
    """

    values: NDArray[np.int32] | NDArray[np.float32]
    columns: tuple[Column, ...] = ()
    labels: NDArray[np.int64] | None = None

    def __len__(self) -> int:
        return len(self.values)

    def __getitem__(self, rows: NDArray[np.int64]) -> Records:
        """The records at row numbers."""
        labels = None if self.labels is None else self.labels[rows]
        return Records(self.values[rows], self.columns, labels)

    def nearest(self, references: Records) -> Nearest:
        """Distance to, and row number of, the nearest reference of each record."""
        if self.columns:
            return nearest_codes(self.values, references.values, self.columns)[0]  # type: ignore[arg-type]
        return nearest_pixels(self.values, references.values)  # type: ignore[arg-type]


def read(data: Table | ImageSet, rows: NDArray[np.int64] | None = None) -> Records:
    """Records of a table or image set, all or at row numbers in rising order."""
    if data.kind == "table":
        return Records(features.codes(data, rows), tuple(data.schema.columns))  # type: ignore[arg-type, union-attr]
    labels = data.labels if rows is None else data.labels[rows]  # type: ignore[union-attr]
    pixels = features.pixels(data, rows)  # type: ignore[arg-type]
    return Records(pixels, labels=np.asarray(labels, np.int64))


def released(release: Release, limit: int, rng: np.random.Generator) -> Records:
    """The released records, at most ``limit`` of them by the seed.

    Raises:
        InputError: If there are none.
    """
    total = features.size(release.data)
    if total == 0:
        raise InputError("the release holds no records", "There is nothing to attack.")
    chosen = None if total <= limit else features.choose(total, limit, rng)
    return read(release.data, chosen)


def check(release: Release, evidence: Evidence) -> None:
    """Refuses evidence whose records do not mean what the release's mean.

    Raises:
        InputError: If kinds, columns, shapes or classes differ.
    """
    held = release.artefact.content
    features.check_alike(held, evidence.members, "members")
    features.check_alike(held, evidence.non_members, "non-members")
    if evidence.auxiliary is not None:
        features.check_alike(held, evidence.auxiliary, "auxiliary records")


def balanced(
    evidence: Evidence, limit: int, rng: np.random.Generator
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Row numbers of as many members as non-members, at most ``limit`` of each.

    One record of each person, where persons are known.
    """
    members, others = (persons.one_each(d, rng) for d in (evidence.members, evidence.non_members))
    each = min(limit, len(members), len(others))
    return (
        members[features.choose(len(members), each, rng)],
        others[features.choose(len(others), each, rng)],
    )
