"""Records that the attacker holds: given, or set aside from the non-members."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from sfumato.attack import persons
from sfumato.attack.evidence import MINIMUM
from sfumato.errors import InputError
from sfumato.measure import features

if TYPE_CHECKING:
    from sfumato.attack.evidence import Evidence
    from sfumato.data.imageset import ImageSet
    from sfumato.data.table import Table
    from sfumato.measure.task import Part
    from sfumato.release.model import Model


def parted(evidence: Evidence, seed: int) -> tuple[Table | ImageSet, Table | ImageSet]:
    """Non-members to judge on, and what the attacker holds; nobody is in both.

    Where the evidence names no auxiliary records, half of the non-members are taken for them, by
    person where persons are known; see :attr:`Evidence.together`.

    Args:
        evidence: Of the attack.
        seed: Of the halves.

    Returns:
        The non-members that are left, and the attacker's records.

    Raises:
        InputError: If a half is too small to say anything.
    """
    if evidence.auxiliary is not None:
        return evidence.non_members, evidence.auxiliary
    data: Any = evidence.non_members
    whose = evidence.together
    names = np.unique(whose)
    if len(names) < 2 * MINIMUM:
        raise InputError(
            f"{len(names)} non-members are too few to set half of them aside",
            f"Give auxiliary records, or at least {2 * MINIMUM} non-members.",
        )
    by_table = evidence.kind == "table" if data.whose() is not None else len(names) == len(whose)
    if by_table:
        judged, held = data.split(0.5, seed)
    else:  # exact halves: there may be few persons
        names = np.random.default_rng(seed).permutation(names)[: len(names) // 2]
        inside = np.isin(whose, names)
        judged, held = (_at(data, np.flatnonzero(rows)) for rows in (~inside, inside))
    if min(persons.count(judged), persons.count(held)) < MINIMUM:
        raise InputError(
            "half of the non-members are too few records", "Give more, or auxiliary records."
        )
    return judged, held


def _at(data: Any, rows: NDArray[np.int64]) -> Any:
    """The records at row numbers in rising order."""
    if data.kind == "images":
        return data.select(rows)
    from sfumato.data import Table

    codes = features.codes(data, rows)
    facts = data.schema
    return Table.from_codes({name: codes[:, j] for j, name in enumerate(facts.names)}, facts)


def labelled(model: Model, data: Table | ImageSet, limit: int, rng: np.random.Generator) -> Part:
    """At most ``limit`` records as a model's module takes them, with their classes.

    Each is of another person, where persons are known.

    Args:
        model: Whose task it is.
        data: Images, or a table with the model's columns.
        limit: How many are drawn.
        rng: Draws them.
    """
    from sfumato.measure.task import task_of

    _, read = task_of(model.schema, model.takes, 0, 1)
    return read(data, persons.choose(data, limit, rng))


def pictures_only(model: Model, name: str) -> None:
    """Refuses a model that takes no pictures.

    Raises:
        InputError: If it takes rows.
    """
    if model.takes != "images":
        raise InputError(
            f"{name} looks for pictures, this model takes rows of a table", "Leave it out."
        )
