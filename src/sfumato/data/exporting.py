"""Released data in the forms that other programs read: CSV or Parquet, PNG files with a CSV."""

from __future__ import annotations

import csv
from pathlib import Path
from typing import TYPE_CHECKING

from sfumato.data.pixels import as_bytes
from sfumato.errors import InputError

if TYPE_CHECKING:
    from sfumato.data.imageset import ImageSet
    from sfumato.data.table import Table

LABELS = "labels.csv"
SOFT = "soft_"
"""Before a class's name: the column of how likely it is, where images have soft labels."""
_FILES = "images"


def write_rows(table: Table, file: Path) -> None:
    """Writes the rows as ``.csv`` (UTF-8, a header, missing values empty) or ``.parquet``.

    Args:
        table: Read batch by batch; any size.
        file: Replaced if it exists.

    Raises:
        InputError: If its name ends in neither.
    """
    import pyarrow as pa
    import pyarrow.csv
    import pyarrow.parquet

    writers = {".csv": pa.csv.CSVWriter, ".parquet": pa.parquet.ParquetWriter}
    if file.suffix not in writers:
        raise InputError(f"{file} ends in {file.suffix!r}", "Give a name with .csv or .parquet.")
    writer = None
    try:
        for batch in table.batches():
            if writer is None:
                writer = writers[file.suffix](file, batch.schema)
            writer.write_batch(batch)
    finally:
        if writer is not None:
            writer.close()


def write_pictures(images: ImageSet, folder: Path) -> None:
    """Writes one PNG an image, and ``labels.csv``: file, label, and soft labels where there are.

    Args:
        images: Read batch by batch; any number.
        folder: Made; it must not exist.
    """
    from PIL import Image

    channels, height, width = images.schema.shape
    classes = images.schema.classes
    (folder / _FILES).mkdir(parents=True)
    digits = len(str(len(images) - 1))
    soft = images.soft_labels
    with (folder / LABELS).open("w", encoding="utf-8", newline="") as handle:
        rows = csv.writer(handle)
        rows.writerow(
            ["file", "label", *(f"{SOFT}{c}" for c in (classes if soft is not None else ()))]
        )
        at = 0
        for pixels, labels in images.batches():
            for image, label in zip(as_bytes(pixels), labels, strict=True):
                name = f"{_FILES}/{at:0{digits}d}.png"
                flat = image.reshape(height, width) if channels == 1 else image.transpose(1, 2, 0)
                Image.fromarray(flat).save(folder / name)
                shares = () if soft is None else (f"{share:.6g}" for share in soft[at])
                rows.writerow([name, classes[label], *shares])
                at += 1
