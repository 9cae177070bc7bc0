"""A method from the name and the settings that a user gives."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import fields
from typing import Any

from sfumato import registry
from sfumato.errors import InputError


def configure(method: str, settings: Mapping[str, Any] | None, device: str) -> Any:
    """A method from its name and settings, on the device asked for if it has one.

    Raises:
        InputError: If the name or a setting is unknown.
    """
    chosen = dict(settings or {})
    cls = registry.find("method", method)
    if "preset" in chosen:
        chosen = {**_preset(method, cls, chosen.pop("preset")), **chosen}
    known = {f.name for f in fields(cls)}
    if "device" in known:
        chosen.setdefault("device", device)
    if "max_minutes" in chosen and "max_minutes" not in known:
        raise InputError(
            f"{method} cannot be bounded by the clock",
            "Leave out max_minutes (--max-minutes).",
        )
    return registry.build("method", method, chosen)


def _preset(method: str, cls: Any, name: object) -> dict[str, Any]:
    """The settings of a method's preset.

    Raises:
        InputError: If it has none of that name.
    """
    known = getattr(cls, "presets", {})
    if name not in known:
        has = f"It has {', '.join(known)}." if known else "It has none."
        raise InputError(f"{method} has no preset {name!r}", has)
    return dict(known[name])
