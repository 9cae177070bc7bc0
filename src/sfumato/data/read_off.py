"""A schema read off a file that is public already: one that was released.

Whoever holds a release may look at all of its values. The facts say where they come from, so that
nobody takes them for facts about private rows: those may lie beyond, and are then clamped, or
count as missing.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from datetime import date
from decimal import Decimal, InvalidOperation
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sfumato.data import addresses
from sfumato.data.draft import TYPES, Draft
from sfumato.data.personal import looks_personal
from sfumato.errors import InputError

if TYPE_CHECKING:
    from sfumato.data.sources import Source

LEVELS = 1000
"""Texts with more different values than this are no levels."""

_TARGET_LEVELS = 20
_STEPS = 10**6  # of a number's grid
_NUMBER = re.compile(r"[-+]?(\d+(\.\d*)?|\.\d+)([eE][-+]?\d+)?")
_COMMA = re.compile(r"[-+]?\d+(?:,(\d+))?")
_DAY = re.compile(r"\d{4}-\d{2}-\d{2}")
_MAGNITUDE = 150  # powers of ten; beyond them the arithmetic of floats ends
_TRUTH = ({"false", "true"}, {"no", "yes"}, {"f", "t"}, {"n", "y"})


def read_off(
    path: str | Path,
    *,
    types: Mapping[str, str] | None = None,
    drop: Sequence[str] = (),
    target: str | None = None,
    encoding: str = "utf-8",
    delimiter: str = ",",
) -> Draft:
    """Drafts a whole schema from the values of released files; nothing is left open.

    Args:
        path: A CSV or Parquet file, a folder of them or a glob.
        types: Declared types by column, in place of what values look like.
        drop: Columns to leave out.
        target: Column to predict; a whole number of few values becomes levels.
        encoding: Of CSV files.
        delimiter: Of CSV files.

    Raises:
        InputError: If the files cannot be read, or a column or type is unknown.
    """
    from sfumato.data.passes import check_delimiter

    data = addresses.open_source(path, encoding=encoding, delimiter=delimiter, engine="auto")
    check_delimiter(data.names, delimiter, str(path))
    known = dict(types or {})
    for name in (*known, *drop, *([target] if target is not None else [])):
        if name not in data.names:
            raise InputError(f"there is no column {name!r}", f"Columns: {', '.join(data.names)}.")
    for name, kind in known.items():
        if kind not in TYPES:
            raise InputError(f"type of {name!r} is {kind!r}", f"Use {', '.join(TYPES)}.")
    columns: dict[str, dict[str, Any]] = {}
    refused: dict[str, str] = {}
    source = f"public: values of the released {Path(str(path)).name or 'files'}"
    for name, values in _values(data, [n for n in data.names if n not in drop]).items():
        facts = _facts(name, values, known.get(name), name == target)
        if facts is None:
            refused[name] = f"more than {LEVELS} texts, or long ones: free text or an id"
            continue
        columns[name] = {**facts, "provenance": source}
    if not columns:
        raise InputError("no column can be described", "Give --type for those that count.")
    if target in refused:
        raise InputError(f"target {target!r} holds free text", "Name another column.")
    out = (*drop, *refused)
    top: dict[str, Any] = {"target": target} if target is not None else {}
    top |= {"drop": list(out)} if out else {}
    top |= {"encoding": encoding} if encoding != "utf-8" else {}
    top |= {"delimiter": delimiter} if delimiter != "," else {}
    return Draft(columns, top, refused=refused)


def _values(data: Source, names: Sequence[str]) -> dict[str, tuple[set[str], bool]]:
    """The different values of each column as text, and whether any is missing."""
    import pyarrow as pa
    import pyarrow.compute as pc

    from sfumato.data.passes import CSV_NA, spelt

    absent = set(CSV_NA) if spelt(data) else set()
    found: dict[str, tuple[set[str], bool]] = {name: (set(), False) for name in names}
    for batch in data.batches(list(names)):
        for name in names:
            seen, missing = found[name]
            column = pc.unique(batch.column(name))
            if pa.types.is_dictionary(column.type):
                column = column.dictionary_decode()
            listed = column.to_pylist()
            if any(isinstance(value, float) and math.isinf(value) for value in listed):
                raise InputError(
                    f"{name!r} holds infinity, from which no bounds can be read off",
                    f"Correct the file, or leave the column out: --drop {name}.",
                )
            values = {_text(value) for value in listed}
            gone = {value for value in values if value is None or value in absent}
            seen |= {value for value in values if value is not None and value not in absent}
            found[name] = seen, missing or bool(gone)
    return found


def _text(value: Any) -> str | None:
    if value is None or (isinstance(value, float) and math.isnan(value)):
        return None
    if isinstance(value, bool):
        return "true" if value else "false"
    return value.isoformat()[:10] if hasattr(value, "isoformat") else str(value)


def _facts(
    name: str, values: tuple[set[str], bool], declared: str | None, target: bool
) -> dict[str, Any] | None:
    """What a schema file says of a column; None for free text."""
    seen, missing = values
    absent = {"missing": True} if missing else {}
    kind = declared or _kind(seen)
    if kind == "bool" or (declared is None and {s.lower() for s in seen} in _TRUTH and not target):
        levels = {"type": "categorical", "dtype": "bool", "levels": ["false", "true"]}
        return {**levels, **absent}
    if kind in ("integer", "number"):
        numbers = [_number(name, text) for text in seen]
        whole = all(n == n.to_integral_value() for n in numbers)
        if target and whole and declared is None and len(seen) <= _TARGET_LEVELS:
            levels_of = sorted({int(n) for n in numbers})
            facts = {"type": "categorical", "dtype": "int64", "levels": list(map(str, levels_of))}
            return {**facts, **absent}
        return {**_bounds(numbers, "integer" if whole else "number"), **absent}
    if declared is None and _has_commas(seen):
        numbers = [_number(name, text.replace(",", ".")) for text in seen]
        return {**_bounds(numbers, "number"), "decimal": ",", **absent}
    if kind == "date":
        shown = {text.strip() for text in seen}
        days = {"type": "date", "lower": min(shown), "upper": max(shown), "outside": "clamp"}
        return {**days, **absent}
    too_many = len(seen) > LEVELS or any(looks_personal(text) for text in seen)
    if declared is None and too_many:
        return None
    if not seen:
        return None
    if target:  # a class that was never released cannot be told apart
        return {"type": kind, "levels": sorted(seen), **absent}
    return {"type": kind, "levels": sorted(seen), "missing": True, "outside": "missing"}


def _kind(seen: set[str]) -> str:
    if seen and all(_NUMBER.fullmatch(text.strip()) for text in seen):
        return "integer"  # or a number: decided by the values
    if seen and all(map(_is_day, seen)):
        return "date"
    return "categorical"


def _has_commas(seen: set[str]) -> bool:
    """Whether they are numbers whose decimals stand behind a comma.

    Three digits behind each comma may be thousands; those stay texts.
    """
    parts = [_COMMA.fullmatch(text.strip()) for text in seen]
    behind = [found[1] for found in parts if found is not None and found[1] is not None]
    return None not in parts and any(len(digits) != 3 for digits in behind)


def _is_day(text: str) -> bool:
    """Whether it is a day of the calendar: 2020-02-30 is none."""
    if not _DAY.fullmatch(text.strip()):
        return False
    try:
        date.fromisoformat(text.strip())
    except ValueError:
        return False
    return True


def _number(name: str, text: str) -> Decimal:
    """A finite number that a grid can hold.

    Raises:
        InputError: If it is none.
    """
    try:
        number = Decimal(text.strip())
    except InvalidOperation:
        raise InputError(
            f"{text[:40]!r} in {name!r} is no number", "Declare another --type."
        ) from None
    if not number.is_finite() or (number and abs(number.adjusted()) > _MAGNITUDE):
        raise InputError(
            f"{text[:40]!r} in {name!r} is no number that bounds can be read off",
            f"Declare another --type, or leave it out: --drop {name}.",
        )
    return number


def _bounds(numbers: Sequence[Decimal], kind: str) -> dict[str, Any]:
    """Bounds and a step fine enough for the values, with at most a million of them."""
    lower, upper = (min(numbers), max(numbers)) if numbers else (Decimal(0), Decimal(1))
    step = Decimal(1)
    if kind == "number":
        exponents = [int(n.normalize().as_tuple().exponent) for n in numbers]
        step = Decimal(10) ** min(min(exponents), 0)
    while (upper - lower) / step > _STEPS:
        step *= 10
    if kind == "integer":
        step = Decimal(1)
    if lower == upper:
        upper = lower + step
    low, high = (lower / step).to_integral_value("ROUND_FLOOR"), (upper / step)
    high = high.to_integral_value("ROUND_CEILING")
    plain = int if kind == "integer" else float
    return {
        "type": kind,
        "lower": plain(low * step),
        "upper": plain(high * step),
        "granularity": plain(step),
        "outside": "clamp",
    }
