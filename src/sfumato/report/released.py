"""What a release itself shows: its distributions, or some of its pictures.

Everything here is computed from the released artefact, which is public.
"""

from __future__ import annotations

import base64
import io
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from markupsafe import Markup

from sfumato.report import charts, wording

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from sfumato.data import Column, ImageSet, Table

BINS = 24
LEVELS = 10
CLASSES = 24
PER_CLASS = 12
OTHER = "(other)"
"""The level that stands for all that were not named."""


@dataclass(frozen=True)
class Multiple:
    """One small drawing among many.

    Args:
        name: The column.
        note: A few words beside it.
        drawing: The SVG.
        target: Whether it is the column to predict.
    """

    name: str
    note: str
    drawing: Markup
    target: bool = False


@dataclass(frozen=True)
class Picture:
    """One row of pictures, as an image that the page carries inside itself.

    Args:
        label: What the row shows.
        note: A few words beside it.
        uri: A PNG as a data URI.
        alt: What stands for it where it cannot be seen.
        width: Pixels.
        height: Pixels.
    """

    label: str
    note: str
    uri: str
    alt: str
    width: int
    height: int


def distributions(table: Table) -> list[Multiple]:
    """One drawing for each column of a released table, the target first."""
    from sfumato.data import Axis, Numeric

    schema = table.schema
    columns = sorted(schema.columns, key=lambda column: column.name != schema.target)
    axes = [[Axis(c.name, BINS if isinstance(c, Numeric) else None)] for c in columns]
    return [
        _multiple(column, counts, target=column.name == schema.target)
        for column, counts in zip(columns, table.many_counts(axes), strict=True)
    ]


def _multiple(column: Column, counts: NDArray[Any], *, target: bool) -> Multiple:
    """The drawing of one column from its counts, a missing level last."""
    from sfumato.data import Date, Numeric

    shares = _shares(counts)
    note = ""
    if column.missing:
        note = f"{charts.percent_tick(shares[-1])} missing"
        shares = shares[:-1]
    if isinstance(column, Date):
        labels = [column.day(code).isoformat() for code in (0, column.cardinality - 1)]
    elif isinstance(column, Numeric):
        labels = [wording.fact_value(end) for end in (column.lower, column.upper)]
    else:
        labels = list(column.levels)
    drawn = drawing(column.name, labels, shares, ordered=column.ordered)
    return Multiple(column.name, note, drawn, target)


def drawing(
    name: str,
    labels: Sequence[str],
    shares: Sequence[float],
    real: Sequence[float] | None = None,
    *,
    ordered: bool,
) -> Markup:
    """A histogram of many ordered shares, else bars of the largest.

    Args:
        name: The column.
        labels: One for each share; of a histogram only the first and last are written.
        shares: Of the released values.
        real: The same of the private data, where the page may show it.
        ordered: Whether the labels have an order.
    """
    if ordered and (len(shares) > LEVELS or len(labels) != len(shares)):
        ends = (labels[0].split(" to ")[0], labels[-1].split(" to ")[-1])
        return charts.histogram(shares, real, title=name, ends=ends)
    kept, first, second = _largest(
        labels, list(shares), None if real is None else list(real), ordered
    )
    return charts.bars(kept, first, second, title=name)


def pictures(images: ImageSet) -> list[Picture]:
    """The first released pictures of each class, in the order of the release."""
    classes = images.schema.classes
    labels = np.asarray(images.labels)
    rows = []
    for code, name in enumerate(classes[:CLASSES]):
        where = np.flatnonzero(labels == code)
        if not len(where):
            continue
        shown = np.asarray(images.images[where[:PER_CLASS]])
        drawn = "picture" if len(shown) == 1 else "pictures"
        rows.append(
            picture(
                shown,
                label=str(name),
                note=wording.plural(len(where), "picture") + _sureness(images, where, code),
                alt=f"{len(shown)} released {drawn} of class {name}",
                columns=PER_CLASS,
            )
        )
    return rows


def _sureness(images: ImageSet, where: NDArray[Any], code: int) -> str:
    """How likely their own class is for these pictures, where labels are soft."""
    if images.soft_labels is None:
        return ""
    share = float(images.soft_labels[where, code].mean())
    return f", soft labels of {charts.percent_tick(share)} on average"


def picture(images: NDArray[Any], *, label: str, note: str, alt: str, columns: int) -> Picture:
    """Pictures side by side as one PNG.

    Args:
        images: (n, c, h, w) in [0, 1], with c 1 or 3; other channels are averaged.
        label: What the row shows.
        note: A few words beside it.
        alt: What stands for it where it cannot be seen.
        columns: Places in the row; empty ones stay blank.
    """
    sheet = contact_sheet(images, columns)
    data = base64.b64encode(png(sheet)).decode("ascii")
    return Picture(
        label, note, f"data:image/png;base64,{data}", alt, sheet.shape[1], sheet.shape[0]
    )


def contact_sheet(images: NDArray[Any], columns: int) -> NDArray[np.uint8]:
    """One row of pictures with a gap between them, (h, w, 4), transparent where there is none."""
    if images.shape[1] not in (1, 3):
        images = images.mean(axis=1, keepdims=True)
    height, width = images.shape[2:]
    gap = max(1, width // 12)
    zoom = max(1, 28 // width)
    sheet = np.zeros((height, columns * (width + gap) - gap, 4), np.uint8)
    for place, image in enumerate(images[:columns]):
        left = place * (width + gap)
        pixels = np.rint(np.clip(image, 0, 1) * 255).astype(np.uint8).transpose(1, 2, 0)
        sheet[:, left : left + width, :3] = pixels  # one channel is broadcast to three
        sheet[:, left : left + width, 3] = 255
    return sheet.repeat(zoom, axis=0).repeat(zoom, axis=1)


def png(pixels: NDArray[np.uint8]) -> bytes:
    """(h, w, 4) pixels as a PNG without any metadata."""
    from PIL import Image

    buffer = io.BytesIO()
    Image.fromarray(pixels, "RGBA").save(buffer, "PNG", optimize=True)
    return buffer.getvalue()


def _shares(counts: Sequence[int] | NDArray[Any]) -> list[float]:
    values = np.asarray(counts, dtype=np.float64)
    total = float(values.sum())
    return [float(value) / total if total else 0.0 for value in values]


def _largest(
    levels: Sequence[str],
    released: list[float],
    real: list[float] | None,
    ordered: bool,
) -> tuple[list[str], list[float], list[float] | None]:
    """The levels with the largest shares, the rest summed up; ordered levels keep their order."""
    open_ended = [i for i, level in enumerate(levels) if level == OTHER]
    named = [i for i in range(len(levels)) if i not in open_ended]
    order = sorted(named, key=lambda i: -max(released[i], real[i] if real else 0.0))
    if len(levels) <= LEVELS:
        kept, rest = (named if ordered else order), open_ended
    else:
        kept, rest = order[: LEVELS - 1], [*order[LEVELS - 1 :], *open_ended]
    names = [str(levels[i]) for i in kept]
    first = [released[i] for i in kept]
    second = None if real is None else [real[i] for i in kept]
    if rest:
        names.append("others" if open_ended else f"{len(rest)} others")
        first.append(sum(released[i] for i in rest))
        if second is not None and real is not None:
            second.append(sum(real[i] for i in rest))
    return names, first, second
