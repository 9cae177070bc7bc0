"""Two neighbouring data sets, as far apart as public facts allow; made up, of nobody."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sfumato.api.auditing.units import Unit
from sfumato.data import Categorical, ImageSchema, ImageSet, Numeric, Ordinal, Schema, Table
from sfumato.errors import InputError
from sfumato.privacy.neighbours import Neighbours

RECORDS = 40
RECORD = Unit()
_DARK = 0.2

PEOPLE = Schema(
    (
        Numeric("age", 0, 15, 1),
        Numeric("income", 0, 8, 1, missing=True),
        Categorical("city", tuple("abcdefgh")),
        Ordinal("rank", ("low", "middle", "high", "top")),
        Categorical("ill", ("no", "yes")),
    ),
    target="ill",
)
"""Facts for a method on tables where none are given."""

PICTURES = ImageSchema(1, 8, 8, ("a", "b", "c"))
"""Facts for a method on images where none are given."""


@dataclass(frozen=True)
class Pair:
    """Neighbours that differ in one record, the canary.

    Args:
        one: Without the canary, or with the other value of it.
        other: With it.
        canaries: The record, or both of its values, as a data set of their own.
        at: Its place in ``other``.
    """

    one: Any
    other: Any
    canaries: Any
    at: int


def usual(kinds: tuple[str, ...]) -> Any:
    """Facts for a method that takes data of these kinds."""
    return PICTURES if "images" in kinds else PEOPLE


def pair(
    facts: Any,
    neighbours: Neighbours,
    records: int,
    *,
    to_train: bool,
    unit: Unit = RECORD,
    aligned: bool = False,
) -> Pair:
    """The extremes of a domain, in what the guarantee covers of a record.

    Args:
        facts: A ``Schema`` or an ``ImageSchema``.
        neighbours: The relation of the claim.
        records: Of the larger data set.
        to_train: Whether a model is trained, which shows a record most where its label is one that
            nobody else has; where counts are released, it shows most among others of its class.
        unit: What the two values of a record may differ in.
        aligned: Whether every record has a release of its own, which all of its values enter.

    Raises:
        InputError: If the relation is one that no pair is known for, or too few records are asked.
    """
    if neighbours is Neighbours.ZERO_OUT:
        raise InputError(
            "the guarantee is under zero-out, and no pair of data sets is known for that",
            "Audit the method under add-remove or replace-one.",
        )
    if records < 2:
        raise InputError(f"records is {records!r}", "Give at least 2.")
    if not isinstance(facts, ImageSchema):
        return _people(facts, neighbours, records, to_train, unit.copied)
    if aligned or unit.pixels is not None or not unit.labels:
        return _reports(facts, records, unit)
    return _pictures(facts, neighbours, records)


def _people(
    facts: Schema, neighbours: Neighbours, records: int, to_train: bool, copied: tuple[str, ...]
) -> Pair:
    rng = np.random.default_rng(0)
    codes = {c.name: rng.integers(0, max(1, c.size - 1), records - 1) for c in facts}
    target = facts.target
    if target is not None:
        codes[target] = np.zeros(records - 1, np.int64)
    low = dict.fromkeys(facts.names, 0)
    # Where a value may be missing, that is the last code, and not the farthest value.
    high = {c.name: getattr(c, "cardinality", c.size) - 1 for c in facts}
    if neighbours is Neighbours.ADD_REMOVE:
        high = {c.name: c.size - 1 for c in facts}
        if target is not None and not to_train:
            high[target] = 0
        base = Table.from_codes(codes, facts)
        return Pair(base, _with(codes, high, facts), _alone([high], facts), records - 1)
    if target is not None and to_train:
        low = high | {target: 0}  # one record of two labels
    low |= {name: high[name] for name in copied}
    both = [_with(codes, code, facts) for code in (low, high)]
    return Pair(both[0], both[1], _alone([low, high], facts), records - 1)


def _with(codes: dict[str, NDArray[Any]], record: dict[str, int], facts: Schema) -> Table:
    return Table.from_codes({n: np.append(c, record[n]) for n, c in codes.items()}, facts)


def _alone(records: list[dict[str, int]], facts: Schema) -> Table:
    return Table.from_codes({n: np.array([r[n] for r in records]) for n in facts.names}, facts)


def _reports(facts: ImageSchema, records: int, unit: Unit) -> Pair:
    """Black pictures, one of them white where the unit is; of another label, too, if that is in."""
    last = len(facts.classes) - 1

    def having(white: float, label: int) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
        images = np.zeros((records, *facts.shape), np.float32)
        images[-1, unit.apart(facts.shape)] = white
        return images, np.append(np.zeros(records - 1, np.int64), label)

    sides = having(0.0, 0 if unit.labels else last), having(1.0, last)
    one, other = (ImageSet.from_arrays(*side, facts.classes) for side in sides)
    images, labels = (np.stack([side[part][-1] for side in sides]) for part in (0, 1))
    return Pair(one, other, ImageSet.from_arrays(images, labels, facts.classes), records - 1)


def _pictures(facts: ImageSchema, neighbours: Neighbours, records: int) -> Pair:
    rng = np.random.default_rng(0)
    k = len(facts.classes)
    images = (_DARK * rng.random((records - 1, *facts.shape))).astype(np.float32)
    labels = np.arange(records - 1) % max(1, k - 1)
    # The canary has the pixels that nobody else has, so that others hide it least.
    apart = np.arange(images[0].size).reshape(facts.shape) % 2 == 1
    white = np.ones((1, *facts.shape), np.float32)
    if apart.any():
        images[:, apart] = 0.0
        white[:, ~apart] = 0.0
    added = np.concatenate([images, white])

    def labelled(label: int) -> ImageSet:
        return ImageSet.from_arrays(added, np.append(labels, label), facts.classes)

    if neighbours is Neighbours.ADD_REMOVE:
        base = ImageSet.from_arrays(images, labels, facts.classes)
        alone = ImageSet.from_arrays(white, np.array([k - 1]), facts.classes)
        return Pair(base, labelled(k - 1), alone, records - 1)
    # One picture of two labels; where there is but one label, two pictures.
    dark = white if k > 1 else np.zeros_like(white)
    both = ImageSet.from_arrays(np.concatenate([dark, white]), np.array([0, k - 1]), facts.classes)
    first = np.concatenate([images, dark])
    one = ImageSet.from_arrays(first, np.append(labels, 0), facts.classes)
    return Pair(one, labelled(k - 1), both, records - 1)
