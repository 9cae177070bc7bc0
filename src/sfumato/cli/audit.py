"""``sfumato audit``."""

from __future__ import annotations

from typing import Annotated

import typer

from sfumato.cli import output
from sfumato.cli.output import (
    Architecture,
    AsJson,
    Device,
    Interface,
    Neighbours,
    SchemaFile,
    Seed,
    Settings,
    Spool,
    Target,
    Trust,
)


def add_to(app: typer.Typer) -> None:
    """Adds the command."""
    app.command("audit")(audit)


def audit(
    subject: Annotated[
        str,
        typer.Argument(
            metavar="METHOD|RELEASE|MODEL",
            help="From `sfumato methods`; the folder of a release; or what any software made, as "
            "for `sfumato attack`, with its maker's claim.",
        ),
    ],
    epsilon: Annotated[
        float | None,
        typer.Option(
            "--epsilon", help="The budget of a method; or what the maker of a MODEL claims."
        ),
    ] = None,
    delta: Annotated[
        float | None,
        typer.Option("--delta", help="Its other half. Default: the method's. Of a pure claim: 0."),
    ] = None,
    neighbours: Neighbours = None,
    runs: Annotated[
        int | None,
        typer.Option("--runs", help="Runs on each of two data sets. Default: 1000."),
    ] = None,
    records: Annotated[
        int | None, typer.Option("--records", help="Records in each of them. Default: 40.")
    ] = None,
    canaries: Annotated[
        int | None,
        typer.Option("--canaries", help="Audit by one run with so many canaries instead."),
    ] = None,
    members: Annotated[
        str | None,
        typer.Option("--members", help="Records that a release was made from.", metavar="DATA"),
    ] = None,
    non_members: Annotated[
        str | None,
        typer.Option(
            "--non-members",
            help="Records it was not made from; who was in must have been decided at random.",
            metavar="DATA",
        ),
    ] = None,
    data: Annotated[
        str | None,
        typer.Option(
            "--data",
            help="Data whose schema a method is audited with; their rows are not used.",
            metavar="DATA",
        ),
    ] = None,
    target: Target = None,
    schema: SchemaFile = None,
    interface: Interface = None,
    architecture: Architecture = None,
    trust: Trust = False,
    set_: Settings = None,
    confidence: Annotated[
        float, typer.Option("--confidence", help="Of the bounds together.")
    ] = 0.99,
    adversary: Annotated[
        str,
        typer.Option(
            "--adversary",
            help="Who looks: `release`, at what is released; or `transcript`, at every noisy value "
            "that a method draws, too.",
        ),
    ] = "release",
    folder: Annotated[
        str | None,
        typer.Option(
            "--folder",
            help="For the record, a page and finished runs; the same command goes on there.",
            metavar="DIR",
        ),
    ] = None,
    spool: Spool = None,
    seed: Seed = 0,
    device: Device = "auto",
    as_json: AsJson = False,
) -> None:
    """Bound from below what a METHOD, RELEASE or MODEL leaks, and hold it against its claim.

    A method runs many times on made-up data; nobody's data are read, nothing is spent. What was
    made is audited with rows it was and was not made from. Exit code 5 means that the claim is
    false.
    """
    import sfumato.api as api

    with output.told(quiet=True), output.progress_bar(quiet=as_json) as progress:
        found = api.audit(
            subject,
            epsilon=epsilon,
            delta=delta,
            neighbours=neighbours,
            settings=output.parse_settings(set_),
            data=data,
            schema=schema,
            target=target,
            runs=runs,
            records=records,
            canaries=canaries,
            members=members,
            non_members=non_members,
            interface=output.parse_settings(interface, "--interface"),
            architecture=architecture,
            trust=trust,
            confidence=confidence,
            adversary=adversary,
            folder=folder,
            spool=spool,
            seed=seed,
            device=device,
            progress=progress,
        )
    if as_json:
        output.emit(found.to_dict())
    else:
        _print(found, folder)
    if found.broken:
        raise typer.Exit(output.BROKEN)


def _print(found: object, folder: str | None) -> None:
    from rich.markup import escape
    from rich.table import Table

    from sfumato.api import Audit

    assert isinstance(found, Audit)
    table = Table("", "claimed", "at least")
    table.add_row(
        f"ε at δ = {found.claim.delta:g}", _figure(found.claim.epsilon), _bound(found.epsilon)
    )
    if found.gaussian_epsilon is not None:
        table.add_row("the same, as Gaussian noise leaks", "", _bound(found.gaussian_epsilon))
    table.add_row("µ", _figure(found.claim.mu), _bound(found.mu))
    output.say(table)
    colour = "bold red" if found.broken else "green"
    output.say(f"[{colour}]{'✗' if found.broken else '✓'} {escape(found.summary)}[/]")
    output.plain(found.assumption)
    if folder is not None:
        output.plain(f"Keep: {folder}/report.html")


def _bound(value: float | None) -> str:
    from sfumato.measure.intervals import rounded_down

    return "–" if value is None else rounded_down(value, 3)


def _figure(value: float | None) -> str:
    return "–" if value is None else f"{value:.3f}"
