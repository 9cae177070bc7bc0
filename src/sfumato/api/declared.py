"""Private data that a setting of a method declares public: the custodian's most costly mistake."""

from __future__ import annotations

from fnmatch import fnmatch
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sfumato.api.inputs import holdout_of
from sfumato.api.naming import is_same
from sfumato.errors import InputError

if TYPE_CHECKING:
    from sfumato.api.inputs import DataLike


def check_public(method: Any, data: DataLike, holdout: float | str | Path | None = None) -> None:
    """Refuses private data that a setting of the method declares public, or a part of them.

    Files are compared by their names, which are public; what is in them is not looked at.

    Args:
        method: Configured.
        data: The private data.
        holdout: What is held out of them, which the release never sees either.

    Raises:
        InputError: If they are one and the same, or one lies in the other.
    """
    named = getattr(method, "public_data", None)
    if named is None:
        return
    if is_same(data, named):
        raise InputError(
            f"public_data is {named}, the private data themselves",
            "Name records that nobody needs to protect: nothing protects those.",
        )
    held_out = holdout_of(data, holdout)[1]
    if held_out is not None and is_same(held_out, named):
        raise InputError(
            f"public_data is {named}, which is held out of the release to judge it",
            "Name other public records, or hold others out.",
        )
    for of, what in ((data, "the private data are"), (held_out, "held out is")):
        private, public = None if of is None else _place(of), _place(named)
        if private and public and (_within(public, private) or _within(private, public)):
            raise InputError(
                f"public_data is {named}, and {what} {of}: one lies in the other",
                "Name records that nobody needs to protect, and keep them apart from these.",
            )


def _place(data: DataLike) -> Path | None:
    """Where data lie, if that is in the file system."""
    from sfumato.data.addresses import is_address

    if not isinstance(data, str | Path) or str(data).startswith("dataset:"):
        return None
    return None if is_address(str(data)) else Path(data).expanduser().resolve()


def _within(path: Path, place: Path) -> bool:
    """Whether a path is one of a glob's, or lies in a folder."""
    # A folder may be called like a glob; and '*' takes any folder, too often rather than not.
    return path.is_relative_to(place) or fnmatch(str(path), str(place))
