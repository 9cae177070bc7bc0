"""What is said of data that are taken as they are: warnings, and facts that are published."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

import numpy as np

from sfumato.api.inputs import is_same

if TYPE_CHECKING:
    from sfumato.api.inputs import Data, DataLike


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


def tell_same_rows(members: DataLike, non_members: DataLike) -> None:
    """Warns of members that are named as the non-members, too."""
    if is_same(members, non_members):
        logging.getLogger("sfumato").warning(
            "the members are the non-members, too: nothing can tell them apart, and what is found "
            "means nothing; name rows that were left out, such as those held out"
        )


def tell_shared_records(members: Data, non_members: Data) -> None:
    """Warns of records that are on both sides, whatever the files are called."""
    from sfumato.attack.overlap import shared

    found = shared(members, non_members) if members.kind == non_members.kind else None
    if found is not None:
        equal, of = found
        logging.getLogger("sfumato").warning(
            f"{equal} of {of} non-members that were compared equal a member in every value, more "
            "than in two parts of one source: what is told of these cannot be seen, and a leak "
            "looks smaller than it is; name rows that were left out"
        )


def tell_repeated_records(members: Data, non_members: Data) -> None:
    """Warns of records that are on one side several times: they are counted as several people."""
    from sfumato.attack.overlap import repeated

    if members.kind != non_members.kind:
        return
    sides = {"members": (members, non_members), "non-members": (non_members, members)}
    for name, (one, other) in sides.items():
        if one.whose() is None and (found := repeated(one, other)) is not None:
            alike, of = found
            logging.getLogger("sfumato").warning(
                f"{alike} of {of} {name} that were compared equal another in every value, more "
                "than in two parts of one source: if records are repeated, each counts as another "
                "person, and intervals are too narrow; give each once, or say whose they are"
            )
