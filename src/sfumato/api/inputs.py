"""From what a caller names to checked private data with its public facts."""

from __future__ import annotations

import hashlib
import warnings
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sfumato.api.naming import is_same, ledger_name, short_name, spellings, whole_name
from sfumato.errors import InputError

if TYPE_CHECKING:
    import pandas as pd

    from sfumato.data import ImageSchema, ImageSet, Schema, Table
    from sfumato.privacy.ledger import Ledger

    Data = Table | ImageSet
    DataLike = str | Path | Table | ImageSet | pd.DataFrame
    SchemaLike = str | Path | Schema | ImageSchema

HELD_OUT = 0.2
"""Share of the rows kept from the release, so that attacks and utility have rows it never saw."""


@dataclass(frozen=True)
class Inputs:
    """Private data, split in what is published from and what is kept to judge it.

    Args:
        members: What the release is made from.
        held_out: Rows that the release never sees; None if the caller wants none.
        facts: The public facts.
        name: A name for ledgers and reports; never a value of the data.
        in_memory: Whether the data came as an object, not by a name that can be found again.
        by_coins: Whether secret coins parted the two; see :class:`sfumato.attack.Evidence`.
    """

    members: Data
    held_out: Data | None
    facts: Schema | ImageSchema
    name: str
    in_memory: bool = False
    by_coins: bool = False


def resolve(
    data: DataLike,
    *,
    target: str | None,
    schema: SchemaLike | None,
    holdout: float | str | Path | None,
    seed: int | bytes,
    engine: str = "auto",
    unit: str | None = None,
    rows_per_unit: int | None = None,
    key: bytes | None = None,
    spool: str | Path | None = None,
    kept: Path | None = None,
) -> Inputs:
    """Loads and checks what was named; reads private rows, keeps nothing of them.

    Args:
        data: A path, ``dataset:NAME``, a ``Table``, an ``ImageSet`` or a data frame.
        target: The column to predict; None takes the schema's.
        schema: The public facts; bundled data sets bring their own.
        holdout: A share of the rows, another file, 0 for none; None takes the data set's own
            test part, or a fifth of the rows.
        seed: Of the split. A secret key for what is released: with an exact share, or a seed that
            others know, one record more could send others to the other side.
        engine: Who reads a table's files; see :meth:`sfumato.data.Table.open`.
        unit: Column of whom a row is of; None takes the schema's.
        rows_per_unit: How many rows of a person are used at most; None takes the schema's.
        key: Secret, of which rows of each person are used; None draws one.
        spool: Where rows in no lasting order are copied to; see :meth:`sfumato.data.Table.open`.
        kept: The copy that an interrupted run kept, which is read in place of ``data``.

    Where there is a unit, persons are parted, not rows, and both parts are bounded.

    Raises:
        InputError: If anything named is missing, contradicts the schema or cannot be read, or a
            person is on both sides.
    """
    whole = load(
        data,
        target=target,
        schema=schema,
        engine=engine,
        unit=unit,
        rows_per_unit=rows_per_unit,
        spool=kept or spool,
    )
    validate(whole)
    # A number of records is public only where the method's relation says so; see `plan`.
    facts = whole.schema.with_records(None)
    in_memory = not isinstance(data, str | Path)
    name = "in-memory data" if in_memory else short_name(str(data))
    share, other = holdout_of(data, holdout)
    if other is not None:
        if is_same(data, other):
            raise InputError(
                f"the rows to hold out, {other}, are the data themselves",
                "Name rows that the data do not have, or give a share, such as 0.2.",
            )
        held_out = load(
            other,
            target=target,
            schema=schema or facts,
            engine=engine,
            unit=unit,
            rows_per_unit=rows_per_unit,
            spool=spool,
        )
        validate(held_out)
        check_apart(whole, held_out)
        return _bounded(Inputs(whole, held_out, facts, name, in_memory), key)
    if share == 0:
        return _bounded(Inputs(whole, None, facts, name, in_memory), key)
    members, rest = whole.split(share, seed)
    coins = isinstance(seed, bytes) and _one_by_one(whole)
    return _bounded(Inputs(members, rest, facts, name, in_memory, coins), key)


def _one_by_one(data: Data) -> bool:
    """Whether a split looks at each record, or person, by itself.

    Rows without a place are parted by their values, so that equal ones share a side.
    """
    from sfumato.data import Table

    return not isinstance(data, Table) or data.ordered or data.schema.unit is not None


def how_parted(data: DataLike, holdout: float | str | Path | None) -> dict[str, str]:
    """What is held out, by the name of its option: a share, or a place."""
    share, other = holdout_of(data, holdout)
    return {"holdout": f"{share:g}" if other is None else whole_name(str(other))}


def coins_of(key: bytes) -> bytes:
    """The key of the coins by which records are held out, from a run's secret key.

    Who knew it and the records' order would know which of them a release was made from, and one
    record more in the middle would be seen by all those behind it that changed sides.
    """
    return hashlib.sha256(b"coins" + key).digest()


def check_outside(data: DataLike, *written: Path) -> None:
    """Refuses to write among private images: what lies in their folder is taken for theirs.

    A release there would be in the way of the next one, and a checkpoint in the way of its own run.

    Args:
        data: As named.
        written: What is to be made.

    Raises:
        InputError: If a path lies in the data's folder.
    """
    if not isinstance(data, str | Path) or str(data).startswith("dataset:"):
        return
    from sfumato.data.load import holds_tables

    folder = Path(data).expanduser().resolve()
    if not folder.is_dir() or holds_tables(folder):
        return
    for path in written:
        if path.expanduser().resolve().is_relative_to(folder):
            raise InputError(
                f"{path} lies in {data}, the folder of the private images",
                "Choose a folder outside of it.",
            )


def _bounded(inputs: Inputs, key: bytes | None) -> Inputs:
    """At most ``rows_per_unit`` rows of each person, where the facts name a unit."""
    from sfumato.publish.units import bounded

    members = bounded(inputs.members, inputs.facts, key=key)
    held_out = inputs.held_out
    if held_out is not None:
        other = None if key is None else hashlib.sha256(key + b"held out").digest()
        held_out = bounded(held_out, inputs.facts, key=other)
    return replace(inputs, members=members, held_out=held_out)


def check_apart(members: Data, others: Data) -> None:
    """Refuses parts that share a person: attacks and utility would be judged on known faces.

    Raises:
        InputError: If a person has rows in both.
    """
    parts: tuple[Any, Any] = (members, others)
    one, other = parts
    both = one.shared_persons(other) if one.kind == other.kind else 0
    if both:
        unit = getattr(one.schema, "unit", None)
        named = "" if unit is None else f" in {unit!r}"
        raise InputError(
            f"{both} of the persons{named} have rows in both parts",
            "Part the data by person, not by row; a share as holdout does so.",
        )


def load(
    data: DataLike,
    *,
    target: str | None = None,
    schema: SchemaLike | None = None,
    engine: str = "auto",
    unit: str | None = None,
    rows_per_unit: int | None = None,
    spool: str | Path | None = None,
) -> Data:
    """One private data set, whole.

    Args:
        data: As for :func:`resolve`.
        target: The column to predict; None takes the schema's.
        schema: The public facts.
        unit: Column of whom a row is of; None takes the schema's.
        rows_per_unit: How many rows of a person are used at most; None takes the schema's.
        spool: Where rows in no lasting order are copied to.

    Raises:
        InputError: If it cannot be found or read, or a table comes without a schema.
    """
    from sfumato.data import ImageSet, Table, load_data
    from sfumato.data.load import load_schema, per_unit

    if isinstance(data, str | Path):
        return load_data(
            data,
            target=target,
            schema=schema,
            engine=engine,
            unit=unit,
            rows_per_unit=rows_per_unit,
            spool=spool,
        )
    if engine != "auto":
        raise InputError("an engine was given for data in memory", "Leave it out.")
    facts: Any = load_schema(schema) if isinstance(schema, str | Path) else schema
    if isinstance(data, ImageSet):
        per_unit(data.schema, unit, rows_per_unit)
        return data
    if not isinstance(data, Table) and type(data).__name__ == "DataFrame":
        if facts is None:
            raise InputError("a data frame came without a schema", "Give schema=Schema(...).")
        facts = per_unit(facts, unit, rows_per_unit)
        data = Table.from_pandas(data, facts)
    if isinstance(data, Table):
        if per_unit(data.schema, unit, rows_per_unit) != data.schema:
            raise InputError(
                f"the table was opened with unit {data.schema.unit!r}, {data.schema.rows_per_unit} "
                "rows of each, and another was asked for",
                "Open it with a schema that says so: Schema(unit=..., rows_per_unit=...).",
            )
        return data if target is None else data.with_target(target)
    raise InputError(
        f"data is a {type(data).__name__}",
        "Give a path, 'dataset:NAME', a Table, an ImageSet or a data frame.",
    )


def validate(data: Data) -> None:
    """Checks every record against the data's own schema, in one pass.

    Raises:
        InputError: Naming the first value that contradicts it.
    """
    from sfumato.data import Table

    if isinstance(data, Table):
        data.validate(data.schema)
    else:
        data.validate(data.schema)


def file_ledger(ledger: Ledger | str | Path | None, data: DataLike) -> Ledger:
    """The ledger that guards a data set: the one named, or the data set's own.

    Two files of the same name in different folders get different ledgers, a file and its copy
    too: whoever holds copies names one ledger for all. However a file is named (by ``.``, by a
    link), its ledger is one; a folder that ``save`` wrote and the file of records in it share it.

    Raises:
        InputError: If the file named lies in a release, which is handed over whole, or there are
            several ledgers of the data set.
    """
    from sfumato.privacy.ledger import Ledger
    from sfumato.release.release import check_private

    if isinstance(ledger, str | Path):
        return Ledger.open(check_private(ledger))
    if ledger is not None:
        return ledger
    if str(data).startswith("dataset:"):
        return Ledger.open(Ledger.default_path(ledger_name(str(data))))
    own = [Ledger.default_path(ledger_name(written)) for written in spellings(str(data))]
    # An earlier version called a ledger as its data were called then.
    found = sorted({p for at in own for p in at.parent.glob(f"*-{at.stem[-8:]}.db")}) or own[:1]
    if len(found) > 1:
        raise InputError(
            f"there are {len(found)} ledgers of {data}, and each knows a part of what was spent: "
            f"{', '.join(map(str, found))}",
            "Name the one that goes on (--ledger), and keep in mind what the others hold.",
        )
    return Ledger.open(found[0])


def account_of(ledger: Ledger | str | Path | None, inputs: Inputs, data: DataLike) -> Ledger:
    """The ledger that takes a publication's debit: :func:`file_ledger`, but for data in memory."""
    if ledger is not None or not inputs.in_memory:
        return file_ledger(ledger, data)
    from sfumato.privacy.ledger import Ledger

    warnings.warn(
        "no ledger was given for in-memory data: nothing will remember what this release "
        "spends; pass ledger=PATH",
        stacklevel=4,
    )
    return Ledger.in_memory()


def holdout_of(data: DataLike, holdout: float | str | Path | None) -> tuple[float, DataLike | None]:
    """A share of the rows, or another data set."""
    if holdout is None:
        from sfumato.data import datasets

        name = str(data).removeprefix("dataset:")
        if str(data).startswith("dataset:") and "test" in datasets.info(name).records:
            return 0.0, f"dataset:{name}/test"
        return HELD_OUT, None
    try:
        share = float(str(holdout))
    except ValueError:
        return 0.0, str(holdout)
    if not 0 <= share < 1:
        raise InputError(f"holdout is {holdout}", "Give a share in [0, 1), or another file.")
    return share, None
