"""A first schema for a file: from its header and declared types, or paid for.

Without a budget nothing but the header of a CSV file, or the declared types in a Parquet file's
metadata, is read; every bound and level is left as ``?``. With one, types, bounds and levels are
estimated from the rows by :mod:`sfumato.data.estimate`, and each says which ledger entry paid.
"""

from __future__ import annotations

import secrets
import uuid
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sfumato.data import addresses, persons, schema_file, sources
from sfumato.data.engine import EngineSource
from sfumato.data.passes import check_delimiter
from sfumato.data.personal import refusal
from sfumato.data.schema_file import UNKNOWN
from sfumato.data.spool import in_order
from sfumato.errors import InputError

if TYPE_CHECKING:
    import pyarrow as pa

    from sfumato.data.schema import Schema
    from sfumato.privacy.ledger import Entry, Ledger
    from sfumato.privacy.noise import NoiseSource

TYPES = ("integer", "number", "categorical", "ordinal", "bool")
_HEAD = """\
# A draft: replace every "?" by what is known publicly of the column, never by a look at the rows.
# integer, number: lower, upper, granularity (the step of the published values).
# categorical, ordinal: levels, all that there can be. Optional: missing: true, and
# outside: clamp or missing, for values beyond these facts (error is the default).
# Columns that are not to be used go under drop: [name, ...].
"""
_PAID_HEAD = """\
# Types, bounds and levels marked ledger:... were estimated from the rows under differential
# privacy and paid for by that entry. A rare level may be absent: such values become missing.
"""


_RARE = "Free text or an id, as a rule: list it under drop."


@dataclass(frozen=True)
class Draft:
    """A schema that may still have open facts.

    Args:
        columns: Facts of each column as a schema file names them; ``?`` where one is open.
        top: Other keys of the schema file.
        entry: The ledger entry that paid for the facts, if they were.
        refused: Why columns were put under ``drop`` unasked.
    """

    columns: Mapping[str, Mapping[str, Any]]
    top: Mapping[str, Any]
    entry: Entry | None = None
    refused: Mapping[str, str] = field(default_factory=dict)

    @property
    def open_facts(self) -> tuple[str, ...]:
        """``"COLUMN: FACT"`` for each fact that is left to the user."""
        return tuple(
            f"{name}: {key}"
            for name, facts in self.columns.items()
            for key, value in facts.items()
            if value in (UNKNOWN, [UNKNOWN])
        )

    def to_yaml(self) -> str:
        """The draft as a file to fill in; :meth:`Schema.load` refuses it while facts are open."""
        head = (_HEAD if self.open_facts else "") + (_PAID_HEAD if self.entry else "")
        for name, reason in self.refused.items():
            head += (
                f"# Left out, {name!r}: {reason}. To publish it all the same, give its --type.\n"
            )
        for name, facts in self.columns.items():
            if self.entry is not None and facts.get("levels") == [UNKNOWN]:
                head += f"# {name!r}: no value is frequent enough to be named. {_RARE}\n"
        values = {"sfumato_schema": int(schema_file.FORMAT), **self.top}
        return head + schema_file.dump({**values, "columns": dict(self.columns)})

    def save(self, path: str | Path) -> None:
        """Writes the draft to a file that does not exist yet.

        Raises:
            InputError: If it exists.
        """
        try:
            with Path(path).open("x", encoding="utf-8") as file:
                file.write(self.to_yaml())
        except FileExistsError:
            raise InputError(f"{path} already exists", "Choose another name.") from None
        except OSError as error:
            raise InputError(f"cannot write {path} ({error.strerror})", "Choose another.") from None

    def schema(self) -> Schema:
        """The schema, where no fact is open.

        Raises:
            InputError: Naming the first open fact.
        """
        return schema_file.read(self.to_yaml(), "the draft")


def draft(
    path: str | Path,
    *,
    epsilon: float | None = None,
    delta: float | None = None,
    ledger: Ledger | None = None,
    types: Mapping[str, str] | None = None,
    drop: Sequence[str] = (),
    target: str | None = None,
    unit: str | None = None,
    encoding: str = "utf-8",
    delimiter: str = ",",
    engine: str = "auto",
    spool: str | Path | None = None,
    source: NoiseSource | None = None,
) -> Draft:
    """Drafts a schema for CSV or Parquet files.

    Args:
        path: A file, a folder of files, a glob, or the address of a table.
        epsilon: What may be spent on estimating facts from the rows; None spends nothing and
            reads no row. The relation is add/remove of one record.
        delta: What levels (and types) may spend, well below one over the number of records.
        ledger: Takes the debit before any noise is drawn; needed with ``epsilon``.
        types: Declared types by column: ``integer``, ``number``, ``categorical``, ``ordinal`` or
            ``bool``. A CSV column without one costs a share of the budget.
        drop: Columns to leave out.
        target: Column to predict.
        unit: Column of whom a row is of, where a person may have several; estimates are then made
            from one row of each, and the guarantee is the person's.
        encoding: Of CSV files.
        delimiter: Of CSV files.
        engine: Who reads files; see :meth:`sfumato.data.Table.open`.
        spool: Where rows in no lasting order are copied to, if there is a unit.
        source: The noise; the secure source by default.

    Raises:
        InputError: If the files cannot be read or a setting does not fit. Nothing is spent.
        BudgetError: If the ledger's ceiling refuses. Nothing is spent.
    """
    data = addresses.open_source(path, encoding=encoding, delimiter=delimiter, engine=engine)
    if isinstance(data, sources.CsvSource):
        check_delimiter(data.names, delimiter, addresses.plain(str(path)))
    if unit is not None and unit not in data.names:
        raise InputError(f"unit {unit!r} is not a column", f"Columns: {', '.join(data.names)}.")
    refused = {
        name: reason
        for name in data.names
        if name not in (*(types or {}), *drop, target, unit) and (reason := refusal(name))
    }
    out = (*drop, *refused)
    declared = _declared(data, types or {}, out if unit is None else (*out, unit))
    if target is not None and target not in declared:
        raise InputError(f"target {target!r} is not a column", f"Columns: {', '.join(declared)}.")
    top: dict[str, Any] = {"target": target} if target is not None else {}
    top |= {"unit": unit} if unit is not None else {}
    top |= {"drop": list(out)} if out else {}
    if isinstance(data, sources.CsvSource):
        top |= {"encoding": encoding} if encoding != "utf-8" else {}
        top |= {"delimiter": delimiter} if delimiter != "," else {}
    if epsilon is None:
        return Draft({name: _open(kind) for name, kind in declared.items()}, top, refused=refused)
    if ledger is None:
        raise InputError("an epsilon was given but no ledger", "Estimates are paid from a ledger.")
    if unit is not None:
        data = in_order(data, (*declared, unit), spool)
        data = persons.bound(data, unit, 1, secrets.token_bytes(persons.KEY_BYTES))
    paid = _paid(data, declared, top, epsilon, delta, ledger, addresses.plain(str(path)), source)
    return replace(paid, refused=refused)


def _paid(
    data: sources.Source,
    declared: Mapping[str, str],
    top: Mapping[str, Any],
    epsilon: float,
    delta: float | None,
    ledger: Ledger,
    label: str,
    source: NoiseSource | None,
) -> Draft:
    from sfumato.data import estimate
    from sfumato.privacy.budget import Budget
    from sfumato.privacy.noise import SECURE
    from sfumato.privacy.units import for_unit, noun

    plan = estimate.Plan.calibrate(Budget(epsilon, delta or 0.0), declared)
    # Everything that can be wrong with the files is found before anything is spent.
    sums, rows = estimate.count(data, declared)
    if rows == 0:
        raise InputError(f"{label} has no rows", "Give a file with rows.")
    plan.budget.check_records(rows)
    guarantee: Any = plan.guarantee
    if "unit" in top:
        guarantee = for_unit(guarantee, noun(str(top["unit"])), 1, guarantee.delta)
    entry = ledger.debit(
        guarantee,
        release_id=uuid.uuid4().hex,
        method="schema.draft",
        label=Path(label).name,
    )
    columns = {}
    for name, kind in declared.items():
        facts = estimate.facts(sums[name], kind, plan, source or SECURE)
        columns[name] = {**facts, "provenance": f"ledger:{entry.hash}"}
    return Draft(columns, top, entry)


def _declared(
    data: sources.Source, types: Mapping[str, str], drop: Sequence[str]
) -> dict[str, str]:
    """The declared type of each column that stays, ``?`` where there is none."""
    kinds: dict[str, str] = dict.fromkeys(data.names, UNKNOWN)
    if isinstance(data, sources.ParquetSource | EngineSource):
        kinds |= {field.name: _arrow_kind(field.type) for field in data.schema}
    for name in (*types, *drop):
        if name not in kinds:
            raise InputError(f"there is no column {name!r}", f"Columns: {', '.join(kinds)}.")
    for name, kind in types.items():
        if kind not in TYPES:
            raise InputError(f"type of {name!r} is {kind!r}", f"Use {', '.join(TYPES)}.")
        kinds[name] = kind
    left = {name: kind for name, kind in kinds.items() if name not in drop}
    if not left:
        raise InputError("every column is dropped", "Keep at least one.")
    return left


def _arrow_kind(kind: pa.DataType) -> str:
    import pyarrow as pa

    if pa.types.is_dictionary(kind):
        kind = kind.value_type
    if pa.types.is_boolean(kind):
        return "bool"
    if pa.types.is_integer(kind):
        return "integer"
    if pa.types.is_floating(kind) or pa.types.is_decimal(kind):
        return "number"
    if pa.types.is_string(kind) or pa.types.is_large_string(kind):
        return "categorical"
    return UNKNOWN


def _open(kind: str) -> dict[str, Any]:
    """The facts of a column of which only the type is known."""
    if kind == "bool":
        # The type itself says what the levels are.
        levels = ["false", "true"]
        facts: dict[str, Any] = {"type": "categorical", "dtype": "bool", "levels": levels}
    elif kind in ("integer", "number"):
        step = 1 if kind == "integer" else UNKNOWN
        facts = {"type": kind, "lower": UNKNOWN, "upper": UNKNOWN, "granularity": step}
    elif kind in ("categorical", "ordinal"):
        facts = {"type": kind, "levels": [UNKNOWN]}
    else:
        facts = {"type": UNKNOWN}
    return {**facts, "provenance": "public"}
