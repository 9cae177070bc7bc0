"""``sfumato methods``."""

from __future__ import annotations

from dataclasses import MISSING, fields
from typing import Annotated, Any

import typer

from sfumato.cli import output
from sfumato.cli.output import AsJson


def add_to(app: typer.Typer) -> None:
    """Adds the command."""
    app.command("methods")(methods)


def methods(
    name: Annotated[str | None, typer.Argument(help="One method, with its settings.")] = None,
    as_json: AsJson = False,
) -> None:
    """List the methods and attacks, or show one with its settings."""
    from sfumato import registry

    if name is None:
        _list(as_json)
        return
    kind: registry.Kind = "attack" if name in registry.load("attack") else "method"
    values = _describe(name, registry.find(kind, name))
    if as_json:
        output.emit(values)
        return
    from rich.table import Table

    output.plain(f"{name} · {values['purpose']}")
    output.plain(f"Source: {values['source']}")
    table = Table("setting", "default")
    for setting, default in values["settings"].items():
        table.add_row(setting, repr(default))
    output.say(table)
    if values["presets"]:
        names = ", ".join(values["presets"])
        how = "--set preset=NAME" if kind == "method" else f"{name}[preset=NAME]"
        output.plain(f"Presets, chosen by {how}: {names}\n")
    output.plain(values["documentation"])


def _list(as_json: bool) -> None:
    from sfumato import registry

    found = {
        kind: [_describe(name, cls) for name, cls in registry.load(kind).items()]
        for kind in ("method", "attack")
    }
    if as_json:
        output.emit({"methods": found["method"], "attacks": found["attack"]})
        return
    from rich.box import SIMPLE_HEAD
    from rich.table import Column, Table

    for kind, about in (("method", "guarantee"), ("attack", "takes")):
        # Names are what people copy: they are never cut, however narrow the window.
        table = Table(Column(kind, no_wrap=True), about, "purpose", box=SIMPLE_HEAD)
        for values in found[kind]:
            way = f"{values['takes']} → {values['gives']}, {values['guarantee']}"
            table.add_row(
                values["name"], way if kind == "method" else values["takes"], values["purpose"]
            )
        output.say(table)


def _describe(name: str, cls: Any) -> dict[str, Any]:
    documentation = (cls.__doc__ or "").strip()
    return {
        "name": name,
        "takes": ", ".join(cls.kinds),
        "gives": getattr(cls, "gives", "a finding"),
        "guarantee": getattr(cls, "relation", ""),
        "source": cls.source,
        "purpose": documentation.partition("\n")[0],
        "presets": {name: dict(kept) for name, kept in getattr(cls, "presets", {}).items()},
        "settings": {f.name: _default(f) for f in fields(cls) if f.init},
        "documentation": documentation,
    }


def _default(setting: Any) -> Any:
    if setting.default is not MISSING:
        return setting.default
    if setting.default_factory is not MISSING:
        return setting.default_factory()
    return "required"
