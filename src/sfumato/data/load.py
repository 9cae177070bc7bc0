"""The DATA argument: a path, ``dataset:NAME`` or a database's table, to a table or images."""

from __future__ import annotations

import logging
import os
from pathlib import Path

from sfumato.data import addresses, schema_file
from sfumato.data.image_schema import ImageSchema
from sfumato.data.imageset import DATA as IMAGE_DATA
from sfumato.data.imageset import ImageSet
from sfumato.data.pixels import is_image
from sfumato.data.schema import Schema
from sfumato.data.table import DATA as TABLE_DATA
from sfumato.data.table import SCHEMA, Table
from sfumato.errors import InputError

_PREFIX = "dataset:"
_LABELS = "labels.csv"
_LOG = logging.getLogger("sfumato")

Facts = Schema | ImageSchema


def load_data(
    path: str | Path,
    *,
    target: str | None = None,
    schema: str | Path | Facts | None = None,
    engine: str = "auto",
    unit: str | None = None,
    rows_per_unit: int | None = None,
    spool: str | Path | None = None,
) -> Table | ImageSet:
    """Opens what a user calls DATA.

    Args:
        path: ``dataset:NAME`` (its training part), ``dataset:NAME/test``, or a path: a CSV or
            Parquet file, folder or glob; a folder of images by class; a folder of images with
            ``labels.csv`` (columns ``file``, ``label`` and, optionally, ``identity``); an npz
            archive; an IDX file of images beside its labels; a folder that ``save`` wrote; the
            address of a table, ``duckdb:///FILE?table=NAME`` or the like for any Ibis backend.
        target: Column to predict; ``label`` (or None) for images.
        schema: Public facts, or the file that holds them. By default the facts of the named data
            set, or ``NAME.schema.yaml`` beside a file ``NAME.csv`` or a folder ``NAME``.
        engine: Who reads a table's files; see :meth:`Table.open`.
        unit: Column of whom a row is of; None takes the schema's.
        rows_per_unit: How many rows of a person are used at most; None takes the schema's.
        spool: Where rows in no lasting order are copied to; see :meth:`Table.open`.

    Raises:
        InputError: If nothing can be opened, or the target is not there.
    """
    facts = load_schema(schema) if isinstance(schema, str | Path) else schema
    data: Table | ImageSet
    if str(path).startswith(_PREFIX):
        if engine != "auto":
            raise InputError(f"{path} is read without an engine", "Leave --engine out.")
        from sfumato.data.datasets import load

        name, _, split = str(path)[len(_PREFIX) :].partition("/")
        data = load(name, split=split or "train", schema=facts)
        if per_unit(data.schema, unit, rows_per_unit) != data.schema:
            raise InputError(
                f"in {path} every row is of another person, and unit is {unit!r}", "Leave it out."
            )
    elif engine != "auto" or addresses.is_address(str(path)):
        data = _through_engine(path, facts, engine, unit, rows_per_unit, spool)
    else:
        data = _open(Path(path).expanduser(), facts, unit, rows_per_unit)
    if isinstance(data, Table):
        return data if target is None else data.with_target(target)
    if target not in (None, "label"):
        raise InputError(f"images have no column {target!r} to predict", "Use --target label.")
    return data


def load_released(folder: str | Path, kind: str) -> Table | ImageSet:
    """Reads what ``save`` wrote.

    Args:
        folder: That holds the data and ``schema.yaml``.
        kind: ``"table"`` or ``"images"``.

    Raises:
        InputError: If a file is missing or damaged.
    """
    folder = Path(folder)
    name = {"table": TABLE_DATA, "images": IMAGE_DATA}.get(kind)
    if name is None:
        raise InputError(f"a release of kind {kind!r}", "This version reads table and images.")
    for file in (name, SCHEMA):
        if not (folder / file).is_file():
            raise InputError(f"{folder} has no {file}", "The release is incomplete; copy it again.")
    if kind == "table":
        return Table.open(folder / name, Schema.load(folder / SCHEMA))
    facts = ImageSchema.load(folder / SCHEMA)
    return ImageSet.from_npz(folder / name, facts.classes).with_schema(facts)


def load_schema(path: str | Path) -> Facts:
    """Reads a schema file of either kind.

    Raises:
        InputError: If it cannot be read or is no schema.
    """
    text = schema_file.text_of(path)
    if "classes" in schema_file.parse(text, str(path)):
        return ImageSchema.from_yaml(text, str(path))
    return schema_file.read(text, str(path))


def per_unit(facts: Facts, unit: str | None, rows: int | None) -> Facts:
    """Facts for data in which a person may have several rows, if one was named.

    Raises:
        InputError: If the data are images, or a number of rows comes without a unit.
    """
    if unit is None and rows is None:
        return facts
    if isinstance(facts, ImageSchema):
        _no_unit(unit or "named")
        return facts
    column = unit or facts.unit
    if column is None:
        raise InputError(
            f"rows_per_unit is {rows}, and no unit is named",
            "Name the column of the person's id: unit.",
        )
    return facts.with_unit(column, rows)


def _open(
    path: Path, facts: Facts | None, unit: str | None = None, rows: int | None = None
) -> Table | ImageSet:
    if path.is_dir():
        for kind, name in (("table", TABLE_DATA), ("images", IMAGE_DATA)):
            if facts is None and (path / name).is_file() and (path / SCHEMA).is_file():
                return load_released(path, kind)
        if not holds_tables(path):
            _no_unit(unit)
            facts = facts or beside(path)
            return _labelled(_image_folder(path, facts), facts)
    elif path.suffix == ".npz":
        _need_file(path)
        _no_unit(unit)
        facts = facts or beside(path)
        return _labelled(ImageSet.from_npz(path, _classes(facts)), facts)
    elif "idx" in path.name and path.is_file():
        _no_unit(unit)
        facts = facts or beside(path)
        return _labelled(_idx(path, facts), facts)
    facts = facts or beside(path)
    if facts is None:
        if not path.exists() and "*" not in str(path):
            raise InputError(f"there is no {path}", _instead(path))
        raise InputError(
            f"{path} has no schema",
            f"Draft one: sfumato schema draft {path} --out {_schema_name(path)}",
        )
    if isinstance(facts, ImageSchema):
        if not path.exists():
            raise InputError(f"there is no {path}", _instead(path))
        raise InputError(
            f"{path} is a table, its schema describes images", "Give a table's schema."
        )
    opened = per_unit(facts, unit, rows)
    assert isinstance(opened, Schema)
    return Table.open(path, opened)


def _instead(path: Path) -> str:
    """What may have been meant by a path that leads nowhere."""
    from sfumato.data import datasets

    if str(path) in (known.name for known in datasets.available()):
        return f"Say dataset:{path} for the named data set."
    return "Check the path."


def _no_unit(unit: str | None) -> None:
    if unit is not None:
        raise InputError(
            f"unit is {unit!r}, and the data are images",
            "Units are columns of tables. Of images, keep one of each person.",
        )


def _through_engine(
    path: str | Path,
    facts: Facts | None,
    engine: str,
    unit: str | None,
    rows: int | None,
    spool: str | Path | None,
) -> Table:
    """A table that a query engine holds or reads."""
    address = addresses.is_address(str(path))
    shown = addresses.plain(str(path))
    facts = facts or (None if address else beside(Path(path).expanduser()))
    if facts is None:
        raise InputError(f"{shown} has no schema", "Give its public facts: --schema FILE.")
    if isinstance(facts, ImageSchema):
        raise InputError(f"{shown} is a table, its schema describes images", "Give a table's.")
    opened = per_unit(facts, unit, rows)
    assert isinstance(opened, Schema)
    where = path if address else Path(path).expanduser()
    return Table.open(where, opened, engine=engine, spool=spool)


def _image_folder(path: Path, facts: Facts | None) -> ImageSet:
    if not (path / _LABELS).is_file():
        return ImageSet.from_folder(path, _classes(facts))
    classes = _classes(facts)
    if classes is None:
        raise InputError(
            f"{path / _LABELS} needs declared classes",
            f"Declare them in {_schema_name(path)} beside the folder, or by --schema FILE "
            "(sfumato_schema: 1, channels, height, width, classes).",
        )
    with (path / _LABELS).open(encoding="utf-8-sig", errors="replace") as handle:
        columns = handle.readline().strip().split(",")
    identity = "identity" if "identity" in columns else None
    found = ImageSet.from_csv(path, path / _LABELS, classes=classes, identity_col=identity)
    _tell_unlisted(path / _LABELS, found.files)
    return found


def _tell_unlisted(table: Path, listed: tuple[Path, ...]) -> None:
    """Warns of images that a list leaves out, in the folders of those that it names."""
    known = {os.path.realpath(file) for file in listed}
    places = {file.parent for file in listed}
    others = sum(
        is_image(file) and os.path.realpath(file) not in known
        for place in places
        for file in place.iterdir()
    )
    if others:
        _LOG.warning("%s lists %d images; %d beside them are left out", table, len(known), others)


def _idx(path: Path, facts: Facts | None) -> ImageSet:
    classes = _classes(facts)
    if classes is None:
        raise InputError(f"{path} needs declared classes", "Give a schema that lists them.")
    labels = path.with_name(path.name.replace("images-idx3", "labels-idx1"))
    if labels == path or not labels.is_file():
        raise InputError(
            f"{path} has no labels beside it",
            "Name the pair X-images-idx3-ubyte, X-labels-idx1-ubyte.",
        )
    return ImageSet.from_idx(path, labels, classes)


def _labelled(data: ImageSet, facts: Facts | None) -> ImageSet:
    return data.with_schema(facts) if isinstance(facts, ImageSchema) else data


def _classes(facts: Facts | None) -> tuple[str, ...] | None:
    if isinstance(facts, Schema):
        raise InputError("these are images, their schema describes a table", "Give classes.")
    return None if facts is None else facts.classes


def holds_tables(path: Path) -> bool:
    """Whether a folder is one of tables: a list may well lie beside images."""
    if (path / _LABELS).is_file():
        return False
    inside = [p for p in path.iterdir() if not p.name.startswith(".")]
    listed = any(p.suffix.lower() in (".csv", ".parquet", ".pq") for p in inside if p.is_file())
    if not listed or any(map(is_image, inside)):
        return False
    return not any(is_image(file) for p in inside if p.is_dir() for file in p.iterdir())


def beside(path: Path) -> Facts | None:
    """The facts in ``NAME.schema.yaml`` beside ``NAME.csv``; None if there is no such file."""
    if "*" in path.name:  # a glob's files have the schema of their folder
        path = path.parent
    if path.name in ("", ".."):  # "." and the like have a name elsewhere
        path = path.resolve()
    if not path.name:
        return None
    file = path.with_name(_schema_name(path))
    return load_schema(file) if file.is_file() else None


def _schema_name(path: Path) -> str:
    return f"{path.name.split('.')[0]}.schema.yaml"


def _need_file(path: Path) -> None:
    if not path.is_file():
        raise InputError(f"there is no file {path}", "Check the path.")
