"""Real against released, for drawing: histograms of columns, grids of released images.

No picture of anybody is in here. Real images enter as the mean of a class, and only of classes
with at least 20 images, since the mean of a few shows each of them.
"""

from __future__ import annotations

import base64
import io
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from sfumato.data.columns import Numeric
from sfumato.measure import features
from sfumato.measure.marginals import BINS, ROWS, distance, distribution, grouped

if TYPE_CHECKING:
    from sfumato.data.columns import Column
    from sfumato.data.imageset import ImageSet
    from sfumato.data.table import Table

LEVELS = 20
OTHER = "(other)"
MISSING = "(missing)"
_PER_CLASS = 8
_MOST_CLASSES = 20
_FEWEST_IN_MEAN = 20


def distributions(
    released: Table | ImageSet, real: Table | ImageSet, *, seed: int = 0
) -> dict[str, Any]:
    """What the report draws of a release beside the real data.

    Args:
        released: The released table or image set.
        real: The real one.
        seed: Of the images that are shown, and of the rows of very large tables.

    Returns:
        For tables, ``{"kind": "table", "columns": [{"name", "ordered", "labels", "real",
        "released", "tvd"}]}`` with shares that sum to 1. For images, ``{"kind": "images",
        "classes", "real", "released", "grid", "released_means", "real_means"}``: shares by
        class, and pictures ``{"png": base64, "rows", "columns", "labels"}`` with a row a class.

    Raises:
        InputError: If the two do not fit each other.
    """
    features.check_alike(released, real, "real records")
    rng = np.random.default_rng(seed)
    if released.kind == "table":
        return _tables(released, real, rng)  # type: ignore[arg-type]
    return _images(released, real, rng)  # type: ignore[arg-type]


def _tables(released: Table, real: Table, rng: np.random.Generator) -> dict[str, Any]:
    sides = []
    for table in (released, real):
        total = features.size(table)
        rows = None if total <= ROWS else features.choose(total, ROWS, rng)
        sides.append(features.codes(table, rows))
    columns = []
    for j, column in enumerate(released.schema.columns):
        now, was = (distribution(grouped(side[:, j], column, BINS)) for side in sides)
        labels, groups = _groups(column, was)
        columns.append(
            {
                "name": column.name,
                "ordered": column.ordered,
                "labels": labels,
                "real": _listed(was, groups, len(labels)),
                "released": _listed(now, groups, len(labels)),
                "tvd": distance(now, was),
            }
        )
    return {"kind": "table", "columns": columns}


def _listed(shares: dict[int, float], groups: list[int], bars: int) -> list[float]:
    """The height of each bar; what no bar stands for goes to the last one, "other"."""
    heights = [shares.get(group, 0.0) for group in groups]
    return heights + [max(0.0, 1 - sum(heights))] * (bars - len(groups))


def _groups(column: Column, real: dict[int, float]) -> tuple[list[str], list[int]]:
    """The bars of a column: all groups, or the commonest real levels and the rest as one."""
    named = _names(column)
    if len(named) <= LEVELS + 1:
        return named, list(range(len(named)))
    common = sorted(range(len(named)), key=lambda group: -real.get(group, 0.0))[:LEVELS]
    return [*(named[group] for group in common), OTHER], common


def _names(column: Column) -> list[str]:
    """A name for each group of a column."""
    if not column.ordered or column.cardinality <= BINS:
        named = _spelt(column, np.arange(column.cardinality))
    else:
        edges = -(-np.arange(BINS + 1) * column.cardinality // BINS)  # rounded up, as in grouped
        first, last = _spelt(column, edges[:-1]), _spelt(column, edges[1:] - 1)
        named = [a if a == b else f"{a} to {b}" for a, b in zip(first, last, strict=True)]
    return [*named, MISSING] if column.missing else named


def _spelt(column: Column, codes: NDArray[np.int64]) -> list[str]:
    if isinstance(column, Numeric):
        return [f"{value:g}" for value in column.values(codes)]
    return [column.levels[code] for code in codes]


def _images(released: ImageSet, real: ImageSet, rng: np.random.Generator) -> dict[str, Any]:
    names = list(released.schema.classes)
    shown = list(range(min(len(names), _MOST_CLASSES)))
    shares = {}
    for name, data in (("real", real), ("released", released)):
        counts = np.bincount(data.labels, minlength=len(names))
        shares[name] = (counts / max(1, counts.sum())).tolist()
    rows = []
    for label in shown:
        at = np.flatnonzero(released.labels == label)
        picked = at[rng.permutation(len(at))[:_PER_CLASS]]
        rows.append(list(released.select(picked).images) if len(picked) else [])
    labels = [names[label] for label in shown]
    return {
        "kind": "images",
        "classes": names,
        **shares,
        "grid": _picture(rows, _PER_CLASS, released.schema.shape, labels),
        "released_means": _picture(_means(released, shown, 1), 1, released.schema.shape, labels),
        "real_means": _picture(_means(real, shown, _FEWEST_IN_MEAN), 1, real.schema.shape, labels),
    }


def _means(data: ImageSet, shown: list[int], fewest: int) -> list[list[NDArray[np.float32]]]:
    means: list[list[NDArray[np.float32]]] = []
    for label in shown:
        at = np.flatnonzero(data.labels == label)
        means.append([data.select(at).images.mean(axis=0)] if len(at) >= fewest else [])
    return means


def _picture(
    rows: list[list[NDArray[np.float32]]],
    width: int,
    shape: tuple[int, int, int],
    labels: list[str],
) -> dict[str, Any]:
    """Images side by side, a row a class, white where there are none, as a PNG in base64."""
    from PIL import Image

    channels, height, breadth = shape
    gap = 1
    sheet = np.ones(
        (channels, len(rows) * (height + gap) + gap, width * (breadth + gap) + gap), np.float32
    )
    for r, row in enumerate(rows):
        for c, image in enumerate(row):
            top, left = gap + r * (height + gap), gap + c * (breadth + gap)
            sheet[:, top : top + height, left : left + breadth] = image
    values = np.rint(np.clip(sheet, 0, 1) * 255).astype(np.uint8)
    drawn = Image.fromarray(values[0] if channels == 1 else values.transpose(1, 2, 0))
    buffer = io.BytesIO()
    drawn.save(buffer, "PNG", optimize=True)
    png = base64.b64encode(buffer.getvalue()).decode("ascii")
    return {"png": png, "rows": len(rows), "columns": width, "labels": labels}
