"""Private records that are recognised wherever they turn up, and the search for them.

Each record has values that no other has: numbers of many digits, a name, a picture of random
pixels. :meth:`Sentinels.in_text`, :meth:`Sentinels.in_file` and :meth:`Sentinels.below` look for
them in what was printed or written: numbers as they are, rounded, counted from the lower bound or
as a share of the range; pictures in any array, in any run of numbers, and in any picture.
"""

from __future__ import annotations

import base64
import io
import json
import re
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view
from numpy.typing import NDArray

ALIKE = 0.95
"""Correlation from which a picture shows a private one; of 64 random pixels none comes near."""

TEXTS = (".csv", ".html", ".json", ".txt", ".yaml")
_NUMBER = re.compile(r"(?<![\w.])[-+]?(?:\d+\.?\d*|\.\d+)(?:[eE][-+]?\d+)?")
_BASE64 = re.compile(r"[A-Za-z0-9+/]{80,}={0,2}")
_PICTURE = re.compile(r"data:([\w/+.-]*)(?:;base64)?,([A-Za-z0-9+/=]*)")
_FEW = 5  # digits from which a value says whose it is
_MANY = 7  # digits from which a share of a range does
_NEAR = 8  # numbers within which two of one record, or of two, are no luck
_ROUNDED = 6e-3  # of a pixel in [0, 1], a byte or of two decimals
_FLAT = 0.05  # standard deviation below which a row of pixels shows nothing


@dataclass(frozen=True)
class Column:
    """A numeric column of which every record has another value.

    Args:
        lower: Of its public range.
        upper: Of it.
        step: Its granularity.
        values: (n,).
    """

    lower: float
    upper: float
    step: float
    values: NDArray[np.float64]

    def forms(self) -> dict[str, NDArray[np.float64]]:
        """How a value may be written: as it is, by its place in the range, as its code."""
        above = self.values - self.lower
        return {
            "value": self.values,
            "above": above,
            "share": above / (self.upper - self.lower),
            "code": np.rint(above / self.step),
        }


@dataclass(frozen=True)
class Sentinels:
    """What must not be told.

    Args:
        columns: Of private tables.
        name: A pattern of the private names, such as ``Zyx[0-9]{4}``.
        pictures: (n, h, w) private pictures in [0, 1].
    """

    columns: tuple[Column, ...] = ()
    name: str = r"Zyx[0-9]{4}"
    pictures: NDArray[np.float32] = field(default_factory=lambda: np.zeros((0, 8, 8), np.float32))

    def with_pictures(self, more: Any) -> Sentinels:
        """The same with further pictures, (n, 1, h, w) bytes, such as an attack made."""
        extra = np.asarray(more, np.float32).reshape(-1, *self.pictures.shape[1:]) / 255
        return replace(self, pictures=np.concatenate([self.pictures, extra]))

    def below(self, *folders: Path) -> list[str]:
        """What the files in these folders tell, with the file's name before it."""
        files = [file for folder in folders for file in sorted(folder.rglob("*")) if file.is_file()]
        return [f"{file.name}: {hit}" for file in files for hit in self.in_file(file)]

    def in_file(self, file: Path) -> list[str]:
        """What one file tells.

        Raises:
            AssertionError: If it is of a kind that nobody taught this search to open.
        """
        data, suffix = file.read_bytes(), file.suffix
        hits = self._in_bytes(data)
        if suffix in TEXTS:
            hits += self.in_text(data.decode("utf-8"))
        elif suffix == ".png":
            hits += self._in_png(data)
        elif suffix in (".npz", ".npy"):
            loaded = np.load(file, allow_pickle=False)
            arrays = loaded.values() if suffix == ".npz" else [loaded]
            hits += [hit for array in arrays for hit in self.in_array(array)]
        elif suffix == ".safetensors":
            from safetensors.numpy import load

            size = int.from_bytes(data[:8], "little")
            hits += self.in_text(json.dumps(json.loads(data[8 : 8 + size]).get("__metadata__")))
            hits += [hit for array in load(data).values() for hit in self.in_array(array)]
        else:
            raise AssertionError(f"{file.name} was written, and is not searched: teach the search")
        return hits

    def in_text(self, text: str) -> list[str]:
        """What a text tells, with the pictures and arrays that are written into it."""
        hits = [f"the name {found}" for found in re.findall(self.name, text, re.IGNORECASE)]
        for kind, data in _PICTURE.findall(text):
            if kind != "image/png":
                raise AssertionError(f"{kind!r} is embedded, and is not searched: teach the search")
            hits += self._in_png(base64.b64decode(data))
        text = _PICTURE.sub(" ", text)
        for run in _BASE64.findall(text):
            hits += self._in_bytes(base64.b64decode(run[: len(run) // 4 * 4], validate=False))
        tokens = _NUMBER.findall(_BASE64.sub(" ", text))
        return hits + self._in_tokens(tokens) + self._in_run(np.array(tokens, np.float64))

    def in_array(self, array: NDArray[Any]) -> list[str]:
        """What an array tells: two private numbers side by side, or a picture."""
        if array.dtype.kind in "US":
            return self.in_text(" ".join(map(str, array.ravel())))
        values = np.asarray(array, np.float64).ravel()
        found = []
        for _, form, wanted in self._forms():
            every = np.unique(np.concatenate([wanted, wanted.astype(np.float32)]))
            for at in np.flatnonzero(np.isin(values, every)):
                found.append((int(at), form, float(values[at])))
        return _close(found) + self._in_run(values)

    # -- numbers -------------------------------------------------------------------------------

    def _forms(self) -> Iterator[tuple[int, str, NDArray[np.float64]]]:
        for number, column in enumerate(self.columns):
            for form, wanted in column.forms().items():
                yield number, form, wanted

    def _in_tokens(self, tokens: list[str]) -> list[str]:
        digits = [_significant(token) for token in tokens]
        long = [at for at, count in enumerate(digits) if count >= _FEW]
        values = np.array([float(tokens[at]) for at in long])
        counts = np.array([digits[at] for at in long])
        hits, unsure = [], []
        for number, form, wanted in self._forms():
            ordered = np.sort(wanted)
            for at in np.flatnonzero(_written(values, counts, ordered)):
                if form == "value" or counts[at] >= _MANY:
                    hits.append(f"a {form} of column {number}: {tokens[long[at]]}")
                else:
                    unsure.append((long[at], form, float(values[at])))
        return hits + _close(unsure)

    # -- pictures ------------------------------------------------------------------------------

    def _in_run(self, values: NDArray[np.float64]) -> list[str]:
        """Private pictures, or rows of them, that stand in a run of numbers."""
        if not len(self.pictures):
            return []
        values = np.nan_to_num(values, posinf=0, neginf=0)
        flat = self.pictures.reshape(len(self.pictures), -1)
        width = self.pictures.shape[2]
        hits = []
        if len(values) >= flat.shape[1]:
            best = _correlation(sliding_window_view(values, flat.shape[1]), flat)
            hits += [f"picture {at} in a run of numbers" for at in np.flatnonzero(best > ALIKE)]
        rows = self.pictures.reshape(-1, width)
        told = np.flatnonzero(rows.std(axis=1) > _FLAT)  # a black row is nobody's
        if len(values) >= width and len(told):
            from scipy.spatial import KDTree

            tree, windows = KDTree(rows[told]), sliding_window_view(values, width)
            for scale in (1.0, 255.0):
                found = tree.query(windows / scale, p=np.inf, distance_upper_bound=_ROUNDED)[1]
                places = np.unique(told[found[found < len(told)]] // self.pictures.shape[1])
                hits += [f"a row of picture {at} in a run of numbers" for at in places]
        return hits

    def _in_png(self, data: bytes) -> list[str]:
        """Private pictures in a picture, at any place and at any whole magnification."""
        from PIL import Image

        with Image.open(io.BytesIO(data)) as opened:
            sheet = np.asarray(opened.convert("RGB"), np.float64)
            shape = self.pictures.shape[1:]
            small = np.asarray(opened.convert("RGB").resize(shape[::-1]), np.float64)
        if not len(self.pictures):
            return []
        flat = self.pictures.reshape(len(self.pictures), -1)
        most = min(sheet.shape[0] // shape[0], sheet.shape[1] // shape[1])
        views = [small] + [sheet[::zoom, ::zoom] for zoom in range(1, most + 1)]
        hits = set()
        for view in views:
            for channel in range(1 if (view == view[..., :1]).all() else 3):
                windows = sliding_window_view(view[..., channel], shape).reshape(-1, flat.shape[1])
                hits |= set(np.flatnonzero(_correlation(windows, flat) > ALIKE))
        return [f"picture {at} is drawn" for at in sorted(hits)]

    def _in_bytes(self, data: bytes) -> list[str]:
        """Private pictures and numbers in their machine form."""
        hits = []
        for number, column in enumerate(self.columns):
            if any(value.tobytes() in data for value in column.values):
                hits.append(f"a value of column {number} as bytes")
        for at, picture in enumerate(self.pictures):
            forms = (np.rint(picture * 255).astype(np.uint8), picture.astype(np.float32)[0])
            if any(form.tobytes() in data for form in forms):
                hits.append(f"picture {at} as bytes")
        return hits


def _significant(token: str) -> int:
    """How many digits of a number are written.

    >>> [_significant(token) for token in ("0.00120", "-131.4", "1e-5", "200")]
    [3, 4, 1, 3]
    """
    mantissa = re.split("[eE]", token)[0]
    return len(re.sub(r"\D", "", mantissa).lstrip("0"))


def _written(
    values: NDArray[np.float64], digits: NDArray[np.int64], ordered: NDArray[np.float64]
) -> NDArray[np.bool_]:
    """Which numbers are one of those wanted, rounded or cut to the digits that are written."""
    if not len(values) or not len(ordered):
        return np.zeros(len(values), bool)
    found = np.zeros(len(values), bool)
    for wanted in (ordered, np.sort(ordered.astype(np.float32).astype(np.float64))):
        at = np.searchsorted(wanted, values)
        for side in (np.clip(at - 1, 0, len(wanted) - 1), np.clip(at, 0, len(wanted) - 1)):
            near = wanted[side]
            size = 10.0 ** np.floor(np.log10(np.maximum(np.abs(near), 1e-12)))
            found |= np.abs(values - near) < size * 10.0 ** -np.minimum(digits - 1.0, 11)
    return found


def _close(found: list[tuple[int, str, float]]) -> list[str]:
    """Two different private numbers in one form within a few numbers of each other."""
    hits = []
    for form in sorted({form for _, form, _ in found}):
        places = sorted((at, value) for at, one, value in found if one == form)
        near = [b for a, b in pairwise(places) if b[0] - a[0] <= _NEAR and a[1] != b[1]]
        if near:
            hits.append(f"{len(near) + 1} numbers in the form {form!r} side by side")
    return hits


def _correlation(
    windows: NDArray[np.float64], pictures: NDArray[np.float32]
) -> NDArray[np.float64]:
    """(n,) of each picture the largest correlation, of either sign, with any of the windows."""
    best = np.zeros(len(pictures))
    wanted = pictures - pictures.mean(axis=1, keepdims=True)
    wanted = wanted / np.maximum(np.linalg.norm(wanted, axis=1, keepdims=True), 1e-9)
    for start in range(0, len(windows), 4096):
        some = windows[start : start + 4096].astype(np.float64)
        some = some - some.mean(axis=1, keepdims=True)
        norms = np.linalg.norm(some, axis=1)
        some = some[norms > 1e-6] / norms[norms > 1e-6, None]
        if len(some):
            best = np.maximum(best, np.abs(some @ wanted.T).max(axis=0))
    return best
