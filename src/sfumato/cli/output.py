"""What the commands print: people read stderr and tables, machines read ``--json`` on stdout."""

from __future__ import annotations

import json
import logging
import time
import warnings
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Annotated, Any

import typer

if TYPE_CHECKING:
    from rich.progress import Progress as Bars
    from rich.progress import TaskID

    from sfumato.attack.finding import Finding
    from sfumato.publish.method import Progress

BROKEN = 5
"""The exit code where a claim is false."""

SHOW_AFTER = 2.0
"""Seconds after which a progress bar appears."""

AsJson = Annotated[bool, typer.Option("--json", help="Print JSON on standard output.")]
DataArgument = Annotated[
    str,
    typer.Argument(
        metavar="DATA",
        help="A file, a glob, a folder, dataset:NAME, or a table: duckdb:///FILE?table=NAME, "
        "postgres://HOST/DB?table=NAME.",
    ),
]
Target = Annotated[
    str | None, typer.Option("--target", help="The column or label to predict.", metavar="COL")
]
Epsilon = Annotated[float, typer.Option("--epsilon", help="The privacy budget; above 0.")]
Delta = Annotated[
    float | None,
    typer.Option("--delta", help="Below 1/records; by default the method's own."),
]
SchemaFile = Annotated[
    str | None,
    typer.Option("--schema", help="The YAML file of public facts.", metavar="FILE"),
]
Holdout = Annotated[
    str | None,
    typer.Option(
        "--holdout",
        help="A share of the rows, or a file, that the release never sees. Default: the data "
        "set's own test part, or 0.2.",
        metavar="SHARE|FILE",
    ),
]
Unit = Annotated[
    str | None,
    typer.Option(
        "--unit",
        help="The column that says whom a row is of, where a person may have several. The budget "
        "is then the person's; the column is never released.",
        metavar="COL",
    ),
]
RowsPerUnit = Annotated[
    int | None,
    typer.Option(
        "--rows-per-unit",
        help="How many rows of a person are used at most, drawn at random. Default: 1.",
        metavar="K",
    ),
]
Out = Annotated[
    str, typer.Option("--out", help="The release's folder, not there yet.", metavar="DIR")
]
MethodName = Annotated[
    str, typer.Option("--method", help="A name from `sfumato methods`, or auto.")
]
Settings = Annotated[
    list[str] | None,
    typer.Option(
        "--set",
        help="A setting of the method, or preset=NAME; repeat it.",
        metavar="KEY=VALUE",
    ),
]
Interface = Annotated[
    list[str] | None,
    typer.Option(
        "--interface",
        help="How a model takes records and answers: layout, scale, mean, std, outputs, rows; "
        "repeat it.",
        metavar="KEY=VALUE",
    ),
]
Architecture = Annotated[
    str | None,
    typer.Option("--architecture", help="JSON that rebuilds the network of a safetensors file."),
]
Trust = Annotated[
    bool,
    typer.Option(
        "--trust",
        help="Open files that can run code of whoever made them (pickles, torch.export, "
        "TorchScript), and send records to a service over an open line.",
    ),
]
Neighbours = Annotated[
    str | None,
    typer.Option(
        "--neighbours",
        help="What two data sets differ in, of which a maker claims this: add-remove or "
        "replace-one.",
        metavar="RELATION",
    ),
]
Checkpoint = Annotated[
    str | None,
    typer.Option(
        "--checkpoint",
        help="A private folder to go on from if this is interrupted: the same command "
        "continues there and pays nothing anew. For methods that keep one.",
        metavar="DIR",
    ),
]
MaxMinutes = Annotated[
    float | None,
    typer.Option(
        "--max-minutes",
        help="Take only as many training steps (or label as many pictures) as there is time for, "
        "measured beforehand on made-up data. The whole budget is spent all the same. For methods "
        "with this setting.",
    ),
]
LedgerFile = Annotated[
    str | None,
    typer.Option("--ledger", help="The ledger's file; by default the data set's own."),
]
Evaluate = Annotated[
    bool | None,
    typer.Option("--evaluate/--no-evaluate", help="Attack and measure the release."),
]
DiscloseEvaluation = Annotated[
    bool,
    typer.Option(
        "--disclose-evaluation",
        help="Declare the evaluation public and put it in the release. It is computed on "
        "private rows; no guarantee covers it.",
    ),
]
Attacks = Annotated[
    list[str] | None,
    typer.Option(
        "--attack",
        help="An attack, NAME or NAME\\[key=value,...]; repeat it. Default: the quick ones.",
    ),
]
Seed = Annotated[int, typer.Option("--seed", help="Of attacks and models; never of privacy noise.")]
Engine = Annotated[
    str,
    typer.Option(
        "--engine",
        help="Who reads a table's files: auto, duckdb, spark, or Spark with a master "
        "(spark://host:7077, spark:yarn).",
    ),
]
Spool = Annotated[
    str | None,
    typer.Option(
        "--spool",
        help="A folder of this machine for a private copy of the rows that are read, ids included, "
        "while this runs: what --unit and passed-through columns need where rows come in no "
        "lasting order (views, servers, Spark). The copy has no name and goes with the process; "
        "with --checkpoint one is kept there until the run is finished.",
        metavar="DIR",
    ),
]
Device = Annotated[str, typer.Option("--device", help="auto, cpu or cuda.")]


def note(text: str = "") -> None:
    """Prints for people, on standard error, so that standard output stays clean."""
    from rich.console import Console

    Console(stderr=True, highlight=False, soft_wrap=True).print(text)


def say(*what: Any) -> None:
    """Prints text or rich renderables on standard output."""
    from rich.console import Console

    Console(highlight=False, soft_wrap=True).print(*what)


def width() -> int:
    """Letters a line of the window."""
    from rich.console import Console

    return Console().width


def plain(text: str) -> None:
    """Prints text as it is on standard output."""
    typer.echo(text)


def leave_if_broken(findings: Iterable[Finding]) -> None:
    """Ends the command, once all is said, where an attack got further than the guarantee allows.

    Raises:
        Exit: With the code of a false claim.
    """
    if broken := [finding.attack for finding in findings if finding.breaks_guarantee]:
        note(
            f"[bold red]The claim is false, or this evaluation is:[/] {', '.join(broken)} got "
            "further than the guarantee allows. Do not hand the release over before this is "
            "explained."
        )
        raise typer.Exit(BROKEN)


def emit(values: Any) -> None:
    """Prints JSON for machines."""
    typer.echo(json.dumps(values, indent=2, ensure_ascii=False))


def parse_settings(pairs: list[str] | None, option: str = "--set") -> dict[str, Any]:
    """Reads the ``key=value`` pairs of an option; values are YAML scalars, lists or maps.

    Raises:
        InputError: If a pair has no ``=`` or its value cannot be read.
    """
    import yaml

    from sfumato.errors import InputError
    from sfumato.registry import value_of

    settings: dict[str, Any] = {}
    for pair in pairs or []:
        key, found, value = pair.partition("=")
        if not found or not key:
            raise InputError(f"{option} {pair!r} has no '='", f"Write {option} key=value.")
        key = key.strip()
        if key in settings:
            raise InputError(f"{option} gives {key!r} twice", "Give each setting once.")
        try:
            settings[key] = value_of(value)
        except (yaml.YAMLError, ValueError):
            raise InputError(
                f"{option} {pair!r} cannot be read", f"Write {option} key=value."
            ) from None
    return settings


class _Told(logging.Handler):
    """Prints what the library says by its logger."""

    def emit(self, record: logging.LogRecord) -> None:
        from rich.markup import escape

        mark = "[yellow]warning:[/] " if record.levelno >= logging.WARNING else ""
        note(mark + escape(self.format(record)))


@contextmanager
def told(quiet: bool) -> Iterator[None]:
    """Prints what the library tells meanwhile, on standard error; warnings alone if quiet.

    What it warns of is printed as a line, not as a line of code.
    """
    log, handler = logging.getLogger("sfumato"), _Told()
    before, shown = log.level, warnings.showwarning

    def tell(message: Any, category: type[Warning], *where: Any, **more: Any) -> None:
        if issubclass(category, UserWarning):
            log.warning("%s", message)
        else:
            shown(message, category, *where, **more)

    log.setLevel(logging.WARNING if quiet else logging.INFO)
    log.addHandler(handler)
    warnings.showwarning = tell
    try:
        yield
    finally:
        warnings.showwarning = shown
        log.removeHandler(handler)
        log.setLevel(before)


@contextmanager
def progress_bar(quiet: bool) -> Iterator[Progress]:
    """A progress callback that shows a bar with the time left once work takes a while."""
    if quiet:
        yield lambda done, total, label: None
        return
    bar = _LateBar()
    try:
        yield bar
    finally:
        bar.close()


class _LateBar:
    def __init__(self) -> None:
        self.started = time.monotonic()
        self.bars: Bars | None = None
        self.task: TaskID | None = None
        self.label, self.done, self.total = "", 0, 0

    def __call__(self, done: int, total: int, label: str) -> None:
        if self.bars is None:
            if time.monotonic() - self.started < SHOW_AFTER:
                return
            self.bars = self._open()
        same_work = total == self.total and done >= self.done
        if self.task is None or (label != self.label and not same_work):
            if self.task is not None:
                self.bars.remove_task(self.task)
            self.task = self.bars.add_task(label, total=total, completed=done)
        self.label, self.done, self.total = label, done, total
        # A label that changes as the same work goes on keeps the estimate of the time left.
        self.bars.update(self.task, completed=done, total=total, description=label)

    def close(self) -> None:
        if self.bars is not None:
            self.bars.stop()

    @staticmethod
    def _open() -> Bars:
        from rich.console import Console
        from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

        bars = Progress(
            TextColumn("{task.description}"),
            BarColumn(),
            TextColumn("{task.percentage:>3.0f} %"),
            TimeRemainingColumn(),
            console=Console(stderr=True),
            transient=True,
        )
        bars.start()
        return bars
