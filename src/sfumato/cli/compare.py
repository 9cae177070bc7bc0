"""``sfumato compare``."""

from __future__ import annotations

from typing import Annotated

import typer

from sfumato.cli import output
from sfumato.cli.output import (
    AsJson,
    Attacks,
    DataArgument,
    Delta,
    Device,
    Engine,
    Holdout,
    RowsPerUnit,
    SchemaFile,
    Spool,
    Target,
    Unit,
)
from sfumato.errors import InputError


def add_to(app: typer.Typer) -> None:
    """Adds the command."""
    app.command("compare")(compare)


def compare(
    data: DataArgument,
    epsilon: Annotated[
        list[str], typer.Option("--epsilon", help="Budgets, such as 0.5,1,4, or repeat it.")
    ],
    out: Annotated[
        str,
        typer.Option(
            "--out",
            help="A private folder; the same command goes on there if it was interrupted.",
            metavar="DIR",
        ),
    ],
    method: Annotated[
        list[str] | None,
        typer.Option(
            "--method",
            help="Methods, such as a,b\\[key=value], or repeat it. Default: all that publish such "
            "data.",
        ),
    ] = None,
    target: Target = None,
    delta: Delta = None,
    schema: SchemaFile = None,
    holdout: Holdout = None,
    engine: Engine = "auto",
    unit: Unit = None,
    rows_per_unit: RowsPerUnit = None,
    spool: Spool = None,
    seeds: Annotated[
        list[str] | None,
        typer.Option("--seeds", help="One run for each, such as 0,1,2, or repeat it. Default: 0."),
    ] = None,
    attack: Attacks = None,
    device: Device = "auto",
    as_json: AsJson = False,
) -> None:
    """Compare methods over budgets on DATA; the comparison stays with you.

    To choose a method by looking at private rows is a leak of its own: compare on public data
    of the same kind where there is any.
    """
    import sfumato.api as api
    from sfumato.api.variants import listed

    with output.progress_bar(quiet=as_json) as progress:
        comparison = api.compare(
            data,
            epsilons=numbers(epsilon, "epsilon"),
            methods=None if method is None else listed(",".join(method)),
            target=target,
            delta=delta,
            schema=schema,
            holdout=holdout,
            engine=engine,
            unit=unit,
            rows_per_unit=rows_per_unit,
            spool=spool,
            seeds=whole_numbers(seeds or ["0"]),
            attacks=attack,
            out=out,
            device=device,
            progress=progress,
        )
    if as_json:
        typer.echo(comparison.to_json(), nl=False)
        return
    runs = "1 run" if len(comparison.rows) == 1 else f"{len(comparison.rows)} runs"
    output.plain(f"Compared {runs}. Keep: {out}/report.html")


def whole_numbers(given: list[str]) -> list[int]:
    """The seeds in lists with commas between."""
    text = ",".join(given)
    try:
        return [int(part) for part in text.split(",")]
    except ValueError:
        raise InputError(
            f"--seeds is {text!r}", "Write whole numbers with commas between."
        ) from None


def numbers(given: list[str], name: str) -> list[float]:
    """The numbers in lists with commas between."""
    text = ",".join(given)
    try:
        return [float(part) for part in text.split(",")]
    except ValueError:
        raise InputError(f"--{name} is {text!r}", "Write numbers with commas between.") from None
