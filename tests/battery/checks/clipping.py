"""Clipping is per record: nobody else's row, and no batch, has a say in it."""

from __future__ import annotations

from typing import Any

import numpy as np

from battery.check import check
from battery.data import Batched
from battery.recorder import REPORTS, Draw, Recorder
from battery.row import Array, MethodRow, Row
from sfumato.privacy.noise import SeededSource
from sfumato.publish.method import silent


@check("reports", "stretch")
def check_other_records_unmoved(row: Row) -> None:
    """One record taken to its extreme changes no other record's report, the noise being equal."""
    made = row.make(row.budget)
    before = row.reports(made, row.records, SeededSource(11))
    for i in (0, len(row.records) // 2, len(row.records) - 1):
        after = row.reports(made, row.stretch(row.records, i), SeededSource(11))
        others = np.arange(len(before)) != i
        assert np.array_equal(before[others], after[others]), f"record {i} changed others' reports"


@check("norms")
def check_norms(row: Row) -> None:
    """No record of any size contributes more than the declared bound."""
    norms, bound = row.norms(row.make(row.budget))
    # Released numbers are differences of floats: a few last digits are theirs.
    assert norms.max() <= bound * (1 + 1e-9), f"a contribution of {norms.max()} exceeds {bound}"
    assert norms.max() >= 0.99 * bound, "the bound is never reached: this test proves nothing"


@check(methods=True)
def check_batch_size(row: MethodRow) -> None:
    """What mechanisms are given does not depend on how records are batched."""
    made, private = row.make(row.budget), row.data(3)
    whole, split = (_given(made, Batched(private, rows)) for rows in (10**6, 7))
    assert len(whole) == len(split), "the number of draws depends on the size of batches"
    for one, other in zip(whole, split, strict=True):
        assert one.shape == other.shape
        assert np.allclose(one, other, rtol=1e-6, atol=1e-6)


def _given(made: Any, private: Any) -> list[Array]:
    """The values of each sum, and of each report over all batches."""
    with Recorder() as recorder:
        made.run(private, SeededSource(5), silent)
    sums: list[Array] = []
    reports: dict[int, list[Draw]] = {}
    for draw in recorder.draws:
        if type(draw.mechanism).__name__ in REPORTS:
            reports.setdefault(id(draw.mechanism), []).append(draw)
        else:
            sums.append(draw.values)
    return sums + [np.concatenate([d.values for d in draws]) for draws in reports.values()]
