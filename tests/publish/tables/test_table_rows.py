from __future__ import annotations

import gc
from pathlib import Path

import numpy as np
import pytest

from sfumato.data import Schema
from sfumato.privacy.budget import Budget
from sfumato.privacy.ledger import Ledger
from sfumato.privacy.noise import SeededSource
from sfumato.publish.tables import rows
from sfumato.publish.tables.independent import Independent
from sfumato.publish.tables.marginals import combine, total_stddev
from sfumato.publish.tables.mcgen import McGen
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


@pytest.mark.parametrize("method", [Independent(), McGen()])
def test_noise_alone_never_draws_millions_of_rows(
    schema: Schema, make_random, method: Independent | McGen
) -> None:
    """Of a hundred rows at a tiny budget, the noisy number is noise of a huge size."""
    run = method.calibrate(Budget(1e-5, 1e-9), schema)
    table, ledger, estimates = make_random(schema, 100, 0), Ledger.in_memory(), []
    for seed in range(4):
        release = run(table, ledger=ledger, source=SeededSource(seed))
        plan = release.card.plan
        estimates.append(plan["noisy_records"])
        assert len(release.data) == plan["rows"] == min(estimates[-1], rows.UNCLEAR_ROWS)
        assert ("rows_limited" in plan) == (estimates[-1] > rows.UNCLEAR_ROWS)
    assert max(estimates) > 10 * rows.UNCLEAR_ROWS


def test_rows_that_are_asked_for_or_clear_of_the_noise_are_drawn() -> None:
    assert rows.number_of(70_000, 5, 1e9)[0] == 70_000
    assert rows.number_of(None, 3_000_000, 700_000.0)[0] == 3_000_000
    number, notes = rows.number_of(None, 3_000_000, 800_000.0)
    assert number == notes["rows"] == rows.UNCLEAR_ROWS
    assert "below 4 standard deviations" in notes["rows_limited"]


def test_the_noise_of_the_number_of_records_is_as_stated() -> None:
    """The false alarm rate is below 1e-6: the spread of 20,000 draws is within 3 per cent."""
    rng, cells, classes = np.random.default_rng(0), [3, 40, 8], 5
    totals = [
        combine([rng.normal(0, 7.0, (count, classes)) for count in cells]).sum()
        for _ in range(20_000)
    ]
    assert np.std(totals) == pytest.approx(total_stddev(cells, classes, 49.0), rel=0.03)
