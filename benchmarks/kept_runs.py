"""Runs that a results file holds already, so that an interrupted benchmark goes on."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any


def kept(out: Path, same: Sequence[str]) -> list[dict[str, Any]]:
    """The runs that a file holds.

    Args:
        out: The file, which need not be there yet.
        same: Fields in which runs are alike that are summed up together.

    Raises:
        SystemExit: If one of them lacks such a field or its seed: nobody can tell what it is of.
    """
    rows: list[dict[str, Any]] = json.loads(out.read_text("utf-8"))["rows"] if out.exists() else []
    for row in rows:
        missing = [name for name in (*same, "seed") if name not in row]
        if missing:
            raise SystemExit(
                f"{out} has a run without {', '.join(missing)}: choose another --out, or add what "
                "is known of it"
            )
    return rows
