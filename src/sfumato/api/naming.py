"""What a data set is called: in a ledger's name, and where two names may mean one set of people."""

from __future__ import annotations

import hashlib
import re
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from sfumato.api.inputs import DataLike


def is_same(one: DataLike, other: DataLike) -> bool:
    """Whether both name one file, folder, glob or table.

    A folder that ``save`` wrote is the same as the file of records in it.
    """
    if not (isinstance(one, str | Path) and isinstance(other, str | Path)):
        return one is other
    return whole_name(str(one)) in map(whole_name, spellings(str(other)))


def ledger_name(data: str) -> str:
    """What the ledger of a data set is called by default; a place gives its last eight digits."""
    from sfumato.data import addresses

    if data.startswith("dataset:"):
        return short_name(data)
    whole = whole_name(data)
    name = short_name(data if addresses.is_address(data) else whole)
    return f"{name}-{hashlib.sha256(whole.encode()).hexdigest()[:8]}"


def spellings(data: str) -> list[str]:
    """A data set as it was named, and how else it may be: what ``save`` wrote, by its folder or by
    the file of records in it.

    Args:
        data: A path, ``dataset:NAME`` or an address.
    """
    from sfumato.data import imageset, table

    names = (imageset.DATA, table.DATA)
    try:
        path = Path(data).expanduser().resolve()
        if path.is_dir() and (path / table.SCHEMA).is_file():
            return [data, *(str(path / name) for name in names if (path / name).is_file())]
        if path.name in names and path.is_file() and (path.parent / table.SCHEMA).is_file():
            return [data, str(path.parent)]
    except (OSError, RuntimeError, ValueError):  # no path; whoever opens it says so
        pass
    return [data]


def short_name(data: str) -> str:
    """For ledgers and reports; never a value of the data."""
    from sfumato.data import addresses

    if data.startswith("dataset:"):
        return data.removeprefix("dataset:").partition("/")[0]
    if addresses.is_address(data):
        return re.sub(r"[^\w.-]", "-", addresses.table_name(data)) or "data"
    path = Path(data)
    # A glob is named after its folder.
    return re.sub(r"[*?\[\]]", "", path.stem) or path.resolve().parent.name or "data"


def whole_name(data: str) -> str:
    """The one name of a data set, however it is written; it holds no password."""
    from sfumato.data import addresses

    if addresses.is_address(data):
        return addresses.plain(data)
    if data.startswith("dataset:"):
        return data.rstrip("/").removesuffix("/train")
    return str(Path(data).expanduser().resolve())
