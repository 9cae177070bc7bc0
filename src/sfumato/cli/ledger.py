"""``sfumato ledger``."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from sfumato.cli import output
from sfumato.cli.output import AsJson
from sfumato.errors import InputError, LedgerError

if TYPE_CHECKING:
    from sfumato.privacy.ledger import Ledger

app = typer.Typer(help="What was spent on a data set, and what is left.", no_args_is_help=True)
_WIDE = 110
"""Letters a line from which a release's id has room."""
LedgerFile = Annotated[
    str, typer.Argument(metavar="LEDGER", help="A ledger's file, or the name of its data set.")
]


@app.command("show")
def show(ledger: LedgerFile, as_json: AsJson = False) -> None:
    """Show every debit, the totals, and what is left under the ceiling."""
    opened = _open(ledger)
    if as_json:
        output.emit(opened.export())
        return
    from rich.box import SIMPLE_HEAD
    from rich.table import Column, Table

    # What people look for is never cut; a release's id takes room that narrow windows lack.
    wide = output.width() >= _WIDE
    columns = (Column("#", no_wrap=True), Column("time (UTC)", no_wrap=True), "what")
    more = ("release",) if wide else ()
    table = Table(*columns, Column("method", no_wrap=True), *more, "guarantee", box=SIMPLE_HEAD)
    for entry in opened.entries():
        table.add_row(
            str(entry.sequence),
            entry.time[:16].replace("T", " "),
            entry.label or entry.kind,
            entry.method or "–",
            *([(entry.release_id or "–")[:12]] if wide else []),
            entry.describe(),
        )
    output.say(table)
    for total in opened.total():
        output.plain(f"total: {total.describe()}")
    ceiling, left = opened.ceiling, opened.remaining()
    if ceiling is None:
        output.plain("no ceiling: `sfumato ledger ceiling` sets one")
    else:
        output.plain(f"ceiling {ceiling}; left: {left if left is not None else 'nothing'}")


@app.command("verify")
def verify(
    ledger: LedgerFile,
    release: Annotated[
        list[str] | None,
        typer.Option(
            "--release", help="A release whose entry must be there; repeat it.", metavar="DIR"
        ),
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Check the hash chain and the file; exit code 4 if anything was altered.

    A ledger that was written anew as a whole is a chain, too: what was noted elsewhere, as on the
    card of each release, must be in it (--release).
    """
    from sfumato.release.release import Release

    opened = _open(ledger)
    noted = {folder: Release.load(folder).card.ledger.get("entry") for folder in release or []}
    for folder, entry in noted.items():
        if entry is None:
            raise InputError(f"the card of {folder} names no ledger entry", "Leave it out.")
    problems = opened.verify(entry for entry in noted.values() if entry is not None)
    if as_json:
        output.emit({"whole": not problems, "problems": problems})
    if problems:
        raise LedgerError("; ".join(problems), "Restore the ledger from a backup.")
    if not as_json:
        output.plain(f"whole: {len(opened.entries())} entries, head {opened.head}")


@app.command("export")
def export(
    ledger: LedgerFile,
    out: Annotated[str | None, typer.Option("--out", help="A file; default: print.")] = None,
) -> None:
    """Write the ledger as JSON, for an auditor."""
    from sfumato.release.release import check_new, check_private

    if out is not None:
        check_private(out)
    values = _open(ledger).export()
    if out is None:
        output.emit(values)
        return
    import json

    check_new(out).write_text(json.dumps(values, indent=2, ensure_ascii=False) + "\n", "utf-8")
    output.plain(f"wrote {out}")


@app.command("ceiling")
def ceiling(
    ledger: LedgerFile,
    epsilon: Annotated[float, typer.Option(help="All releases together stay below this.")],
    delta: Annotated[float, typer.Option(help="Where that epsilon is read off.")] = 1e-6,
) -> None:
    """Set the ceiling above which every release is refused; the change is recorded."""
    from sfumato.privacy.budget import Budget

    opened = _open(ledger, create=True)
    opened.set_ceiling(Budget(epsilon, delta))
    output.plain(f"ceiling {opened.ceiling}; left: {opened.remaining() or 'nothing'}")


def _open(ledger: str, *, create: bool = False) -> Ledger:
    from pathlib import Path

    from sfumato.privacy.ledger import Ledger
    from sfumato.release.release import check_private

    path = Path(ledger)
    if create and not path.exists():
        check_private(path)
    if not path.exists() and path.suffix == "" and "/" not in ledger:
        path = Ledger.default_path(ledger.removeprefix("dataset:"))
    return Ledger.open(path, create=create)
