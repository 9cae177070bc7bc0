"""``sfumato doctor``."""

from __future__ import annotations

import os
from importlib import metadata
from pathlib import Path
from typing import Any

import typer

from sfumato.cli import output
from sfumato.cli.output import AsJson
from sfumato.versions import CORE, installed


def add_to(app: typer.Typer) -> None:
    """Adds the command."""
    app.command("doctor")(doctor)


def doctor(as_json: AsJson = False) -> None:
    """Print versions, sizes, extras, devices and folders; say what is wrong with the set-up."""
    values = examine()
    if as_json:
        output.emit(values)
        return
    from rich.table import Table

    table = Table("package", "version", "MB", "note")
    for row in values["packages"]:
        size = "–" if row["megabytes"] is None else f"{row['megabytes']:.0f}"
        table.add_row(row["name"], row["version"] or "missing", size, row["note"])
    output.say(table)
    output.plain(f"beside torch: {values['megabytes_beside_torch']:.0f} MB with all dependencies")
    output.plain(
        f"python {values['python']}, {values['cores']} cores, "
        f"devices: {', '.join(values['devices'])}"
    )
    kernels = values["kernels"]
    told = f"compiled, in {kernels['folder']}"
    if kernels["trouble"]:
        told = f"not compiled, so that noise and training are slower: {kernels['trouble']}"
    output.plain(f"kernels: {told}")
    output.plain(f"data: {values['data_folder']}")
    output.plain(f"ledgers: {values['ledger_folder']}")


def examine() -> dict[str, Any]:
    """What this installation consists of; JSON values."""
    import platform

    from sfumato import compiled
    from sfumato.data import datasets
    from sfumato.learn import gaussian
    from sfumato.privacy.ledger import Ledger

    sizes = {name: _megabytes(name) for name in _closure("sfumato")}
    packages = [
        {"name": name, "version": installed(name), "megabytes": sizes.get(name), "note": "core"}
        for name in ("sfumato", *CORE)
    ]
    return {
        "python": platform.python_version(),
        "cores": os.cpu_count(),
        "packages": packages,
        "megabytes_beside_torch": sum(
            size for name, size in sizes.items() if name not in _closure("torch") and size
        ),
        "devices": _devices(),
        "kernels": {
            "folder": str(compiled.folder()),
            "trouble": compiled.trouble(Path(gaussian.__file__).with_suffix(".c")),
        },
        "data_folder": str(os.environ.get("SFUMATO_DATA") or datasets.cache()),
        "ledger_folder": str(Ledger.default_path("name").parent),
    }


def _closure(root: str) -> set[str]:
    """A distribution with all it requires, without extras that nobody asked for."""
    from packaging.requirements import Requirement
    from packaging.utils import canonicalize_name

    found: set[str] = set()
    queue: list[tuple[str, frozenset[str]]] = [(root, frozenset())]
    while queue:
        name, extras = queue.pop()
        if name in found and not extras:
            continue
        found.add(name)
        try:
            requirements = metadata.requires(name) or []
        except metadata.PackageNotFoundError:
            continue
        for text in requirements:
            need = Requirement(text)
            wanted = [{"extra": extra} for extra in (*extras, "")]
            if need.marker is None or any(need.marker.evaluate(e) for e in wanted):
                child = str(canonicalize_name(need.name))
                if child not in found:
                    queue.append((child, frozenset(need.extras)))
    return found


def _megabytes(name: str) -> float | None:
    try:
        files = metadata.distribution(name).files or []
    except metadata.PackageNotFoundError:
        return None
    total = 0
    for file in files:
        try:
            total += os.stat(str(file.locate())).st_size
        except OSError:
            continue
    return total / 1e6


def _devices() -> list[str]:
    import torch

    names = ["cpu"]
    names += [torch.cuda.get_device_name(i) for i in range(torch.cuda.device_count())]
    return names
