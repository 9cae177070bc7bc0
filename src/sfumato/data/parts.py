"""Parts of a table: held out from rows without an order, and samples that fit in memory."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from sfumato.data import subsets
from sfumato.data.columns import narrowest
from sfumato.data.engine import EngineSource
from sfumato.errors import InputError

if TYPE_CHECKING:
    from collections.abc import Iterable

    from sfumato.data.schema import Schema
    from sfumato.data.sources import Source

Codes = dict[str, NDArray[Any]]


def held_out(
    source: EngineSource, fraction: float, seed: subsets.Seed
) -> tuple[EngineSource, EngineSource]:
    """The rest and the held-out part of rows that have no place, by a hash of their values.

    Raises:
        InputError: If the fraction is no share, or equal rows, which stay together, make a part
            less than half or more than one and a half times what was asked for.
    """
    if not 0 < fraction < 1:
        raise InputError(f"the held-out fraction is {fraction!r}", "Give a number between 0 and 1.")
    rest, held = source.part(seed, fraction, 1.0), source.part(seed, 0.0, fraction)
    total = source.num_rows
    for part, share in ((rest, 1 - fraction), (held, fraction)):
        if not share / 2 < part.num_rows / total < 1.5 * share:
            raise InputError(
                f"holding out {fraction:g} of {total} rows of {source.name} by their values gives "
                f"{held.num_rows}",
                "Its rows are too few or too much alike. Give --holdout another table, or 0.",
            )
    return rest, held


def gathered(batches: Iterable[Codes], schema: Schema, picked: NDArray[np.int64] | None) -> Codes:
    """Rows with these numbers, or all, in their narrowest type.

    Args:
        batches: Codes, batch by batch.
        schema: Of the rows.
        picked: Row numbers in rising order; None takes all.
    """
    names = schema.names
    kept: dict[str, list[NDArray[Any]]] = {name: [] for name in names}
    start = 0
    for codes in batches:
        height = len(codes[names[0]])
        here: Any = slice(None)
        if picked is not None:
            first, last = np.searchsorted(picked, [start, start + height])
            here = picked[first:last] - start
        for name, parts in kept.items():
            parts.append(codes[name][here].astype(narrowest(schema[name].size)))
        start += height
    return {name: np.concatenate(parts) for name, parts in kept.items() if parts}


def halves(
    source: Source | None,
    codes: Codes | None,
    total: int,
    fraction: float,
    seed: subsets.Seed,
) -> tuple[tuple[Source | None, Codes | None], tuple[Source | None, Codes | None]]:
    """The rest and the held-out rows of a table in order, by a hash of their number.

    Args:
        source: The rows, if codes are not known.
        codes: Of all rows, if they are.
        total: How many rows there are.
        fraction: Of the rows to hold out, in (0, 1).
        seed: Of the hash; see :func:`sfumato.data.subsets.split_threshold`.

    Raises:
        InputError: If a part would be empty.
    """
    threshold = subsets.split_threshold(seed, total, fraction)
    if codes is not None:
        low = subsets.row_hashes(seed, 0, total) < np.uint64(threshold)
        rest, held = ({n: c[k] for n, c in codes.items()} for k in (~low, low))
        return (None, rest), (None, held)
    assert source is not None
    rest_of, held_of = (subsets.Subset(source, seed, threshold, below) for below in (False, True))
    return (rest_of, None), (held_of, None)
