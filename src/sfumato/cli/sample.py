"""``sfumato sample`` and ``sfumato export``: more of a release, and other forms of it."""

from __future__ import annotations

from typing import Annotated

import typer

from sfumato.cli import output
from sfumato.cli.output import AsJson, Out


def add_to(app: typer.Typer) -> None:
    """Adds the commands."""
    app.command("sample")(sample)
    app.command("export")(export)


ReleaseFolder = Annotated[str, typer.Argument(metavar="RELEASE", help="The folder of a release.")]


def sample(
    release: ReleaseFolder,
    n: Annotated[int, typer.Option("-n", "--records", help="How many records to draw.")],
    out: Out,
    seed: Annotated[
        int | None,
        typer.Option(help="Of the draw: the same seed gives the same records; drawn by default."),
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Draw new records from the generator of a RELEASE. Free: nothing is spent."""
    import sfumato.api as api

    made = api.sample(release, n, seed=seed, out=out)
    if as_json:
        output.emit({"release": str(made.path), "records": n, "seeds": dict(made.card.seeds)})
        return
    output.plain(f"Drew {n} records; nothing was spent.")
    output.plain(f"Hand over: {made.path}")


def export(
    release: ReleaseFolder,
    to: Annotated[
        str,
        typer.Argument(metavar="TO", help="FILE.csv or FILE.parquet; for images a new folder."),
    ],
) -> None:
    """Write a RELEASE's records as CSV, Parquet, or PNG files with labels.csv."""
    import sfumato.api as api

    output.plain(str(api.export(release, to)))
