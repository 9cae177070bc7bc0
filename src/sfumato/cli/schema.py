"""``sfumato schema``."""

from __future__ import annotations

from typing import Annotated

import typer

from sfumato.cli import output
from sfumato.cli.output import AsJson, DataArgument, Engine, Spool, Target, Unit
from sfumato.errors import InputError

app = typer.Typer(help="Draft and check the public facts of a table.", no_args_is_help=True)


@app.command("draft")
def draft(
    file: Annotated[
        str,
        typer.Argument(
            metavar="FILE", help="A CSV or Parquet file, or a table: duckdb:///FILE?table=NAME."
        ),
    ],
    out: Annotated[
        str | None, typer.Option("--out", help="Where to write; by default standard output.")
    ] = None,
    epsilon: Annotated[
        float | None,
        typer.Option(help="Estimate bounds and levels privately with this budget."),
    ] = None,
    delta: Annotated[float, typer.Option(help="For levels that only one person may have.")] = 1e-6,
    ledger: Annotated[
        str | None, typer.Option(help="Takes the debit; by default the file's own ledger.")
    ] = None,
    target: Target = None,
    type_: Annotated[
        list[str] | None,
        typer.Option("--type", help="A declared type: COLUMN=integer, number, categorical, bool."),
    ] = None,
    unit: Unit = None,
    drop: Annotated[
        list[str] | None, typer.Option("--drop", help="A column to leave out; repeat it.")
    ] = None,
    encoding: Annotated[str, typer.Option(help="Of CSV files.")] = "utf-8",
    delimiter: Annotated[str, typer.Option(help="Of CSV files.")] = ",",
    engine: Engine = "auto",
    spool: Spool = None,
    released: Annotated[
        bool,
        typer.Option(
            "--released",
            help="FILE is public already, released by anyone: read types, bounds and levels off "
            "its values, to attack it with. Never for private rows.",
        ),
    ] = False,
) -> None:
    """Propose a schema for FILE from its header and declared types, never from its values.

    Bounds and levels are left as '?' for you to fill in from what is publicly known, unless
    --epsilon pays for a private estimate, or FILE was --released.
    """
    from sfumato.api.inputs import file_ledger
    from sfumato.data.draft import draft as make
    from sfumato.data.read_off import read_off
    from sfumato.release.release import check_new

    path = None if out is None else check_new(out)
    paid = None
    if released:
        if epsilon is not None or unit is not None or ledger is not None:
            raise InputError(
                "epsilon, ledger and unit are for private rows, and these are released",
                "Leave them out.",
            )
        found = read_off(
            file,
            types=_types(type_),
            drop=drop or (),
            target=target,
            encoding=encoding,
            delimiter=delimiter,
        )
        if path is None:
            typer.echo(found.to_yaml(), nl=False)
            return
        found.save(path)
        output.plain(f"wrote {path}, read off {file}: look it over before you use it")
        return
    if epsilon is not None:
        paid = file_ledger(ledger, file)
    drafted = make(
        file,
        epsilon=epsilon,
        delta=delta if epsilon is not None else None,
        ledger=paid,
        types=_types(type_),
        drop=drop or (),
        target=target,
        unit=unit,
        encoding=encoding,
        delimiter=delimiter,
        engine=engine,
        spool=spool,
    )
    if path is None:
        typer.echo(drafted.to_yaml(), nl=False)
        return
    drafted.save(path)
    what = f"{len(drafted.open_facts)} facts are left to fill in" if drafted.open_facts else "whole"
    output.plain(f"wrote {path}: {what}. Then: sfumato schema check {file} --schema {path}")


@app.command("check")
def check(
    data: DataArgument,
    schema: Annotated[
        str | None, typer.Option("--schema", help="The YAML file of public facts.")
    ] = None,
    target: Target = None,
    engine: Engine = "auto",
    as_json: AsJson = False,
) -> None:
    """Check every value of DATA against its schema; nothing is spent."""
    from sfumato.api.inputs import load, validate
    from sfumato.data import addresses

    loaded = load(data, target=target, schema=schema, engine=engine)
    validate(loaded)
    if as_json:
        output.emit({"fits": True, "records": len(loaded), "target": target or _target(loaded)})
        return
    output.plain(f"{addresses.plain(data)} fits its schema: {len(loaded):,} records")


def _types(pairs: list[str] | None) -> dict[str, str]:
    types = {}
    for pair in pairs or []:
        column, found, kind = pair.rpartition("=")
        if not found:
            raise InputError(f"--type {pair!r} has no '='", "Write --type COLUMN=TYPE.")
        types[column] = kind
    return types


def _target(loaded: object) -> str:
    return getattr(getattr(loaded, "schema", None), "target", None) or "label"
