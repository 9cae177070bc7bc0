"""What a training has drawn so far, in a private folder, so that an interruption loses little.

A workspace belongs to one paid-for run. Whatever was drawn from private data is drawn once: it is
noted before the draw, and kept after it. If a run dies between the two, the draw is lost and the
run cannot be finished, because drawing anew would have to be paid for anew.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from sfumato.errors import InputError, LedgerError

if TYPE_CHECKING:
    from sfumato.privacy.ledger import Ledger
    from sfumato.privacy.ledger.entry import Entry
    from sfumato.publish.method import Calibrated

_T = TypeVar("_T")
_PAID = "paid.json"


def paid(
    workspace: Path, calibrated: Calibrated, ledger: Ledger, release_id: str, label: str
) -> Entry:
    """The debit of the run in this workspace: the one it was begun with, or a new one.

    Args:
        workspace: The folder; made, for its owner only, if it is missing.
        calibrated: The run.
        ledger: Takes a new debit, or holds the old one.
        release_id: Of a new debit.
        label: Of a new debit.

    Raises:
        InputError: If the workspace is of another run.
        LedgerError: If the ledger lacks the debit that the workspace names.
    """
    from sfumato.publish.method import settings

    wanted = {
        "method": calibrated.method.name,
        "settings": _plain(settings(calibrated.method)),
        "guarantee": _plain(calibrated.guarantee.to_dict()),
        "plan": _plain(calibrated.plan),
    }
    file = workspace / _PAID
    if file.exists():
        kept = json.loads(file.read_text(encoding="utf-8"))
        if kept["run"] != wanted:
            raise InputError(
                f"{workspace} holds a run of another method, budget or data set",
                "Give the settings that it was begun with, or another folder.",
            )
        for entry in ledger.entries():
            if entry.hash == kept["entry"]:
                return entry
        raise LedgerError(
            f"the ledger has no entry {kept['entry'][:12]}, which paid for the run in {workspace}",
            "Give the ledger that it was begun with.",
        )
    if workspace.exists() and any(workspace.iterdir()):
        raise InputError(
            f"{workspace} is not empty and holds no run", "Give an empty or a new folder."
        )
    workspace.mkdir(mode=0o700, parents=True, exist_ok=True)
    entry = ledger.debit(
        calibrated.guarantee,
        release_id=release_id,
        method=calibrated.method.name,
        label=label,
    )
    write(file, json.dumps({"run": wanted, "entry": entry.hash}))
    return entry


def is_paid(workspace: Path) -> bool:
    """Whether a run in this folder has been paid for."""
    return (workspace.expanduser() / _PAID).is_file()


def _plain(values: Any) -> Any:
    """As it comes back from JSON."""
    return json.loads(json.dumps(values))


def once(workspace: Path | None, name: str, make: Callable[[], _T], *, drawn: bool = False) -> _T:
    """The value that ``make`` gave in this workspace the first time.

    Args:
        workspace: The folder; None makes the value and keeps nothing.
        name: Of the value, which must be JSON.
        make: Makes it.
        drawn: Whether making it draws from private data.

    Raises:
        InputError: If it was being drawn when an earlier run died.
    """
    if workspace is None:
        return make()
    file, begun = workspace / f"{name}.json", workspace / f"{name}.begun"
    if file.exists():
        value: _T = json.loads(file.read_text(encoding="utf-8"))
        return value
    if drawn:
        if begun.exists():
            raise InputError(
                f"an earlier run died while it drew {name} from the private records",
                f"That draw is paid for and lost. Start anew, without {workspace}.",
            )
        write(begun, "")
    value = make()
    write(file, json.dumps(value))
    return value


def write(file: Path, text: str) -> None:
    """Writes a file, for its owner only, that is either whole on disk or not there."""
    beside = file.with_name(file.name + ".part")
    with open(os.open(beside, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "w") as handle:
        handle.write(text)
        handle.flush()
        os.fsync(handle.fileno())
    os.replace(beside, file)
    folder = os.open(file.parent, os.O_RDONLY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)
