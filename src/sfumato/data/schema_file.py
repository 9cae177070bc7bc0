"""Schema files: YAML that is read strictly, every scalar as the text that stands there.

YAML's own guesses (``no`` is false, ``1e3`` is text, ``012`` is ten) are not used: a field is
parsed by what it means.
"""

from __future__ import annotations

import json
import re
import textwrap
from collections.abc import Callable, Mapping
from difflib import get_close_matches
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sfumato.data.columns import Categorical, Column, Date, Numeric, Ordinal
from sfumato.data.impossible import Impossible
from sfumato.data.reading import Reading
from sfumato.errors import InputError

if TYPE_CHECKING:
    from sfumato.data.schema import Schema

FORMAT = "1"
UNKNOWN = "?"

# A letter first, and nothing that YAML gives a meaning inside a list or a mapping; "public: SOURCE"
# is quoted, as the space after its colon would open a mapping.
_PLAIN = re.compile(r"[A-Za-z](?:[\w .()/&<>=+*%'-]|:(?! |$))*", re.UNICODE)
_WIDTH = 100
_SHORT = 6  # lists of texts up to this long are wrapped, longer ones get a line an item

_TOP = (
    "sfumato_schema",
    "target",
    "unit",
    "rows_per_unit",
    "records",
    "drop",
    "pass_through",
    "impossible",
    "na_values",
    "encoding",
    "delimiter",
)
_READING = {"from": "of", "as": "how", "format": "format", "at": "at"}
_SPELLING = ("decimal", "thousands", "strip")
_COMMON = ("type", "missing", "outside", "provenance", *_READING)
_GRID = ("lower", "upper", "granularity")
_KEYS = {
    "integer": (*_COMMON, *_GRID, *_SPELLING),
    "number": (*_COMMON, *_GRID, *_SPELLING),
    "date": (*_COMMON, *_GRID),
    "categorical": (*_COMMON, "levels", "dtype"),
    "ordinal": (*_COMMON, "levels", "dtype"),
}
_REFUSED = {
    "text": "Free text says more than any noise can hide: list the column under drop:.",
    "identifier": "An id stands for one person and is never published: list the column under "
    "drop:, or name it as unit: if people have several rows.",
}
_REFUSED |= dict.fromkeys(("string", "name", "email", "id"), _REFUSED["identifier"])
_REFUSED["string"] = _REFUSED["text"]


def text_of(path: str | Path) -> str:
    """The text of a schema file.

    Raises:
        InputError: If it cannot be read.
    """
    try:
        return Path(path).read_text(encoding="utf-8")
    except UnicodeDecodeError:
        raise InputError(f"{path} is not UTF-8", "Save the schema as UTF-8.") from None
    except OSError as error:
        raise InputError(f"cannot read {path} ({error.strerror})", "Check the path.") from None


def parse(text: str, name: str = "the schema") -> dict[str, Any]:
    """YAML as mappings, lists and texts; a key that is there twice is an error.

    Raises:
        InputError: If the text is not YAML or not a mapping.
    """
    import yaml

    class Strict(yaml.BaseLoader):
        """Keeps scalars as texts and refuses duplicate keys."""

    def mapping(loader: yaml.BaseLoader, node: yaml.MappingNode) -> dict[str, Any]:
        values: dict[str, Any] = {}
        for key_node, value_node in node.value:
            key = str(loader.construct_object(key_node, deep=True))
            if key in values:
                line = key_node.start_mark.line + 1
                raise InputError(f"{name}, line {line}: {key!r} is there twice", "Keep one.")
            values[key] = loader.construct_object(value_node, deep=True)
        return values

    Strict.add_constructor(yaml.resolver.BaseResolver.DEFAULT_MAPPING_TAG, mapping)
    try:
        values = yaml.load(text, Strict)  # a BaseLoader: texts, lists and dicts only
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        line = f", line {mark.line + 1}" if mark else ""
        raise InputError(f"{name}{line} is not YAML ({error.problem})", "Correct it.") from None
    except yaml.YAMLError as error:
        problem = str(error).splitlines()[0]
        raise InputError(f"{name} is not YAML ({problem})", "Correct it.") from None
    if not isinstance(values, dict):
        raise InputError(f"{name} is not a schema", "Write one with: sfumato schema draft FILE")
    return values


def read(text: str, name: str = "the schema") -> Schema:
    """A table's schema from its YAML text.

    Raises:
        InputError: If a key is unknown, a fact is missing, wrong or left as ``?``.
    """
    from sfumato.data.schema import Schema

    values = parse(text, name)
    check_format(values, name)
    if "classes" in values:
        raise InputError(f"{name} describes images", "Give the schema of a table.")
    check_keys(values, (*_TOP, "columns"), name)
    columns = values.get("columns")
    if not isinstance(columns, dict) or not columns:
        raise InputError(f"{name} has no columns", "List them under columns:.")
    return Schema(
        columns=tuple(_column(key, facts) for key, facts in columns.items()),
        target=_optional(values, "target", str),
        records=_optional(values, "records", lambda x: whole(x, "records")),
        drop=texts(values.get("drop", []), "drop"),
        na_values=_optional(values, "na_values", lambda x: texts(x, "na_values")),
        encoding=values.get("encoding", "utf-8"),
        delimiter=values.get("delimiter", ","),
        unit=_optional(values, "unit", str),
        pass_through=texts(values.get("pass_through", []), "pass_through"),
        impossible=_impossible(values.get("impossible", [])),
        rows_per_unit=_optional(values, "rows_per_unit", lambda x: whole(x, "rows_per_unit")) or 1,
    )


def write(schema: Schema) -> str:
    """The YAML text of a table's schema; :func:`read` gives the same schema back."""
    top: dict[str, Any] = {"sfumato_schema": int(FORMAT)}
    if schema.target is not None:
        top["target"] = schema.target
    if schema.unit is not None:
        top["unit"] = schema.unit
        if schema.rows_per_unit != 1:
            top["rows_per_unit"] = schema.rows_per_unit
    if schema.records is not None:
        top["records"] = schema.records
    if schema.drop:
        top["drop"] = list(schema.drop)
    if schema.pass_through:
        top["pass_through"] = list(schema.pass_through)
    if schema.impossible:
        top["impossible"] = [dict(rule.values) for rule in schema.impossible]
    if schema.na_values is not None:
        top["na_values"] = list(schema.na_values)
    if schema.encoding != "utf-8":
        top["encoding"] = schema.encoding
    if schema.delimiter != ",":
        top["delimiter"] = schema.delimiter
    top["columns"] = {column.name: _facts(column) for column in schema.columns}
    return dump(top)


def dump(values: Mapping[str, Any], indent: str = "") -> str:
    """YAML in the order given: mappings in blocks, short lists on one line."""
    lines: list[str] = []
    for key, value in values.items():
        start = f"{indent}{scalar(key)}:"
        if isinstance(value, Mapping):
            lines += [start, dump(value, indent + "  ")]
            continue
        if not isinstance(value, list | tuple):
            lines.append(f"{start} {scalar(value)}")
            continue
        items = [_flow(item) if isinstance(item, Mapping) else scalar(item) for item in value]
        if any(isinstance(item, Mapping) for item in value):
            lines += [start, *(f"{indent}- {item}" for item in items)]
            continue
        if max(map(len, items), default=0) <= _SHORT or len(", ".join(items)) <= _WIDTH // 2:
            lines += textwrap.wrap(
                f"{start} [{', '.join(items)}]",
                _WIDTH,
                subsequent_indent=indent + "  ",
                break_long_words=False,
                break_on_hyphens=False,
            )
        else:
            lines += [start, *(f"{indent}- {item}" for item in items)]
    return "\n".join(lines) + ("" if indent else "\n")


def _flow(values: Mapping[str, Any]) -> str:
    """A mapping to lists of texts, on one line."""
    parts = (f"{scalar(k)}: [{', '.join(scalar(x) for x in v)}]" for k, v in values.items())
    return "{" + ", ".join(parts) + "}"


def scalar(value: Any) -> str:
    """A value as it stands in YAML; texts are quoted where they could be misread."""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, int | float):
        whole_number = value == int(value) and abs(value) < 1e15
        return repr(int(value)) if whole_number else repr(float(value))
    text = str(value)
    return (
        text
        if _PLAIN.fullmatch(text) and text == text.strip()
        else json.dumps(text, ensure_ascii=False)
    )


def check_format(values: Mapping[str, Any], name: str) -> None:
    """Refuses a file that does not say it is a schema of this format."""
    if values.get("sfumato_schema") != FORMAT:
        raise InputError(
            f"{name} lacks 'sfumato_schema: {FORMAT}'",
            "Write that as its first line, if it is a schema file.",
        )


def check_keys(values: Mapping[str, Any], known: tuple[str, ...], where: str) -> None:
    """Refuses keys that nothing would read."""
    for key in values:
        if key not in known:
            near = get_close_matches(key, known, n=1)
            hint = f"Did you mean {near[0]!r}?" if near else f"Known: {', '.join(known)}."
            raise InputError(f"{where}: unknown key {key!r}", hint)


def whole(text: Any, where: str) -> int:
    """A whole number from its text."""
    value = _number(text, where)
    if value != int(value):
        raise InputError(f"{where} is {text!r}", "Give a whole number.")
    return int(value)


def texts(items: Any, where: str) -> tuple[str, ...]:
    """A tuple of texts from a YAML list."""
    if not isinstance(items, list) or not all(isinstance(item, str) for item in items):
        raise InputError(f"{where} is {items!r}", "Give a list in brackets: [a, b].")
    return tuple(items)


def _column(name: str, facts: Any) -> Column:
    where = f"column {name!r}"
    if not isinstance(facts, dict):
        raise InputError(f"{where} has no facts", "Give at least its type.")
    kind = facts.get("type", UNKNOWN)
    if kind == UNKNOWN:
        raise InputError(f"{where}: type is left open", f"Fill it in: {', '.join(_KEYS)}.")
    if kind in _REFUSED:
        raise InputError(f"{where}: a {kind} is not published", _REFUSED[kind])
    if kind not in _KEYS:
        raise InputError(f"{where}: type is {kind!r}", f"Use {', '.join(_KEYS)}.")
    check_keys(facts, _KEYS[kind], where)
    for key, value in facts.items():
        if value in (UNKNOWN, "", [UNKNOWN]) and key not in _SPELLING:
            raise InputError(
                f"{where}: {key} is left open",
                "Fill it in from public knowledge, never from the data, "
                "or pay for it: sfumato schema draft --epsilon E",
            )
    common: dict[str, Any] = {
        "missing": _truth(facts.get("missing", "false"), f"{where}: missing"),
        "outside": facts.get("outside", "error"),
        "provenance": facts.get("provenance", "public"),
    }
    common["reading"] = _reading(facts, kind, where)
    if kind == "date":
        step = _number(facts.get("granularity", "1"), f"{where}: granularity")
        first, last = (_need(facts, k, where) for k in ("lower", "upper"))
        return Date(name, first, last, step, **common)
    if kind in ("integer", "number"):
        lower, upper = (
            _number(_need(facts, k, where), f"{where}: {k}") for k in ("lower", "upper")
        )
        step = (
            facts.get("granularity", "1")
            if kind == "integer"
            else _need(facts, "granularity", where)
        )
        return Numeric(
            name,
            lower,
            upper,
            _number(step, f"{where}: granularity"),
            integer=kind == "integer",
            **common,
        )
    levels = texts(_need(facts, "levels", where), f"{where}: levels")
    make = Ordinal if kind == "ordinal" else Categorical
    return make(name, levels, dtype=facts.get("dtype", "string"), **common)


def _impossible(items: Any) -> tuple[Impossible, ...]:
    if not isinstance(items, list) or not all(isinstance(item, dict) for item in items):
        raise InputError(
            f"impossible is {items!r}", "Give combinations: - {sex: male, pregnant: yes}."
        )
    return tuple(map(Impossible, items))


def _reading(facts: Mapping[str, Any], kind: str, where: str) -> Reading | None:
    """How the column is read; None where nothing is said of it."""
    given = {field: facts[key] for key, field in _READING.items() if key in facts}
    given |= {key: facts[key] for key in _SPELLING if key in facts}
    if kind == "date":
        given.setdefault("how", "date")
    try:
        return Reading(**given) if given else None
    except InputError as error:
        raise InputError(f"{where}: {error.problem}", error.remedy) from None


def _facts(column: Column) -> dict[str, Any]:
    facts: dict[str, Any]
    if isinstance(column, Date):
        last = column.cardinality - 1
        facts = {
            "type": "date",
            "lower": column.day(0).isoformat(),
            "upper": column.day(last).isoformat(),
        }
        if column.granularity != 1:
            facts["granularity"] = float(column.granularity)
    elif isinstance(column, Numeric):
        facts = {
            "type": "integer" if column.integer else "number",
            "lower": float(column.lower),
            "upper": float(column.upper),
            "granularity": float(column.granularity),
        }
    else:
        facts = {"type": "ordinal" if column.ordered else "categorical"}
        if column.dtype != "string":
            facts["dtype"] = column.dtype
        facts["levels"] = list(column.levels)
    if column.missing:
        facts["missing"] = True
    if column.outside != "error":
        facts["outside"] = column.outside
    reading = column.reading
    if reading is not None:
        for key, field in (*_READING.items(), *((k, k) for k in _SPELLING)):
            value = getattr(reading, field)
            if value != getattr(Reading(), field) and (key, value) != ("as", "date"):
                facts[key] = value
    facts["provenance"] = column.provenance
    return facts


def _need(facts: Mapping[str, Any], key: str, where: str) -> Any:
    if key not in facts:
        raise InputError(f"{where}: {key} is not declared", "Fill it in from public knowledge.")
    return facts[key]


def _optional(values: Mapping[str, Any], key: str, read_as: Callable[[Any], Any]) -> Any:
    return read_as(values[key]) if values.get(key) not in (None, "") else None


def _number(text: Any, where: str) -> float:
    try:
        return float(text)
    except (TypeError, ValueError):
        raise InputError(f"{where} is {text!r}", "Give a number.") from None


def _truth(text: Any, where: str) -> bool:
    if text not in ("true", "false"):
        raise InputError(f"{where} is {text!r}", "Use true or false.")
    return bool(text == "true")
