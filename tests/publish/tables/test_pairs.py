from __future__ import annotations

import numpy as np
import pytest

from sfumato.data import Table
from sfumato.publish.tables import pairs as module
from sfumato.publish.tables.bins import Cells
from sfumato.publish.tables.groups import Groups
from sfumato.publish.tables.pairs import Pairs


def pairs_of(schema, target: str | None) -> Pairs:
    facts = schema.with_target(target)
    features = tuple(Groups.fine(Cells.of(c, 4, "refined", 2)) for c in facts.features)
    return Pairs(features, None if target is None else Cells.of(facts[target], 4, "equal"))


@pytest.mark.parametrize("target", ["sick", "age", None])
def test_tables_are_those_of_a_slow_count(schema, make_random, target: str | None) -> None:
    table = make_random(schema.with_target(target), 300, 0)
    pairs = pairs_of(schema, target)
    codes = table.codes()
    for (i, j), counts in pairs.count(table, pairs.all()):
        slow = np.zeros_like(counts)
        first, second = (pairs.features[k] for k in (i, j))
        for row in range(300):
            at = [g.place(codes[g.cells.column.name][[row]])[0] for g in (first, second)]
            label = 0 if target is None else pairs.target.place(codes[target][[row]])[0]
            slow[at[0], at[1], label] += 1
        np.testing.assert_array_equal(counts, slow)


def test_batches_and_parts_change_nothing(schema, make_random, monkeypatch, tmp_path) -> None:
    table = make_random(schema, 500, 0)
    pairs = pairs_of(schema, "sick")
    whole = dict(pairs.count(table, pairs.all()))
    passes = []
    batches = Table.codes_batches

    def small(self, rows: int = 7, columns=None):
        passes.append(columns)
        yield from batches(self, 7, columns)

    monkeypatch.setattr(Table, "codes_batches", small)
    monkeypatch.setattr(module, "_HELD", 500)
    parted = dict(pairs.count(table, pairs.all()))
    assert len(passes) > 1
    assert whole.keys() == parted.keys()
    for pair, counts in whole.items():
        np.testing.assert_array_equal(counts, parted[pair])


def test_all_pairs_are_counted_in_one_pass(schema, make_random, monkeypatch) -> None:
    table = make_random(schema, 50, 0)
    pairs = pairs_of(schema, "sick")
    passes = []
    batches = Table.codes_batches

    def counting(self, *args, **named):
        passes.append(named)
        return batches(self, *args, **named)

    monkeypatch.setattr(Table, "codes_batches", counting)
    assert len(list(pairs.count(table, pairs.all()))) == 10
    assert len(passes) == 1
