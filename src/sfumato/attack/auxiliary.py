"""Records that the attacker holds: given, or set aside from the non-members."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from sfumato.attack import persons
from sfumato.attack.evidence import MINIMUM
from sfumato.errors import InputError

if TYPE_CHECKING:
    from sfumato.attack.evidence import Evidence
    from sfumato.data.imageset import ImageSet
    from sfumato.data.table import Table
    from sfumato.measure.task import Part
    from sfumato.release.model import Model


def parted(evidence: Evidence, seed: int) -> tuple[Table | ImageSet, Table | ImageSet]:
    """Non-members to judge on, and what the attacker holds; nobody is in both.

    Where the evidence names no auxiliary records, half of the non-members are taken for them, by
    person where persons are known.

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
    if persons.count(data) < 2 * MINIMUM:
        raise InputError(
            f"{persons.count(data)} non-members are too few to set half of them aside",
            f"Give auxiliary records, or at least {2 * MINIMUM} non-members.",
        )
    whose = data.whose()
    if whose is None or evidence.kind == "table":
        judged, held = data.split(0.5, seed)
    else:  # exact halves: there may be few persons
        names = np.unique(whose)
        names = np.random.default_rng(seed).permutation(names)[: len(names) // 2]
        inside = np.isin(whose, names)
        judged, held = data.select(np.flatnonzero(~inside)), data.select(np.flatnonzero(inside))
    if min(persons.count(judged), persons.count(held)) < MINIMUM:
        raise InputError(
            "half of the non-members are too few records", "Give more, or auxiliary records."
        )
    return judged, held


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
