"""The command tree and what every command shares: errors, exit codes, the version."""

from __future__ import annotations

import json
import os
import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Annotated

import typer

from sfumato.cli import (
    audit,
    compare,
    data,
    doctor,
    judge,
    ledger,
    methods,
    points,
    publish,
    sample,
    schema,
    select,
    train,
)
from sfumato.cli.output import note
from sfumato.errors import SfumatoError

_INTERRUPTED = 130

app = typer.Typer(
    name="sfumato",
    help=(
        "Publish what a task needs, not the people it came from.\n\n"
        "DATA is a file, a glob, a folder, dataset:NAME (see `sfumato data list`), or a table of a "
        "database: duckdb:///FILE?table=NAME.\n\n"
        "Exit codes: 0 done · 1 a fault of sfumato · 2 bad input, nothing spent · "
        "3 refused by the ledger's ceiling, nothing spent · 4 a damaged ledger · "
        "5 an audit or an attack found a claim false (what was published is written, and paid for) "
        "· 6 a selection found nothing to release, and spent its budget · 7 a release that is "
        "paid for could not be made or written · 130 interrupted."
    ),
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)


def _version(asked: bool) -> None:
    if asked:
        from sfumato import __version__

        typer.echo(f"sfumato {__version__}")
        raise typer.Exit


@app.callback()
def _root(
    version: Annotated[
        bool,
        typer.Option("--version", callback=_version, is_eager=True, help="Print the version."),
    ] = False,
) -> None:
    """Publish what a task needs, not the people it came from."""


publish.add_to(app)
train.add_to(app)
select.add_to(app)
sample.add_to(app)
judge.add_to(app)
audit.add_to(app)
compare.add_to(app)
points.add_to(app)
app.add_typer(schema.app, name="schema")
app.add_typer(ledger.app, name="ledger")
methods.add_to(app)
app.add_typer(data.app, name="data")
doctor.add_to(app)


@contextmanager
def _ended_like_interrupted() -> Iterator[None]:
    """Makes an interruption of a request to end, so that what is half written is tidied up."""
    started = os.getpid()

    def end(number: int, frame: object) -> None:
        if os.getpid() != started:  # a worker that was forked
            os._exit(128 + number)
        raise KeyboardInterrupt

    try:
        before = signal.signal(signal.SIGTERM, end)
    except ValueError:  # not in the main thread
        yield
        return
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


def run() -> None:
    """Runs the command line; every error a user can cause is one line and an exit code.

    A request to end (SIGTERM, of a queue, a container, a service) is an interruption like Ctrl-C.
    """
    try:
        with _ended_like_interrupted():
            app()
    except SfumatoError as error:
        if "--json" in sys.argv:
            print(json.dumps({"error": str(error), "exit_code": error.exit_code}))
        else:
            note(f"[bold red]error:[/] {_escape(str(error))}")
        sys.exit(error.exit_code)
    except (KeyboardInterrupt, SystemExit) as stop:
        # The parser catches the interruption of a command and leaves with its exit code.
        if isinstance(stop, SystemExit) and stop.code != _INTERRUPTED:
            raise
        more = "; the same command goes on from its checkpoint and pays nothing anew"
        note(f"interrupted; what the ledger recorded stays recorded{more if _goes_on() else ''}")
        sys.exit(_INTERRUPTED)
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(1)


def _goes_on() -> bool:
    """Whether there is a run in the folder of ``--checkpoint``; a finished one is deleted."""
    from pathlib import Path

    from sfumato.publish.workspace import begun

    given = zip(sys.argv, [*sys.argv[1:], ""], strict=True)
    for (name, _, value), following in ((a.partition("="), b) for a, b in given):
        if name == "--checkpoint":
            return begun(Path(value or following).expanduser())
    return False


def _escape(text: str) -> str:
    from rich.markup import escape

    return escape(text)
