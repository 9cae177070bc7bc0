"""Reading labelled images: folders by class, folder + CSV, npz and IDX."""

from __future__ import annotations

import csv
import gzip
import math
import os
import unicodedata
import zipfile
import zlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sfumato.data.pixels import image_files, is_image
from sfumato.errors import InputError

_UNSIGNED_BYTE = 0x08
_OPTIONAL = ("classes", "identity", "soft_labels")


def class_folders(
    folder: Path, classes: Sequence[str] | None
) -> tuple[list[Path], NDArray[np.int64], tuple[str, ...]]:
    """Files, labels and classes of a folder that holds one folder a class.

    Where the classes are declared one may be without an image: that there is none is private. Names
    are compared in one Unicode form, for file systems differ in it.

    Raises:
        InputError: If a class is not declared, or its folder is missing; if an image lies beside
            the folders; if a folder is empty, and only the folders say what the classes are.
    """
    if not folder.is_dir():
        raise InputError(f"there is no folder {folder}", "Check the path.")
    found = sorted(p for p in folder.iterdir() if p.is_dir() and not p.name.startswith("."))
    if not found:
        packed = next((p for p in sorted(folder.iterdir()) if "images-idx" in p.name), None)
        if packed is not None:
            raise InputError(
                f"{folder} holds IDX files", f"Give the file of the pictures: {packed}."
            )
        raise InputError(
            f"{folder} holds no folder",
            "Put the images into one folder a class, or list them in labels.csv (file, label).",
        )
    stray = next((p for p in sorted(folder.iterdir()) if is_image(p)), None)
    if stray is not None:
        raise InputError(
            f"{stray} lies beside the folders of the classes",
            "Move it into the folder of its class, or out.",
        )
    inside = {composed(path.name): path for path in found}
    if len(inside) < len(found):
        raise InputError(
            f"{folder} holds two folders whose names differ in nothing but their Unicode form",
            "Put their images into one.",
        )
    names = tuple(inside) if classes is None else tuple(classes)
    declared = {composed(name) for name in names}
    for name, path in inside.items():
        if name not in declared:
            raise InputError(
                f"{path} is the folder of a class that was never declared",
                f"Declared: {', '.join(names)}.",
            )
    files: list[Path] = []
    labels: list[int] = []
    for label, name in enumerate(names):
        place = inside.get(composed(name))
        if place is None:
            raise InputError(
                f"class {name!r} has no folder in {folder}",
                "Make one, which may be empty, or correct the classes.",
            )
        images = image_files(place)
        if not images and classes is None:
            raise InputError(
                f"{place} is empty",
                "Move it out if it is no class; else declare the classes in a schema (--schema), "
                "where one may be without an image.",
            )
        files += images
        labels += [label] * len(images)
    if not files:
        raise InputError(f"the folders in {folder} hold no image", "Add images.")
    return files, np.array(labels, np.int64), names


def csv_rows(
    folder: Path,
    table: Path,
    columns: Mapping[str, str | None],
    classes: Sequence[str],
) -> tuple[list[Path], NDArray[np.int64], NDArray[Any] | None]:
    """Files, labels and identities that a CSV lists, each file once: an image is one record.

    Names are compared in one Unicode form, for file systems and spreadsheets differ in it.

    Args:
        folder: What file names are relative to.
        table: UTF-8 CSV with a header.
        columns: Names of the columns ``image``, ``label`` and (or None) ``identity``.
        classes: Declared names of the labels.

    Raises:
        InputError: If a column, file or label is not there, or a file is listed twice.
    """
    places = {composed(name): label for label, name in enumerate(classes)}
    lines: dict[str, int] = {}
    files: list[Path] = []
    labels: list[int] = []
    identities: list[str] = []
    try:
        with table.open(encoding="utf-8-sig", newline="") as handle:
            reader = csv.DictReader(handle, strict=True)
            header = list(reader.fieldnames or ())
            for wanted in filter(None, columns.values()):
                if header.count(wanted) != 1:
                    raise InputError(
                        f"{table} names the column {wanted!r} {header.count(wanted)} times",
                        f"Columns: {', '.join(header)}. Write it with commas, and with the columns "
                        f"{', '.join(filter(None, columns.values()))}.",
                    )
            for row in reader:
                where = f"{table}, line {reader.line_num}"
                name, label = row[str(columns["image"])], row[str(columns["label"])]
                file = _spelt(folder, name) if name else None
                if file is None:
                    raise InputError(f"{where}: there is no file {name!r}", f"Look in {folder}.")
                earlier = lines.setdefault(os.path.realpath(file), reader.line_num)
                if earlier != reader.line_num:
                    raise InputError(
                        f"{where}: {name} is listed before, on line {earlier}",
                        "Keep one line of it: an image is one record, which is what is protected.",
                    )
                label = composed(label) if label else label
                if label not in places:
                    raise InputError(
                        f"{where}: label {label!r} was never declared",
                        f"Declared: {', '.join(classes)}.",
                    )
                files.append(file)
                labels.append(places[label])
                if columns.get("identity"):
                    identities.append(row[str(columns["identity"])])
    except UnicodeDecodeError:
        raise InputError(f"{table} is not UTF-8", "Save it as UTF-8.") from None
    except (csv.Error, OSError) as error:
        raise InputError(f"{table} is no readable CSV ({error})", "Correct it.") from None
    if not files:
        raise InputError(f"{table} lists no image", "Add rows.")
    return files, np.array(labels, np.int64), np.array(identities) if identities else None


def composed(name: str) -> str:
    """A name in the form in which its accents are parts of their letters.

    >>> len("u\N{COMBINING DIAERESIS}"), len(composed("u\N{COMBINING DIAERESIS}"))
    (2, 1)
    """
    return unicodedata.normalize("NFC", name)


def _spelt(folder: Path, name: str) -> Path | None:
    """The file of that name, in whichever Unicode form the folder has it; None if there is none."""
    forms = (name, composed(name), unicodedata.normalize("NFD", name))
    return next((folder / form for form in forms if (folder / form).is_file()), None)


def npz_arrays(path: Path) -> dict[str, NDArray[Any]]:
    """The arrays ``images``, ``labels`` and, where they are there, those of ``_OPTIONAL``.

    Raises:
        InputError: If the file is damaged, holds pickles, or lacks an array.
    """
    try:
        opened = np.load(path, allow_pickle=False)
        if not isinstance(opened, np.lib.npyio.NpzFile):
            raise InputError(f"{path} is not an npz archive", "Save it with numpy.savez.")
        with opened as archive:
            names = [n for n in ("images", "labels", *_OPTIONAL) if n in archive.files]
            arrays: dict[str, NDArray[Any]] = {str(name): archive[name] for name in names}
            held = ", ".join(archive.files)
    except (OSError, ValueError, EOFError, zipfile.BadZipFile, zlib.error) as error:
        if "allow_pickle" in str(error):
            raise InputError(
                f"{path} is no readable npz (it holds Python objects, which are not opened)",
                "Save numbers and texts: labels.astype(str).",
            ) from None
        reason = " ".join(str(error).split())[:100].replace(str(path), "it")
        raise InputError(
            f"{path} is no readable npz ({reason})", "Save it with numpy.savez."
        ) from None
    for name in ("images", "labels"):
        if name not in arrays:
            raise InputError(f"{path} has no array {name!r}", f"It holds: {held}.")
    return arrays


def idx_array(path: Path) -> NDArray[np.uint8]:
    """The array of an IDX file of unsigned bytes; uncompressed files are mapped, not read.

    Raises:
        InputError: If the file is damaged or of another type.
    """
    packed = False
    try:
        with path.open("rb") as handle:
            packed = handle.read(2) == b"\x1f\x8b"
        if packed:
            with gzip.open(path, "rb") as unpacked:
                data = unpacked.read()
        else:
            with path.open("rb") as handle:
                data = handle.read(4 + 4 * 255)
    except (OSError, EOFError, zlib.error) as error:
        reason = " ".join(str(error).split())[:100]
        raise InputError(f"{path} cannot be read ({reason})", "Copy the file again.") from None
    if len(data) < 4 or data[:2] != b"\x00\x00" or len(data) < 4 + 4 * data[3]:
        raise InputError(f"{path} is no IDX file", "It lacks the format's first bytes.")
    if data[2] != _UNSIGNED_BYTE:
        raise InputError(f"{path} holds IDX type {data[2]:#04x}", "Give unsigned bytes (0x08).")
    shape = tuple(int(n) for n in np.frombuffer(data, ">u4", data[3], 4))
    start = 4 + 4 * len(shape)
    size = len(data) if packed else path.stat().st_size
    if size != start + math.prod(shape):
        raise InputError(
            f"{path} has {size - start} values, its header says {math.prod(shape)}",
            "The file is truncated or damaged; copy it again.",
        )
    if packed:
        return np.frombuffer(data, np.uint8, offset=start).reshape(shape)
    return np.memmap(path, np.uint8, "r", start, shape)
