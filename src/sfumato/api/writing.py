"""A paid release on its way to disk, and what is told if it, or its evaluation, gets stuck."""

from __future__ import annotations

import json
import logging
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from sfumato.errors import InputError, UnwrittenError
from sfumato.publish import shortage
from sfumato.publish.workspace import release_of
from sfumato.release.release import CARD, Release


def written(release: Release, folder: Path, *, kept: bool = False) -> Release:
    """The release in its folder, or, if that has come to exist since it was asked for, beside it.

    Args:
        release: Paid for.
        folder: Was not there before.
        kept: Whether a checkpoint holds what was drawn.

    Raises:
        UnwrittenError: If it cannot be written.
    """
    from sfumato.report import page

    if os.path.lexists(folder):
        other = folder.with_name(f"{folder.name[:100]}-{release.card.release_id[:12]}")
        logging.getLogger("sfumato").warning(
            "%s has come to exist meanwhile: the release is written to %s", folder, other
        )
        folder = other
    try:
        return release.save(folder, report=page)
    except InputError as error:
        again = (
            "Make room: the same command goes on from its checkpoint and pays nothing anew."
            if kept
            else "Make room; publishing anew is debited anew."
        )
        entry = release.card.ledger["sequence"]
        raise UnwrittenError(
            f"{error.problem}, and the release is paid for (ledger entry {entry})", again
        ) from None


@contextmanager
def whole(release: Release) -> Iterator[None]:
    """Tells, whatever goes wrong after a release was written, that the release itself is whole.

    Raises:
        UnwrittenError: If there is no room for its evaluation.
    """
    stands = f"the release in {release.path} is whole, and paid for"
    try:
        yield
    except BaseException as error:
        lack = error.problem if isinstance(error, InputError) else shortage.told(error)
        if release.path is not None and lack is not None:
            raise UnwrittenError(
                f"{lack}; {stands}",
                "Make room, then attack and measure it: `sfumato attack`, `sfumato measure`.",
            ) from None
        if release.path is not None:
            logging.getLogger("sfumato").warning(
                "%s; attack and measure it by `sfumato attack` and `sfumato measure`", stands
            )
        raise


def check_unwritten(folder: Path, checkpoint: Path) -> None:
    """Refuses to go on with a run whose release is there: only its checkpoint is left over.

    Raises:
        InputError: If the release in ``folder`` is that of the run in ``checkpoint``.
    """
    try:
        card = json.loads((folder / CARD).read_bytes())
    except (OSError, ValueError):
        return
    known = release_of(checkpoint)
    if known is not None and isinstance(card, dict) and card.get("release_id") == known:
        raise InputError(
            f"{folder} is the release of the run in {checkpoint}, written and paid for",
            f"Delete {checkpoint}; attack and measure the release by `sfumato attack` and "
            "`sfumato measure`.",
        )


def check_beside(folder: Path, checkpoint: Path) -> None:
    """Refuses a checkpoint in the release's way, or a release in what is deleted afterwards.

    Raises:
        InputError: If one of the two is the other or lies in it.
    """
    out, kept = folder.resolve(), checkpoint.resolve()
    if out.is_relative_to(kept) or kept.is_relative_to(out):
        raise InputError(
            f"the release {folder} and its checkpoint {checkpoint} lie in one another",
            "Give two folders, neither in the other.",
        )
