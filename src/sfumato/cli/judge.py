"""``sfumato attack`` and ``sfumato measure``."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from sfumato.cli import output
from sfumato.cli.output import (
    Architecture,
    AsJson,
    Attacks,
    Interface,
    Neighbours,
    Seed,
    Spool,
    Trust,
)

if TYPE_CHECKING:
    from sfumato.attack.finding import Finding

ReleaseFolder = Annotated[str, typer.Argument(metavar="RELEASE", help="The folder of a release.")]


def add_to(app: typer.Typer) -> None:
    """Adds the commands."""
    app.command("attack")(attack)
    app.command("measure")(measure)


def attack(
    target: Annotated[
        str,
        typer.Argument(
            metavar="TARGET",
            help="A release, or what any software made: rows (CSV, Parquet), a folder of pictures, "
            "an npz, a model (safetensors, skops; TorchScript with --trust), or a service (https://...).",
        ),
    ],
    members: Annotated[
        str, typer.Option("--members", help="Rows it was made from.", metavar="DATA")
    ],
    non_members: Annotated[
        str,
        typer.Option("--non-members", help="Rows it was not made from.", metavar="DATA"),
    ],
    auxiliary: Annotated[
        str | None,
        typer.Option(
            "--auxiliary", help="More such rows, that the attacker holds.", metavar="DATA"
        ),
    ] = None,
    attack: Attacks = None,
    confidence: Annotated[
        float, typer.Option("--confidence", help="Of all intervals together.")
    ] = 0.99,
    schema: Annotated[
        str | None,
        typer.Option(
            "--schema",
            help="Public facts of what others made. Default: those beside it, or the members'. Of "
            "a release: how the rows' files are written.",
            metavar="FILE",
        ),
    ] = None,
    column: Annotated[
        str | None,
        typer.Option("--target", help="The column that a model predicts.", metavar="COL"),
    ] = None,
    interface: Interface = None,
    architecture: Architecture = None,
    trust: Trust = False,
    epsilon: Annotated[
        float | None,
        typer.Option(
            "--epsilon",
            help="What the maker of what others made claims; with --delta and --neighbours.",
        ),
    ] = None,
    delta: Annotated[
        float | None, typer.Option("--delta", help="Of that claim; 0 of a pure one.")
    ] = None,
    neighbours: Neighbours = None,
    out: Annotated[
        str | None,
        typer.Option(
            "--out", help="Write a report here, for you alone; not there yet.", metavar="DIR"
        ),
    ] = None,
    reveal: Annotated[
        bool,
        typer.Option(
            "--reveal",
            help="Show, in the report, the private pictures that released ones are nearest to, and "
            "keep those that attacks were told to reveal.",
        ),
    ] = False,
    risk: Annotated[
        str | None,
        typer.Option(
            "--risk",
            help="Write which members are exposed most, for you alone; its name says 'private'.",
            metavar="FILE",
        ),
    ] = None,
    spool: Spool = None,
    seed: Seed = 0,
    as_json: AsJson = False,
) -> None:
    """Attack a TARGET, whoever made it, with rows it was and was not made from.

    Exit code 5 means that an attack got further than the guarantee of the TARGET allows.
    """
    import sfumato.api as api
    from sfumato.attack.finding import REVEALED
    from sfumato.errors import InputError
    from sfumato.release.release import check_new, check_private

    if reveal and out is None:
        raise InputError("private pictures are shown in a report only", "Give --out DIR.")
    if out is not None:
        check_private(out)
        check_new(out)
    prepared = api.prepare(
        target,
        members=members,
        non_members=non_members,
        auxiliary=auxiliary,
        schema=schema,
        target=column,
        interface=output.parse_settings(interface, "--interface"),
        architecture=architecture,
        trust=trust,
        epsilon=epsilon,
        delta=delta,
        neighbours=neighbours,
        spool=spool,
    )
    if reveal:
        prepared.check_reveal(attack)
    if risk is not None:
        prepared.check_risk(risk)
    with output.progress_bar(quiet=as_json) as progress:
        findings = prepared.attack(
            attacks=attack, confidence=confidence, seed=seed, progress=progress
        )
    if out is not None:
        prepared.report(findings, out, reveal=reveal)
    if as_json:
        if risk is not None:
            prepared.risk(findings, risk)
        shown_all = findings if reveal else [finding.hidden() for finding in findings]
        output.emit([finding.to_dict() for finding in shown_all])
        output.leave_if_broken(findings)
        return
    from rich.box import SIMPLE_HEAD
    from rich.table import Column, Table

    from sfumato.attack import ceilings
    from sfumato.report.wording import level

    # Names are what people copy: they are never cut, however narrow the window.
    table = Table(
        *(Column("attack", no_wrap=True), "value", "interval", "without access", "ceiling"),
        box=SIMPLE_HEAD,
    )
    for finding in findings:
        table.add_row(
            finding.attack,
            f"{finding.value:.3f}",
            f"{finding.interval[0]:.3f} to {finding.interval[1]:.3f} ({level(finding.confidence)})",
            f"{_figure(finding.baseline)}{_beaten(finding)}, chance {_figure(finding.chance)}",
            "–" if finding.ceiling is None else f"{ceilings.rounded_up(finding.ceiling):.3f}",
        )
    output.say(table)
    if not prepared.release.card.ledger:
        output.plain(str(prepared.release.card.figures["statement"]))
    for finding in findings:
        output.plain(finding.summary)
    if out is not None:
        asked = any(REVEALED in finding.details for finding in findings)
        shown = ", private pictures included" if reveal else ""
        if asked and not reveal:
            shown = "; the pictures that attacks found are left out (--reveal keeps them)"
        output.note(f"wrote {out}: for you alone{shown}")
    if risk is not None:  # after the findings, which may have taken hours: it may be refused yet
        prepared.risk(findings, risk)
        output.note(f"wrote {risk}: who is exposed most, for you alone")
    output.leave_if_broken(findings)


def measure(
    release: ReleaseFolder,
    train: Annotated[str, typer.Option("--train", help="Real rows to train on.", metavar="DATA")],
    test: Annotated[str, typer.Option("--test", help="Real rows to test on.", metavar="DATA")],
    schema: Annotated[
        str | None,
        typer.Option(
            "--schema",
            help="How the rows' files are written: the schema that the release was made with. "
            "Default: the one beside each file, or the release's own.",
            metavar="FILE",
        ),
    ] = None,
    spool: Spool = None,
    seed: Seed = 0,
    as_json: AsJson = False,
) -> None:
    """Measure how useful a RELEASE is: train on it, test on real rows."""
    import sfumato.api as api

    with output.progress_bar(quiet=as_json) as progress:
        evaluation = api.measure(
            release,
            train=train,
            test=test,
            seed=seed,
            schema=schema,
            spool=spool,
            progress=progress,
        )
    values = evaluation.to_dict()
    if as_json:
        output.emit({"utility": values["utility"], "marginals": values["marginals"]})
        return
    utility, marginals = evaluation.utility, evaluation.marginals
    if utility is not None:
        from rich.table import Table

        settings = ("p1", "p2", "p3", "p4")
        table = Table("model", "metric", *settings)
        for model in utility.models:
            for metric in utility.metrics:
                cells = [_figure(utility.score(model, s, metric).value) for s in settings]
                table.add_row(model, metric, *cells)
        output.say(table)
        output.plain(utility.summary)
    if marginals is not None:
        two_way = _figure(marginals.two_way_mean)
        output.plain(
            f"Total variation from the real data: one-way mean {marginals.one_way_mean:.3f}, "
            f"largest {marginals.one_way_max:.3f}; two-way mean {two_way}."
        )


def _beaten(finding: Finding) -> str:
    """By how much the attack did better than without access, where that is an estimate."""
    if finding.margin is None:
        return ""
    low, high = finding.margin.interval
    return f" (beaten by {low:.3f} to {high:.3f})"


def _figure(value: float | None) -> str:
    return "–" if value is None else f"{value:.3f}"
