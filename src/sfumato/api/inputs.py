"""From what a caller names to checked private data with its public facts."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sfumato.errors import InputError

if TYPE_CHECKING:
    import pandas as pd

    from sfumato.data import ImageSchema, ImageSet, Schema, Table

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
    """

    members: Data
    held_out: Data | None
    facts: Schema | ImageSchema
    name: str
    in_memory: bool = False


def resolve(
    data: DataLike,
    *,
    target: str | None,
    schema: SchemaLike | None,
    holdout: float | str | Path | None,
    seed: int,
) -> Inputs:
    """Loads and checks what was named; reads private rows, keeps nothing of them.

    Args:
        data: A path, ``dataset:NAME``, a ``Table``, an ``ImageSet`` or a data frame.
        target: The column to predict; None takes the schema's.
        schema: The public facts; bundled data sets bring their own.
        holdout: A share of the rows, another file, 0 for none; None takes the data set's own
            test part, or a fifth of the rows.
        seed: Of the split.

    Raises:
        InputError: If anything named is missing, contradicts the schema or cannot be read.
    """
    whole = load(data, target=target, schema=schema)
    facts = whole.schema
    whole.validate(facts)
    in_memory = not isinstance(data, str | Path)
    name = "in-memory data" if in_memory else _name(str(data))
    share, other = _holdout(data, holdout)
    if other is not None:
        held_out = load(other, target=target, schema=schema or facts)
        held_out.validate(facts)
        return Inputs(whole, held_out, facts, name, in_memory)
    if share == 0:
        return Inputs(whole, None, facts, name, in_memory)
    members, rest = whole.split(share, seed)
    return Inputs(members, rest, facts, name, in_memory)


def load(
    data: DataLike, *, target: str | None = None, schema: SchemaLike | None = None
) -> Data:
    """One private data set, whole.

    Raises:
        InputError: If it cannot be found or read, or a table comes without a schema.
    """
    from sfumato.data import ImageSet, Table, load_data

    facts = _schema(schema)
    if isinstance(data, Table | ImageSet):
        return _retarget(data, target)
    if isinstance(data, str | Path):
        return load_data(str(data), target=target, schema=facts)
    if type(data).__name__ == "DataFrame":
        if facts is None:
            raise InputError("a data frame came without a schema", "Give schema=Schema(...).")
        return _retarget(Table.from_pandas(data, facts), target)
    raise InputError(
        f"data is a {type(data).__name__}",
        "Give a path, 'dataset:NAME', a Table, an ImageSet or a data frame.",
    )


def ledger_name(inputs: Inputs, data: DataLike) -> str:
    """The name of the ledger that guards a data set when the caller names none.

    Two files of the same name in different folders get different ledgers.
    """
    if str(data).startswith("dataset:"):
        return inputs.name
    digest = hashlib.sha256(str(Path(str(data)).expanduser().resolve()).encode()).hexdigest()
    return f"{inputs.name}-{digest[:8]}"


def _schema(schema: SchemaLike | None) -> Any:
    from sfumato.data import load_schema

    return load_schema(schema) if isinstance(schema, str | Path) else schema


def _retarget(data: Data, target: str | None) -> Data:
    from sfumato.data import Table

    if target is None or not isinstance(data, Table) or data.schema.target == target:
        return data
    return data.with_schema(data.schema.with_target(target))


def _holdout(
    data: DataLike, holdout: float | str | Path | None
) -> tuple[float, DataLike | None]:
    """A share of the rows, or another data set."""
    if holdout is None:
        from sfumato.data import datasets

        name = str(data).removeprefix("dataset:")
        if str(data).startswith("dataset:") and "test" in datasets.info(name).splits:
            return 0.0, f"dataset:{name}:test"
        return HELD_OUT, None
    try:
        share = float(holdout)
    except ValueError:
        return 0.0, holdout
    if not 0 <= share < 1:
        raise InputError(f"holdout is {holdout}", "Give a share in [0, 1), or another file.")
    return share, None


def _name(data: str) -> str:
    if data.startswith("dataset:"):
        return data.removeprefix("dataset:")
    return Path(data).stem or "data"
