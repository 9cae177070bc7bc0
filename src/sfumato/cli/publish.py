"""``sfumato publish``."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import typer

from sfumato.cli import output
from sfumato.cli.output import (
    AsJson,
    Attacks,
    Checkpoint,
    DataArgument,
    Delta,
    Device,
    DiscloseEvaluation,
    Engine,
    Epsilon,
    Evaluate,
    Holdout,
    LedgerFile,
    MaxMinutes,
    MethodName,
    Out,
    RowsPerUnit,
    SchemaFile,
    Seed,
    Settings,
    Spool,
    Target,
    Unit,
)

if TYPE_CHECKING:
    from sfumato.release.release import Release


def add_to(app: typer.Typer) -> None:
    """Adds the command."""
    app.command("publish")(publish)


def publish(
    data: DataArgument,
    epsilon: Epsilon,
    out: Out,
    target: Target = None,
    delta: Delta = None,
    schema: SchemaFile = None,
    method: MethodName = "auto",
    set_: Settings = None,
    holdout: Holdout = None,
    unit: Unit = None,
    rows_per_unit: RowsPerUnit = None,
    ledger: LedgerFile = None,
    checkpoint: Checkpoint = None,
    max_minutes: MaxMinutes = None,
    evaluate: Evaluate = None,
    attack: Attacks = None,
    disclose_evaluation: DiscloseEvaluation = False,
    seed: Seed = 0,
    device: Device = "auto",
    engine: Engine = "auto",
    spool: Spool = None,
    as_json: AsJson = False,
) -> None:
    """Publish private DATA for one task, prove what it can leak, and attack it.

    DIR may be handed over whole. The evaluation, computed on private rows, is written beside
    it in DIR.evaluation and stays with you.
    """
    release("publish", **locals())


def release(
    call: str,
    *,
    set_: list[str] | None,
    attack: list[str] | None,
    max_minutes: float | None,
    as_json: bool,
    **options: Any,
) -> None:
    """Calls ``sfumato.api`` by the name of a command, with its options, and shows the release."""
    import sfumato.api as api

    settings = output.parse_settings(set_)
    if max_minutes is not None:
        settings["max_minutes"] = max_minutes
    with output.told(quiet=as_json), output.progress_bar(quiet=as_json) as progress:
        made = getattr(api, call)(settings=settings, attacks=attack, progress=progress, **options)
    show(made, as_json=as_json)
    if made.evaluation is not None:  # written and paid for, and not to be handed over
        output.leave_if_broken(made.evaluation.findings)


def show(release: Release, *, as_json: bool) -> None:
    """Prints what was published, for people or machines."""
    if as_json:
        output.emit(_as_values(release))
    else:
        _print(release)


def _as_values(release: Release) -> dict[str, Any]:
    from sfumato.api.evaluations import evaluation_path

    assert release.path is not None
    values: dict[str, Any] = {
        "release": str(release.path),
        "report": str(release.path / "report.html"),
        "card": release.card.to_dict(),
    }
    if release.evaluation is not None:
        folder = evaluation_path(release.path)
        values["evaluation"] = str(folder)
        values["evaluation_report"] = str(folder / "report.html")
        values["findings"] = [finding.to_dict() for finding in release.evaluation.findings]
        values["left_out"] = dict(release.evaluation.left_out)
    return values


def _print(release: Release) -> None:
    from rich.markup import escape

    from sfumato.api.evaluations import evaluation_path

    assert release.path is not None
    output.say(f"[bold]{escape(release.card.method['name'])}[/] · {release.card.proven.describe()}")
    for caveat in release.card.caveats:
        output.say(f"  [yellow]note[/] {escape(caveat)}")
    if release.evaluation is not None:
        for finding in release.evaluation.findings:
            mark = "[red]✗[/]" if finding.better_than_chance else "[green]✓[/]"
            if finding.undecided:
                mark = "[yellow]?[/]"
            output.say(f"  {mark} {escape(finding.summary)}")
        for name, why in release.evaluation.left_out.items():
            output.say(f"  [yellow]–[/] {escape(name)} was left out: {escape(why)}")
        if release.evaluation.utility is not None:
            output.say(f"  {escape(release.evaluation.utility.summary)}")
    sequence = release.card.ledger["sequence"]
    output.say(f"  ledger entry {sequence} · {release.card.ledger['entry'][:16]}")
    output.say(f"Hand over: {release.path}")
    if release.evaluation is not None:
        output.say(f"Keep:      {evaluation_path(release.path) / 'report.html'}")
