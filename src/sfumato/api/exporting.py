"""Export: a release's data in a form that other programs read."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path
from typing import Any

from sfumato.errors import InputError
from sfumato.release.release import Release, check_new, stamp


def export(release: Release | str | Path, to: str | Path) -> Path:
    """Writes a release's records for programs that do not know releases.

    Args:
        release: A release, or its folder.
        to: For a table a file that ends in ``.csv`` or ``.parquet``; for images a folder, which
            gets PNG files and ``labels.csv`` (with a column of each class's share, where the
            labels are soft). It must not exist.

    Returns:
        Where they are, written whole or not at all. The files bear the time of the release.

    Raises:
        InputError: If the release holds a model, or the place cannot be written.
    """
    from sfumato.data import exporting

    final = check_new(to)
    known = release if isinstance(release, Release) else Release.load(release)
    if known.artefact.kind == "model":
        raise InputError(
            f"{known.path or 'the release'} holds a model, no records",
            "Hand over the folder as it is, whose weights are in weights.safetensors; "
            "sfumato.Release.load(folder).predict(rows) runs it.",
        )
    data: Any = known.data
    if known.artefact.kind == "table" and final.suffix not in (".csv", ".parquet"):
        raise InputError(f"{final} ends in {final.suffix!r}", "Give a name with .csv or .parquet.")
    if known.artefact.kind == "images" and final.suffix in (".csv", ".parquet"):
        raise InputError(
            f"{final} ends in {final.suffix!r}", "Images become a folder: give a name without."
        )
    with tempfile.TemporaryDirectory(prefix=f".{final.name[:64]}.", dir=final.parent) as scratch:
        inside = Path(scratch) / final.name
        try:
            if known.artefact.kind == "table":
                exporting.write_rows(data, inside)
            else:
                exporting.write_pictures(data, inside)
            stamp(inside, known.card.seconds)
            os.rename(inside, final)
        except OSError as error:
            raise InputError(
                f"cannot write {final} ({error.strerror or error})", "Choose another place."
            ) from None
    return final
