"""What comes in: public facts on one side, private rows or pictures on the other.

Names are imported when first used, so that ``import sfumato.data`` stays light.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from sfumato.data import datasets
    from sfumato.data.axes import Axis
    from sfumato.data.columns import Categorical, Column, Date, Numeric, Ordinal
    from sfumato.data.facts import Fact
    from sfumato.data.image_schema import ImageSchema
    from sfumato.data.imageset import ImageSet
    from sfumato.data.load import load_data, load_released
    from sfumato.data.reading import Reading
    from sfumato.data.schema import Schema
    from sfumato.data.table import Table

_HOMES = {
    "Axis": "axes",
    "Categorical": "columns",
    "Column": "columns",
    "Date": "columns",
    "Fact": "facts",
    "ImageSchema": "image_schema",
    "ImageSet": "imageset",
    "Numeric": "columns",
    "Ordinal": "columns",
    "Reading": "reading",
    "Schema": "schema",
    "Table": "table",
    "load_data": "load",
    "load_released": "load",
}

__all__ = [
    "Axis",
    "Categorical",
    "Column",
    "Date",
    "Fact",
    "ImageSchema",
    "ImageSet",
    "Numeric",
    "Ordinal",
    "Reading",
    "Schema",
    "Table",
    "datasets",
    "load_data",
    "load_released",
]


def __getattr__(name: str) -> Any:
    if name == "datasets":
        return importlib.import_module("sfumato.data.datasets")
    if name in _HOMES:
        return getattr(importlib.import_module(f"sfumato.data.{_HOMES[name]}"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
