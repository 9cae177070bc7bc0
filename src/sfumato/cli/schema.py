"""``sfumato schema``."""

from __future__ import annotations

from typing import Annotated

import typer

from sfumato.cli import output
from sfumato.cli.output import AsJson, DataArgument, Target

app = typer.Typer(help="Draft and check the public facts of a table.", no_args_is_help=True)


@app.command("draft")
def draft(
    file: Annotated[str, typer.Argument(metavar="FILE", help="A CSV or Parquet file.")],
    out: Annotated[
        str | None, typer.Option("--out", help="Where to write; by default standard output.")
    ] = None,
    epsilon: Annotated[
        float | None,
        typer.Option(help="Estimate bounds and levels privately with this budget."),
    ] = None,
    delta: Annotated[
        float, typer.Option(help="For levels that only one person may have.")
    ] = 1e-6,
    ledger: Annotated[
        str | None, typer.Option(help="Takes the debit; by default the file's own ledger.")
    ] = None,
    target: Target = None,
) -> None:
    """Propose a schema for FILE from its header and declared types, never from its values.

    Bounds and levels are left as '?' for you to fill in from what is publicly known, unless
    --epsilon pays for a private estimate.
    """
    import sfumato.api as api

    text = api.draft_schema(file, epsilon=epsilon, delta=delta, ledger=ledger, target=target)
    if out is None:
        typer.echo(text, nl=False)
        return
    from pathlib import Path

    from sfumato.release.release import check_new

    path: Path = check_new(out)
    path.write_text(text, encoding="utf-8")
    output.plain(f"wrote {path}; fill in every '?', then run: sfumato schema check {file} --schema {path}")


@app.command("check")
def check(
    data: DataArgument,
    schema: Annotated[
        str | None, typer.Option("--schema", help="The YAML file of public facts.")
    ] = None,
    target: Target = None,
    as_json: AsJson = False,
) -> None:
    """Check every value of DATA against its schema; nothing is spent."""
    from sfumato.api.inputs import load

    loaded = load(data, target=target, schema=schema)
    loaded.validate(loaded.schema)
    if as_json:
        output.emit({"fits": True, "records": len(loaded), "target": target or _target(loaded)})
        return
    output.plain(f"{data} fits its schema: {len(loaded):,} records")


def _target(loaded: object) -> str:
    return getattr(getattr(loaded, "schema", None), "target", None) or "label"
