"""``sfumato data``."""

from __future__ import annotations

from dataclasses import asdict
from typing import Annotated

import typer

from sfumato.cli import output
from sfumato.cli.output import AsJson

app = typer.Typer(help="The named data sets.", no_args_is_help=True)


@app.command("list")
def list_(as_json: AsJson = False) -> None:
    """List the named data sets and whether they are on this machine."""
    from sfumato.data import datasets

    known = datasets.available()
    if as_json:
        output.emit(
            [{**asdict(info), "here": datasets.find(info.name) is not None} for info in known]
        )
        return
    from rich.table import Table

    table = Table("data set", "kind", "shape", "target", "here")
    for info in known:
        table.add_row(
            f"dataset:{info.name}",
            info.kind,
            info.shape,
            info.target,
            "yes" if datasets.find(info.name) else "no",
        )
    output.say(table)


@app.command("fetch")
def fetch(name: Annotated[str, typer.Argument(help="A name from `sfumato data list`.")]) -> None:
    """Fetch a named data set from its public source and check it."""
    from sfumato.data import datasets

    output.plain(f"{name} is in {datasets.fetch(name)}")
