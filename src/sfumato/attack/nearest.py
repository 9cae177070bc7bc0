"""Exact nearest neighbours on public scales, in blocks that fit a processor's cache."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from sfumato.measure.features import Codes, Pixels

if TYPE_CHECKING:
    from sfumato.data.columns import Column

Nearest = tuple[NDArray[np.float32], NDArray[np.int64]]

_QUERIES, _REFERENCES = 64, 8192
_ABSENT = 2.0  # as a scaled value: at least 1 from every number, 0 from another absent one


def nearest_codes(
    queries: Codes,
    references: Codes,
    columns: Sequence[Column],
    leave_out: Sequence[int | None] = (None,),
) -> list[Nearest]:
    """The nearest reference of each query under Gower's distance.

    A level that differs counts 1; numbers and ranks count their difference as a share of the
    public range; missing against present counts 1. The distance is the mean over the columns.

    Args:
        queries: (q, d) codes.
        references: (r, d) codes, r >= 1.
        columns: The d columns.
        leave_out: One search for each entry, without that column (None: with all of them).

    Returns:
        For each search, (q,) distances and (q,) row numbers; of equally near references the
        first.

    Source: Gower, Biometrics 1971.
    """
    left, right = _layers(queries, columns), _layers(references, columns)
    levels = [j for j, column in enumerate(columns) if not column.ordered]
    numbers = [j for j, column in enumerate(columns) if column.ordered]
    holes = {j for j in numbers if columns[j].missing}
    counter: type[np.unsignedinteger[Any]] = np.uint8 if len(levels) < 256 else np.uint16

    def apart(j: int, a: slice, b: slice, out: NDArray[np.float32]) -> None:
        x, y = left[j][a, None], right[j][None, b]
        if j in levels:
            out[...] = x != y
            return
        np.subtract(x, y, out=out)
        np.abs(out, out=out)
        if j in holes:
            np.minimum(out, 1, out=out)

    def search(start: int) -> list[Nearest]:
        a = slice(start, min(start + _QUERIES, len(queries)))
        height = a.stop - a.start
        best = [np.full(height, np.inf, np.float32) for _ in leave_out]
        where = [np.zeros(height, np.int64) for _ in leave_out]
        rows = np.arange(height)
        for first in range(0, len(references), _REFERENCES):
            b = slice(first, min(first + _REFERENCES, len(references)))
            shape = (height, b.stop - b.start)
            differ, one = np.zeros(shape, counter), np.empty(shape, np.bool_)
            for j in levels:
                np.not_equal(left[j][a, None], right[j][None, b], out=one)
                np.add(differ, one, out=differ)
            total, part = differ.astype(np.float32), np.empty(shape, np.float32)
            for j in numbers:
                apart(j, a, b, part)
                np.add(total, part, out=total)
            for k, column in enumerate(leave_out):
                distance = total
                if column is not None:
                    apart(column, a, b, part)
                    distance = np.subtract(total, part, out=part)
                at = distance.argmin(axis=1)
                found = distance[rows, at]
                nearer = found < best[k]
                best[k][nearer] = found[nearer]
                where[k][nearer] = at[nearer] + first
        used = [len(columns) - (column is not None) for column in leave_out]
        return [
            (np.maximum(near / max(1, width), 0).astype(np.float32), at)
            for near, at, width in zip(best, where, used, strict=True)
        ]

    with ThreadPoolExecutor(max(1, min(4, os.cpu_count() or 1))) as pool:
        blocks = list(pool.map(search, range(0, len(queries), _QUERIES)))
    return [
        (
            np.concatenate([block[k][0] for block in blocks]),
            np.concatenate([b[k][1] for b in blocks]),
        )
        for k in range(len(leave_out))
    ]


def some_nearest_codes(
    queries: Codes, references: Codes, columns: Sequence[Column], k: int
) -> NDArray[np.int64]:
    """The ``k`` nearest references of each query under Gower's distance, in no order.

    Args:
        queries: (q, d) codes.
        references: (r, d) codes, r >= k.
        columns: The d columns.
        k: How many; which of those equally far the last place goes to is left open.

    Returns:
        (q, k) row numbers.
    """
    if k == 1:
        return nearest_codes(queries, references, columns)[0][1][:, None]
    far = distances_of(queries, references, columns)
    return np.concatenate([np.argpartition(part, k - 1, axis=1)[:, :k] for part in far])


def distances_of(
    queries: Codes, references: Codes, columns: Sequence[Column]
) -> Iterator[NDArray[np.float32]]:
    """Sums of the columns' differences from every reference, for 64 queries at a time.

    Args:
        queries: (q, d) codes.
        references: (r, d) codes.
        columns: The d columns; each differs by 0 to 1, as in :func:`nearest_codes`.

    Yields:
        (64, r) distances, fewer rows at the end.
    """
    left, right = _layers(queries, columns), _layers(references, columns)
    for start in range(0, len(queries), _QUERIES):
        a = slice(start, min(start + _QUERIES, len(queries)))
        total = np.zeros((a.stop - a.start, len(references)), np.float32)
        for j, column in enumerate(columns):
            x, y = left[j][a, None], right[j][None, :]
            if not column.ordered:
                total += x != y
                continue
            part = np.abs(np.subtract(x, y))
            total += np.minimum(part, 1) if column.missing else part
        yield total


def _layers(rows: Codes, columns: Sequence[Column]) -> list[NDArray[Any]]:
    """Each column as one contiguous array, numbers scaled to [0, 1]."""
    from sfumato.data.columns import narrowest

    layers: list[NDArray[Any]] = []
    for j, column in enumerate(columns):
        code = rows[:, j]
        if not column.ordered:
            layers.append(np.ascontiguousarray(code, dtype=narrowest(column.size)))
            continue
        scaled = code.astype(np.float32) / np.float32(max(1, column.cardinality - 1))
        scaled[code == column.cardinality] = _ABSENT
        layers.append(scaled)
    return layers


def nearest_pixels(queries: Pixels, references: Pixels) -> Nearest:
    """The nearest reference of each query under the root mean squared pixel difference.

    Args:
        queries: (q, p) values in [0, 1].
        references: (r, p) values in [0, 1], r >= 1.

    Returns:
        (q,) distances and (q,) row numbers; of equally near references the first.
    """
    centre = references[: 4 * _REFERENCES].mean(axis=0)  # small norms cancel less
    b = references - centre
    lengths = np.einsum("ij,ij->i", b, b)
    distances = np.empty(len(queries), np.float32)
    where = np.empty(len(queries), np.int64)
    for start in range(0, len(queries), 512):
        a = queries[start : start + 512] - centre
        best = np.full(len(a), np.inf, np.float32)
        at = np.zeros(len(a), np.int64)
        for first in range(0, len(b), _REFERENCES):
            part = lengths[first : first + _REFERENCES] - 2 * (a @ b[first : first + _REFERENCES].T)
            near = part.argmin(axis=1)
            found = part[np.arange(len(a)), near]
            nearer = found < best
            best[nearer], at[nearer] = found[nearer], near[nearer] + first
        where[start : start + len(a)] = at
        # The expansion above rounds; the distance itself is computed afresh.
        exact = queries[start : start + len(a)] - references[at]
        distances[start : start + len(a)] = np.sqrt(np.mean(exact * exact, axis=1))
    return distances, where
