"""What a training has drawn so far, in a private folder, so that an interruption loses little.

A workspace belongs to one paid-for run. Whatever was drawn from private data is drawn once: it is
noted before the draw, and kept after it. If a run dies between the two, the draw is lost and the
run cannot be finished, because drawing anew would have to be paid for anew.
"""

from __future__ import annotations

import json
import os
import secrets
import shutil
import tempfile
from collections.abc import Callable, Mapping
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from sfumato.data.persons import KEY_BYTES
from sfumato.errors import InputError, LedgerError, UnwrittenError
from sfumato.privacy.ledger.begun import present
from sfumato.publish import shortage
from sfumato.publish.held import LOCK
from sfumato.release.release import check_private

if TYPE_CHECKING:
    from sfumato.data.facts import Fact
    from sfumato.data.spool import Spool
    from sfumato.privacy.ledger import Ledger
    from sfumato.privacy.ledger.entry import Entry
    from sfumato.publish.method import Calibrated

TRAINING = "training"
"""The folder of a training's checkpoints within a workspace."""

_T = TypeVar("_T")
_PAID = "paid.json"
_SELECTION = "selection"
_PARTED = "parted"
_ROWS = "rows.parquet"


def paid(
    workspace: Path,
    calibrated: Calibrated,
    ledger: Ledger,
    release_id: str,
    label: str,
    rows: Spool | None = None,
) -> Entry:
    """The debit of the run in this workspace: the one it was begun with, or a new one.

    Args:
        workspace: The folder; made, for its owner only, if it is missing.
        calibrated: The run.
        ledger: Takes a new debit, or holds the old one.
        release_id: Of a new debit.
        label: Of a new debit.
        rows: The copy that the private rows are read from, if it is one; kept from now on, so that
            the run goes on with the same rows.

    Raises:
        InputError: If the workspace is of another run, or of one that rests on other public facts
            or reads another copy; if it would lie in a release, or there is no room for the copy.
        LedgerError: If the ledger lacks the debit that the workspace names.
        UnwrittenError: If there is no room to note the debit, which stands.
    """
    from sfumato.publish.method import settings

    wanted = {
        "method": calibrated.method.name,
        "settings": _plain(settings(calibrated.method)),
        "guarantee": _plain(calibrated.guarantee.to_dict()),
        "plan": _plain(calibrated.plan),
        "facts": _plain([asdict(fact) for fact in _facts(calibrated)]),
    }
    file = workspace / _PAID
    kept = _kept(workspace)
    if kept is None:
        with shortage.unpaid():
            _begin(workspace)
            # Named before the debit: if this process dies in between, the next one finds it.
            kept = {"run": wanted, "release_id": release_id, "entry": None}
            write(file, json.dumps(kept))
    elif kept["run"] != wanted:
        if "facts" not in kept["run"]:
            raise InputError(
                f"{workspace} holds a run that an earlier version of sfumato began, which did not "
                "keep the public facts that it rests on",
                "Finish it with that version, or give another folder.",
            )
        raise InputError(
            f"{workspace} holds a run of another method, budget or data set "
            f"(what differs: {_differences(kept['run'], wanted)})",
            "Give the settings that it was begun with, or another folder.",
        )
    if kept["entry"] is not None:
        _check_rows(workspace, rows)
    entry = _entry(kept, ledger)
    if entry is None and kept["entry"] is not None:
        raise LedgerError(
            f"the ledger has no entry {kept['entry'][:12]}, which paid for the run in {workspace}",
            "Give the ledger that it was begun with.",
        )
    if kept["entry"] is not None:
        assert entry is not None
        return entry
    copied = workspace / _ROWS
    try:
        if rows is None:
            copied.unlink(missing_ok=True)
        elif rows.file != copied:
            rows.save(copied)
        if entry is None:
            entry = ledger.debit(
                calibrated.guarantee,
                release_id=kept["release_id"],
                method=calibrated.method.name,
                label=label,
            )
    except BaseException:
        copied.unlink(missing_ok=True)
        raise
    with shortage.paid(entry.sequence, kept=True):
        write(file, json.dumps({**kept, "entry": entry.hash}))  # before anything is drawn
    return entry


def selection(workspace: Path, key: bytes | None = None) -> bytes:
    """The secret key of which rows of each person this workspace's run uses.

    Args:
        workspace: The folder; made if it is missing.
        key: What is kept if none is; None draws one.

    Raises:
        InputError: If the folder holds something else, or would lie in a release.
    """
    if _kept(workspace) is None:
        _begin(workspace)
    drawn = key or secrets.token_bytes(KEY_BYTES)
    return bytes.fromhex(once(workspace, _SELECTION, drawn.hex))


def parted(workspace: Path, how: Mapping[str, Any]) -> None:
    """Keeps how the records of this workspace's run were parted from those held out.

    By public choices alone: nothing of a record is kept. A run that went on with other records
    would have those in its hold-out that it was trained on before.

    Args:
        workspace: The folder; made if it is missing.
        how: JSON values.

    Raises:
        InputError: If the run was begun with others, the folder holds something else, or it would
            lie in a release.
    """
    kept = _kept(workspace)
    if kept is None:
        _begin(workspace)
        (workspace / f"{_PARTED}.json").unlink(missing_ok=True)  # of a run that never began
    begun = once(workspace, _PARTED, lambda: dict(how))
    differs = [name for name in how if begun.get(name) != how[name]]
    if differs:
        was, name = begun.get(differs[0]), differs[0]
        raise InputError(
            f"the run in {workspace} was begun with {name} {was!r}, and {how[name]!r} is given",
            "Its records would be others: give what it was begun with, or another folder.",
        )


def selected(workspace: Path) -> bytes | None:
    """The key that :func:`selection` keeps there; None if it keeps none."""
    file = workspace / f"{_SELECTION}.json"
    if not file.is_file():
        return None
    try:
        return bytes.fromhex(_read(file))
    except (TypeError, ValueError):
        raise _damaged(file) from None


def kept_rows(workspace: Path) -> Path | None:
    """The copy of its rows that the run in this workspace goes on with; None if it has none."""
    file = workspace / _ROWS
    return file if file.is_file() else None


def _check_rows(workspace: Path, rows: Spool | None) -> None:
    """Refuses to go on with other rows than a run was begun with, as far as they were kept."""
    kept = kept_rows(workspace)
    if kept is None and rows is not None:
        raise InputError(
            f"the run in {workspace} has kept no copy of its rows, and goes on with none but those",
            "Begin anew, in another folder; or leave --spool out if it was left out then.",
        )
    if kept is not None and (rows is None or rows.file != kept):
        raise InputError(
            f"{workspace} holds a copy of the rows that its run was begun with, and others are "
            "given",
            "Name the table as it was named when the run was begun, by its address.",
        )


def _begin(workspace: Path) -> None:
    """Makes the folder, for its owner only; what is there must be of a run that never began."""
    check_private(workspace)
    kept = {f"{_SELECTION}.json", f"{_PARTED}.json"}
    own = {LOCK} | kept | {_part(workspace / name).name for name in (_PAID, *kept)}
    try:
        workspace.mkdir(mode=0o700, parents=True, exist_ok=True)
        others = any(file.name not in own for file in workspace.iterdir())
        os.rmdir(tempfile.mkdtemp(dir=workspace))  # whether anything can be written there
    except OSError as error:
        if shortage.told(error) is not None:
            raise
        raise InputError(
            f"the checkpoint {workspace} is no folder that can be written to "
            f"({error.strerror or error})",
            "Give an empty or a new folder.",
        ) from None
    if others:
        raise InputError(
            f"{workspace} is not empty and holds no run", "Give an empty or a new folder."
        )


def is_paid(workspace: Path, ledger: Ledger) -> bool:
    """Whether this ledger has paid for a run in this folder."""
    kept = _kept(workspace.expanduser())
    return kept is not None and _entry(kept, ledger) is not None


def _kept(workspace: Path) -> dict[str, Any] | None:
    """What the folder says of the run that it belongs to; None if it belongs to none."""
    file = workspace / _PAID
    if not file.is_file():
        return None
    values = _read(file)
    if not isinstance(values, dict) or not values.keys() >= {"run", "release_id", "entry"}:
        raise _damaged(file)
    return values


def _entry(kept: dict[str, Any], ledger: Ledger) -> Entry | None:
    """The debit of that run in this ledger."""
    for entry in ledger.entries():
        if entry.kind == "debit" and entry.release_id == kept["release_id"]:
            return entry if kept["entry"] in (None, entry.hash) else None
    return None


def _facts(calibrated: Calibrated) -> tuple[Fact, ...]:
    """All public facts that the run rests on, as its card lists them."""
    return (*calibrated.facts.as_facts(), *calibrated.public)


def _differences(kept: dict[str, Any], wanted: dict[str, Any]) -> str:
    """In which respects two runs are not the same; facts by their names."""
    found = [name for name in wanted if name != "facts" and kept.get(name) != wanted[name]]
    old, new = kept["facts"], wanted["facts"]
    names = [fact["name"] for fact in (*new, *old) if not (fact in old and fact in new)]
    return ", ".join([*found, *dict.fromkeys(names)]) or "the order of the public facts"


def _plain(values: Any) -> Any:
    """As it comes back from JSON."""
    return json.loads(json.dumps(values))


def begun(workspace: Path) -> bool:
    """Whether a run was begun in this folder, and its release is not written yet."""
    return (workspace / _PAID).is_file()


def release_of(workspace: Path) -> str | None:
    """The identity of the release of the run in this folder; None if there is no run."""
    kept = _kept(workspace)
    return None if kept is None else str(kept["release_id"])


def finished(workspace: Path) -> None:
    """Deletes the folder of a run whose release is written.

    The note of its debit goes first: were this cut short, the rest would else begin anew on it.
    """
    (workspace / _PAID).unlink(missing_ok=True)
    _sync(workspace)
    shutil.rmtree(workspace)


def is_kept(workspace: Path | None, name: str) -> bool:
    """Whether :func:`once` has this value, so that nothing needs to be prepared for making it.

    Raises:
        InputError: If it was being drawn when an earlier run died.
    """
    if workspace is None:
        return False
    kept = (workspace / f"{name}.json").exists()
    if not kept and (workspace / f"{name}.begun").exists():
        raise _lost(workspace, name)
    return kept


def once(workspace: Path | None, name: str, make: Callable[[], _T], *, drawn: bool = False) -> _T:
    """The value that ``make`` gave in this workspace the first time.

    Args:
        workspace: The folder; None makes the value and keeps nothing.
        name: Of the value, which must be JSON.
        make: Makes it.
        drawn: Whether making it draws from private data.

    Raises:
        InputError: If it was being drawn when an earlier run died, or what was kept is damaged.
        UnwrittenError: If there is no room to draw or to keep it.
    """
    if workspace is None:
        return make()
    file, begun = workspace / f"{name}.json", workspace / f"{name}.begun"
    if file.exists():
        value: _T = _read(file)
        return value
    if drawn:
        try:  # made, not replaced: of two processes at once, one draws
            os.close(os.open(begun, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600))
        except FileExistsError:
            raise _lost(workspace, name) from None
        _sync(workspace)
        notes = present()
        if notes is not None and not notes.draw(workspace / name):
            raise _lost(workspace, name)
    try:
        value = make()
        write(file, json.dumps(value))
    except Exception as error:
        lack = shortage.told(error) if drawn else None
        if lack is None:
            raise
        raise UnwrittenError(
            f"{lack} while {name} was drawn from the private records",
            f"Make room. That draw is paid for and lost: start anew, without {workspace}.",
        ) from None
    return value


def _lost(workspace: Path, name: str) -> InputError:
    return InputError(
        f"an earlier run died while it drew {name} from the private records, or drew it in a copy "
        "of this folder",
        f"That draw is paid for and lost. Start anew, without {workspace}.",
    )


def _read(file: Path) -> Any:
    """What :func:`write` wrote of JSON values.

    Raises:
        InputError: If the file is no such thing any more.
    """
    try:
        return json.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        raise _damaged(file) from None


def _damaged(file: Path) -> InputError:
    return InputError(
        f"{file} cannot be read: the checkpoint is damaged",
        "Restore that file, or start anew, without this folder; that is debited anew.",
    )


def write(file: Path, text: str) -> None:
    """Writes a file, for its owner only, that is either whole on disk or not there."""
    beside = _part(file)
    with open(os.open(beside, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "w") as handle:
        handle.write(text)
        handle.flush()
        os.fsync(handle.fileno())
    os.replace(beside, file)
    _sync(file.parent)


def _part(file: Path) -> Path:
    return file.with_name(file.name + ".part")


def _sync(folder: Path) -> None:
    """Puts the names of a folder's files on disk."""
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
