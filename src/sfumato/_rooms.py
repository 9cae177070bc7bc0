"""Rooms that are verbs too: ``sfumato.publish(...)`` beside ``sfumato.publish.tables``.

A subpackage becomes an attribute of its parent when it is imported, so a function of the same
name in ``sfumato`` would vanish with the first ``import sfumato.publish.tables``. The room itself
is therefore callable and passes the call on.
"""

from __future__ import annotations

import sys
from types import ModuleType
from typing import Any


class _CallableRoom(ModuleType):
    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        from sfumato import api

        return getattr(api, self.__name__.rpartition(".")[2])(*args, **kwargs)


def make_callable(room: str) -> None:
    """Lets the imported package ``room`` be called as the function of its name in the API."""
    sys.modules[room].__class__ = _CallableRoom
