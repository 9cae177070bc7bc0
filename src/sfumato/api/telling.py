"""What is said of data that are taken as they are: warnings, and facts that are published."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from sfumato.api.inputs import load
from sfumato.api.naming import is_same
from sfumato.errors import InputError

if TYPE_CHECKING:
    from sfumato.api.inputs import Data, DataLike
    from sfumato.data import Table

_MOST = 0.5
_UNLIKELY = 1e-6
_CLASSES = 100


def tell_several_images(data: Data) -> None:
    """Warns where images are known to show a person several times: one image is protected."""
    from sfumato.data import ImageSet

    whose = data.whose() if isinstance(data, ImageSet) else None
    most = 1 if whose is None else int(np.bincount(whose).max())
    if most > 1:
        logging.getLogger("sfumato").warning(
            f"up to {most} images show the same person, and the guarantee is for one image: who is "
            "in several is protected less; keep one of each person"
        )


def tell_read_off(data: Data) -> None:
    """Says which facts of image files are published that nobody declared but their folders."""
    from sfumato.data import ImageSet

    if isinstance(data, ImageSet) and data.from_folders:
        shape = " x ".join(map(str, data.schema.shape))
        named = ", ".join(data.schema.classes[:10]) + (", ..." if data.schema.classes[10:] else "")
        logging.getLogger("sfumato").info(
            f"published as public facts: the folders' names as classes ({named}), images of {shape}"
        )


def doubts(given: tuple[DataLike, DataLike], members: Data, non_members: Data) -> tuple[str, ...]:
    """What speaks against taking members and non-members for two random parts of one source.

    Args:
        given: How the two sides were named.
        members: Records on one side.
        non_members: Records on the other.

    Returns:
        A sentence for each; what an attack finds is to be read with them in mind.
    """
    if is_same(*given):
        return (
            "the members are the non-members, too: nothing can tell them apart, and what is found "
            "means nothing; name rows that were left out, such as those held out",
        )
    if members.kind != non_members.kind:
        return ()
    found = (*_shared(members, non_members), *_repeated(members, non_members))
    return (*found, *_uneven(members, non_members))


def _shared(members: Data, non_members: Data) -> Iterator[str]:
    """Records that are on both sides, whatever the files are called."""
    from sfumato.attack.overlap import shared

    if (found := shared(members, non_members)) is not None:
        equal, of = found
        yield (
            f"{equal} of {of} non-members that were compared equal a member in every value, more "
            "than in two parts of one source: what is told of these cannot be seen, and a leak "
            "looks smaller than it is; name rows that were left out"
        )


def _repeated(members: Data, non_members: Data) -> Iterator[str]:
    """Records that are on one side several times: they are counted as several people."""
    from sfumato.attack.overlap import repeated

    sides = {"members": (members, non_members), "non-members": (non_members, members)}
    for name, (one, other) in sides.items():
        if one.whose() is None and (found := repeated(one, other)) is not None:
            alike, of = found
            yield (
                f"{alike} of {of} {name} that were compared equal another in every value, more "
                "than in two parts of one source: if records are repeated, each counts as another "
                "person, and intervals are too narrow; give each once, or say whose they are"
            )


def _uneven(members: Data, non_members: Data) -> Iterator[str]:
    """Classes that are not equally common on both sides: attacks go by them, too."""
    from scipy.stats import chi2_contingency

    counts = np.array([_of_classes(side) for side in (members, non_members)])
    counts = counts[:, counts.sum(axis=0) > 0]
    if counts.shape[1] >= 2 and chi2_contingency(counts).pvalue <= _UNLIKELY:
        yield (
            "classes are not equally common among members and non-members, by more than luck: a "
            "random split of one source does not do that, and attacks on models may call it a "
            "leak; give sides that were parted at random"
        )


def tell(sentences: Iterable[str]) -> None:
    """Warns of each."""
    for sentence in sentences:
        logging.getLogger("sfumato").warning(sentence)


def _of_classes(data: Data) -> Any:
    """How many records are of each class; one number where there are no classes."""
    facts: Any = data.schema
    if not hasattr(facts, "columns"):
        given: Any = data
        return np.bincount(given.labels, minlength=len(facts.classes))
    if facts.target is None or facts[facts.target].cardinality > _CLASSES:
        return np.array([len(data)])
    table: Any = data
    return np.asarray(table.counts([facts.target]))


def outside(name: str, given: DataLike, data: Data, released: Data) -> Iterator[str]:
    """Columns of which most values were clamped or count as missing, and released ones do not.

    A schema that was read off what others released takes values beyond it so. Where people's rows
    are merely written otherwise, attacks would see nothing of the column, and find no leak there.

    Args:
        name: Of the side.
        given: How it was named; only files are looked at.
        data: What was read.
        released: What is attacked.
    """
    from sfumato.data import Table

    if not (isinstance(given, str | Path) and isinstance(data, Table)):
        return
    if not isinstance(released, Table) or data.schema.unit is not None or not data.ordered:
        return
    for column, what, count in _piled(data, released):
        strict = [replace(c, outside="error") if c.name == column else c for c in data.schema]
        try:
            whole: Any = load(given, schema=replace(data.schema, columns=tuple(strict)))
            whole.validate(whole.schema)
        except InputError:  # it names a value, which is somebody's
            yield (
                f"column {column!r}: {count} of {len(data)} {name} {what}, since the schema does "
                "not hold what stands there, and few released rows do: if they are written "
                "otherwise (other units or words), nothing of this column is seen; correct the "
                "file or the schema"
            )


def _piled(data: Table, released: Table) -> Iterator[tuple[str, str, int]]:
    """Columns of which most values are missing, or at one bound, where released ones are not."""
    facts: Any
    for facts in data.schema:
        if facts.outside == "error":
            continue
        found, beside = (table.counts([facts.name]) for table in (data, released))
        places = {facts.cardinality: "count as missing"} if facts.missing else {}
        if facts.outside == "clamp":
            places |= {
                0: "count as the lower bound",
                facts.cardinality - 1: "count as the upper bound",
            }
        for place, what in places.items():
            share = found[place] / max(1, found.sum())
            if share >= _MOST and beside[place] / max(1, beside.sum()) < share / 2:
                yield facts.name, what, int(found[place])
                break
