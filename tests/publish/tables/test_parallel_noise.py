"""Rows perturbed by several threads: each batch under noise of its own."""

from __future__ import annotations

import threading

import numpy as np
import pytest

from sfumato.data import Categorical, Numeric, Schema, Table
from sfumato.privacy.budget import Budget
from sfumato.privacy.noise import SecureSource, SeededSource
from sfumato.publish.method import silent
from sfumato.publish.tables import adaptive as adaptive_module
from sfumato.publish.tables.adaptive import Adaptive, perturb

SCHEMA = Schema(
    (Numeric("x", 0, 9999, 1), Categorical("y", tuple(map(str, range(500))))), target="y"
)
ROWS, BATCHES = 400, 24


class Repeated:
    """The same batch of rows again and again: whatever differs in the release is noise."""

    def __init__(self) -> None:
        self.num_rows = ROWS * BATCHES
        self.schema = SCHEMA

    def codes_batches(self):
        for _ in range(BATCHES):
            yield {"x": np.full(ROWS, 5000), "y": np.full(ROWS, 7)}


class Watched(SecureSource):
    """Notes every word it hands out, and to which thread."""

    def __init__(self) -> None:
        super().__init__()
        self.words: list[bytes] = []
        self.threads: set[int] = set()

    def bytes(self, n):
        drawn = super().bytes(n)
        self.threads.add(threading.get_ident())
        self.words.extend(drawn[i : i + 8] for i in range(0, n - n % 8, 8))
        return drawn


class Copied(SecureSource):
    """A planted defect: every thread starts from the same bytes."""

    def __init__(self) -> None:
        super().__init__()
        self._own = threading.local()

    def bytes(self, n):
        if not hasattr(self._own, "source"):
            self._own.source = SeededSource(0)
        return self._own.source.bytes(n)


def batches_of(source, workers, monkeypatch) -> np.ndarray:
    monkeypatch.setattr(adaptive_module, "_workers", lambda _: workers)
    row = Adaptive().row(Budget(1.0), SCHEMA, np.ones(1))
    released = perturb(Repeated(), row, np.ones(1), source, silent)
    return released.codes()["x"].reshape(BATCHES, ROWS)


def repeats(batches: np.ndarray) -> int:
    """Pairs of batches with a run of ten equal numbers at any of the same places.

    Ten numbers on a grid of 10,000 under noise that covers it agree with probability below 1e-9
    (the ends of the range hold up to half of the mass each, so equal ends are not counted).
    """
    found = 0
    inner = (batches > 0) & (batches < 9999)
    for i in range(len(batches)):
        for j in range(i):
            both = inner[i] & inner[j]
            equal = (batches[i] == batches[j]) & both
            found += bool(both.sum() > 20 and equal.sum() > both.sum() / 2)
    return found


@pytest.mark.parametrize("workers", [1, 2, 4])
def test_no_two_batches_share_noise_and_no_word_is_drawn_twice(workers, monkeypatch):
    source = Watched()
    batches = batches_of(source, workers, monkeypatch)
    assert repeats(batches) == 0
    # Among 60,000 words of 64 bits two are equal with probability 1e-10.
    assert len(set(source.words)) == len(source.words) > ROWS * BATCHES
    assert len(source.threads) <= workers
    if workers == 1:
        assert source.threads == {threading.get_ident()}


def test_threads_that_start_from_the_same_bytes_are_caught(monkeypatch):
    started = threading.Barrier(2, timeout=20)
    seen: set[int] = set()

    class Together(Copied):
        def bytes(self, n):
            # Both threads draw, whatever the scheduler would have made of it.
            if threading.get_ident() not in seen and len(seen) < 2:
                seen.add(threading.get_ident())
                started.wait()
            return super().bytes(n)

    assert repeats(batches_of(Together(), 2, monkeypatch)) > 0


def test_a_seeded_source_gives_the_same_reports_every_time():
    table = Table.from_codes({"x": np.arange(9000) % 10_000, "y": np.arange(9000) % 500}, SCHEMA)
    row = Adaptive().row(Budget(1.0), SCHEMA, np.ones(1))
    one, two = (perturb(table, row, np.ones(1), SeededSource(3), silent) for _ in range(2))
    for name in SCHEMA.names:
        np.testing.assert_array_equal(one.codes()[name], two.codes()[name])
    assert adaptive_module._workers(SeededSource(3)) == 1
    assert adaptive_module._workers(SecureSource()) >= 1


def test_reports_stay_in_the_rows_order_under_threads(monkeypatch):
    monkeypatch.setattr(adaptive_module, "_workers", lambda _: 4)
    schema = Schema((Categorical("k", tuple(map(str, range(200)))), Numeric("x", 0, 1, 1)))
    keys = np.repeat(np.arange(200), 1000)
    table = Table.from_codes({"k": keys, "x": keys % 2}, schema)
    monkeypatch.setattr(Table, "codes_batches", lambda self: _small(self))
    row = Adaptive().row(Budget(60.0), schema, np.array([1.0, 1.0]))
    released = perturb(table, row, np.array([1.0, 1.0]), SecureSource(), silent)
    monkeypatch.undo()
    # At epsilon 30 a key is told wrongly once in 5e10 rows.
    np.testing.assert_array_equal(released.codes()["k"], keys)


def _small(table: Table):
    codes = table.codes()
    for start in range(0, len(table), 1000):
        yield {name: values[start : start + 1000] for name, values in codes.items()}
