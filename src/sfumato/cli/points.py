"""``sfumato compare-points``."""

from __future__ import annotations

from typing import Annotated

import typer

from sfumato.cli import output
from sfumato.cli.compare import numbers, whole_numbers
from sfumato.cli.output import (
    AsJson,
    DataArgument,
    Device,
    Engine,
    Holdout,
    SchemaFile,
    Spool,
    Target,
)
from sfumato.errors import InputError


def add_to(app: typer.Typer) -> None:
    """Adds the command."""
    app.command("compare-points")(compare_points)


def compare_points(
    data: DataArgument,
    mu: Annotated[
        list[str],
        typer.Option("--mu", help="Of Gaussian differential privacy: 0.1,0.5,2, or repeat it."),
    ],
    out: Annotated[
        str,
        typer.Option(
            "--out",
            help="A private folder; the same command goes on there if it was interrupted.",
            metavar="DIR",
        ),
    ],
    target: Target = None,
    delta: Annotated[float, typer.Option("--delta", help="Where a mu is read as epsilon.")] = 1e-5,
    network: Annotated[
        str, typer.Option("--network", help="logistic, small-cnn, dense:64:64 and the like.")
    ] = "logistic",
    public: Annotated[
        str | None,
        typer.Option(
            "--public",
            help="Public records for prediction's queries, a path or dataset:NAME/SPLIT.",
            metavar="DATA",
        ),
    ] = None,
    points: Annotated[
        list[str] | None,
        typer.Option(
            "--points",
            help="Some of input,objective,gradient,output,prediction. Default: all of them.",
        ),
    ] = None,
    setting: Annotated[
        list[str] | None,
        typer.Option(
            "--set",
            help="Settings of a point's method: gradient:epochs=5,learning_rate=2; repeat it.",
            metavar="POINT:KEY=VALUE,...",
        ),
    ] = None,
    attack: Annotated[
        str, typer.Option("--attack", help="The membership attack that leakage is measured by.")
    ] = "membership.loss",
    equal: Annotated[
        str,
        typer.Option(
            "--equal",
            help="What all points have alike: mu, or epsilon (that of a Gaussian of that mu).",
            metavar="mu|epsilon",
        ),
    ] = "mu",
    seeds: Annotated[
        list[str] | None,
        typer.Option("--seeds", help="One run for each. Default: 0,1,2,3,4."),
    ] = None,
    schema: SchemaFile = None,
    holdout: Holdout = None,
    engine: Engine = "auto",
    spool: Spool = None,
    device: Device = "auto",
    as_json: AsJson = False,
) -> None:
    """Compare where to put the noise: on inputs, loss, gradients, weights or answers.

    Every point gets the same budget and is judged on the same held-out records of DATA. To choose
    by looking at private records is a leak of its own: compare on public data where there is any.
    """
    import sfumato.api as api
    from sfumato.api.points import POINTS
    from sfumato.api.variants import listed

    with output.progress_bar(quiet=as_json) as progress:
        found = api.compare_points(
            data,
            mus=numbers(mu, "mu"),
            target=target,
            delta=delta,
            network=network,
            public_data=public,
            points=POINTS if points is None else listed(",".join(points)),
            settings=dict(map(_setting, setting or [])),
            attack=attack,
            equal=equal,
            seeds=whole_numbers(seeds or ["0,1,2,3,4"]),
            schema=schema,
            holdout=holdout,
            out=out,
            device=device,
            engine=engine,
            spool=spool,
            progress=progress,
        )
    if as_json:
        typer.echo(found.to_json(), nl=False)
        return
    for point, why in found.refused.items():
        output.plain(f"Not compared: {point}. {why}")
    output.plain(f"Compared {len(found.rows)} runs. Keep: {out}/report.html")


def _setting(text: str) -> tuple[str, str]:
    point, colon, settings = text.partition(":")
    if not colon or "=" not in settings:
        raise InputError(f"--set is {text!r}", "Write POINT:KEY=VALUE, such as input:epochs=5.")
    return point, settings
