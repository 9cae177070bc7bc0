"""Publish what a task needs, not the people it came from.

>>> import sfumato
>>> release = sfumato.publish("dataset:census-sample", target="income", epsilon=1)  # doctest: +SKIP
>>> release.card.figures["epsilon"], release.data.to_pandas()  # doctest: +SKIP

Nothing heavy is imported before it is used.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from sfumato import data as data
    from sfumato.api import attack as attack
    from sfumato.api import audit as audit
    from sfumato.api import compare as compare
    from sfumato.api import compare_points as compare_points
    from sfumato.api import export as export
    from sfumato.api import measure as measure
    from sfumato.api import publish as publish
    from sfumato.api import sample as sample
    from sfumato.api import select as select
    from sfumato.api import train as train
    from sfumato.data import ImageSchema as ImageSchema
    from sfumato.data import ImageSet as ImageSet
    from sfumato.data import Schema as Schema
    from sfumato.data import Table as Table
    from sfumato.errors import SfumatoError as SfumatoError
    from sfumato.privacy.budget import Budget as Budget
    from sfumato.privacy.ledger import Ledger as Ledger
    from sfumato.release.release import Release as Release

__version__ = "0.1.0"

_LAZY = {
    "audit": "sfumato.api",
    "compare": "sfumato.api",
    "export": "sfumato.api",
    "sample": "sfumato.api",
    "select": "sfumato.api",
    "compare_points": "sfumato.api",
    "train": "sfumato.api",
    "Budget": "sfumato.privacy.budget",
    "ImageSchema": "sfumato.data",
    "ImageSet": "sfumato.data",
    "Ledger": "sfumato.privacy.ledger",
    "Release": "sfumato.release.release",
    "Schema": "sfumato.data",
    "SfumatoError": "sfumato.errors",
    "Table": "sfumato.data",
}

_ROOMS = ("attack", "data", "measure", "publish")  # the first and last two can be called

__all__ = ["__version__", *_ROOMS, *sorted(_LAZY)]


def __getattr__(name: str) -> Any:
    if name in _LAZY:
        return getattr(import_module(_LAZY[name]), name)
    if name in _ROOMS:
        return import_module(f"sfumato.{name}")
    raise AttributeError(f"module 'sfumato' has no attribute {name!r}")


def __dir__() -> list[str]:
    return __all__
