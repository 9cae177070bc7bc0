"""``sfumato select``: one of several ways to publish pictures, picked by generator feedback."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Annotated, Any

import typer

from sfumato.cli import output
from sfumato.cli.output import (
    AsJson,
    DataArgument,
    Delta,
    Device,
    Epsilon,
    LedgerFile,
    Out,
    SchemaFile,
)
from sfumato.cli.publish import show


def add_to(app: typer.Typer) -> None:
    """Adds the command."""
    app.command("select")(select)


def select(
    data: DataArgument,
    epsilon: Epsilon,
    candidate: Annotated[
        list[str],
        typer.Option(
            "--candidate",
            help="NAME or NAME\\[key=value,...]; several, from the least to the most wanted.",
        ),
    ],
    limit: Annotated[
        float,
        typer.Option(help="How much nearer members may be to generated pictures, in (0, 1]."),
    ],
    out: Out,
    delta: Delta = None,
    trials: Annotated[
        float, typer.Option(help="Expected number of trials; how many there are is secret.")
    ] = 5.0,
    held_out: Annotated[
        float, typer.Option(help="Share of the records that each trial sets aside.")
    ] = 0.1,
    schema: SchemaFile = None,
    ledger: LedgerFile = None,
    device: Device = "auto",
    as_json: AsJson = False,
) -> None:
    """Publish pictures by the most wanted candidate that passes generator feedback.

    All trials are paid for together, so each has a part of EPSILON; how many times that all of them
    cost is printed. Where none passes, nothing is written, and the budget is spent all the same.
    How many were run is secret: hand a copy over, at a time fixed beforehand. Try settings on
    public data first: that is free.
    """
    import sfumato.api as api

    with output.progress_bar(quiet=as_json) as progress:
        made = api.select(
            data,
            candidate,
            epsilon=epsilon,
            limit=limit,
            delta=delta,
            trials=trials,
            held_out=held_out,
            schema=schema,
            ledger=ledger,
            out=out,
            device=device,
            progress=progress,
        )
    show(made, as_json=as_json)
    if not as_json:
        output.say(_cost(made.card.plan["selected"]))


def _cost(selected: Mapping[str, Any]) -> str:
    """What the whole selection costs in trials, from its plan."""
    listed, number = selected["times_a_trial_in_a_list"], math.ceil(selected["expected_trials"])
    beside = (
        "" if listed is None else f"; {number} in a plain list would cost {listed:.2f} times one"
    )
    return f"All trials together cost {selected['times_a_trial']:.2f} times one{beside}."
