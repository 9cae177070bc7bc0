from __future__ import annotations

import gc
from pathlib import Path

import numpy as np
import pytest

from sfumato.data import Schema
from sfumato.publish.tables.rows import Collector, released


@pytest.mark.parametrize("in_memory", [1 << 28, 1000, 0])
def test_gives_back_every_batch_in_order_wherever_rows_are_kept(
    schema: Schema, make_random, in_memory: int
) -> None:
    table = make_random(schema, 700, 1)
    collector = Collector(schema, in_memory=in_memory)
    for batch in table.codes_batches(100):
        collector.add(batch)
    collected = collector.table()
    collected.validate(released(schema))
    for name, codes in table.codes().items():
        np.testing.assert_array_equal(collected.codes()[name], codes)


def test_a_scratch_file_goes_with_its_table(schema: Schema, make_random) -> None:
    collector = Collector(schema, in_memory=0)
    collector.add(make_random(schema, 50, 1).codes())
    file = collector._file
    table = collector.table()
    assert file.exists()
    assert len(table) == 50
    del table, collector
    gc.collect()
    assert not file.exists()


def test_a_large_table_is_saved_from_its_scratch_file(
    schema: Schema, make_random, tmp_path: Path
) -> None:
    collector = Collector(schema, in_memory=0)
    codes = make_random(schema, 300, 2).codes()
    collector.add(codes)
    collector.table().save(tmp_path / "out")
    from sfumato.data import load_released

    again = load_released(tmp_path / "out", "table").codes()
    for name in schema.names:
        np.testing.assert_array_equal(again[name], codes[name])


def test_released_facts_carry_nothing_of_the_private_file(schema: Schema) -> None:
    from dataclasses import replace

    private = replace(schema.with_records(10), drop=("name",), na_values=("?",), delimiter=";")
    facts = released(private)
    assert (facts.records, facts.drop, facts.na_values, facts.delimiter) == (None, (), None, ",")
    assert facts.columns == schema.columns
