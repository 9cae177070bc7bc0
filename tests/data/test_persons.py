"""Whose rows are whose: bounding is uniform and blind, and nobody is on two sides."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest

from sfumato.data import Categorical, Numeric, Schema, Table, persons, sources, subsets
from sfumato.errors import InputError

ALPHA = 1e-6
SCHEMA = Schema(
    (Numeric("value", 0, 999, 1, integer=True), Categorical("kind", ("a", "b"))), unit="who"
)


def frame(rows: int, people: int, seed: int = 0) -> pd.DataFrame:
    """Rows of people, sorted by value: whatever prefers the first rows prefers small values."""
    rng = np.random.default_rng(seed)
    return pd.DataFrame(
        {
            "who": [f"person {i}" for i in rng.integers(people, size=rows)],
            "value": np.sort(rng.integers(1000, size=rows)),
            "kind": np.array(["a", "b"])[rng.integers(2, size=rows)],
        }
    )


def table(data: pd.DataFrame, rows_per_unit: int = 1) -> Table:
    return Table.from_pandas(data, SCHEMA.with_unit("who", rows_per_unit))


def owners(of: Table) -> list[str]:
    assert of.source is not None
    return [name for batch in persons.ids(of.source, "who") for name in batch.to_pylist()]


def check_bound(data: pd.DataFrame, rows: int) -> Table:
    """At most ``rows`` of each, all of those who have no more, and values that fit their rows."""
    kept = table(data, rows).bound(bytes(32))
    wanted = {name: min(rows, n) for name, n in Counter(data["who"]).items()}
    assert Counter(owners(kept)) == wanted
    assert kept.num_rows == sum(wanted.values())
    pairs = set(zip(data["who"], data["value"], strict=True))
    values = kept.to_pandas()["value"]
    assert set(zip(owners(kept), values, strict=True)) <= pairs
    return kept


@pytest.mark.parametrize("rows", [1, 2, 5, 1000])
def test_at_most_so_many_rows_of_each_person_are_kept(rows: int) -> None:
    check_bound(frame(3000, 400), rows)


def check_choice_is_blind(bound: Any, people: int = 40, keys: int = 10) -> None:
    """Which of ten rows is kept, counted over people and keys: uniform, though they are sorted.

    A chi-squared test with a false-alarm rate of ALPHA.
    """
    from scipy.stats import chisquare

    names = np.repeat([f"x{i}" for i in range(people)], 10)
    kinds = ["a"] * 5 + ["b"] * 5
    data = pd.DataFrame({"who": names, "value": [*range(10)] * people, "kind": kinds * people})
    source = sources.ArrowSource(pa.Table.from_pandas(data, preserve_index=False))
    found: Counter[int] = Counter()
    for key in range(keys):
        kept = np.flatnonzero(bound(source, "who", 1, key.to_bytes(32, "big")).mask(0, len(data)))
        assert (kept // 10).tolist() == list(range(people))
        found.update((kept % 10).tolist())
    assert chisquare([found[i] for i in range(10)]).pvalue > ALPHA


def test_which_rows_are_kept_does_not_depend_on_their_values_or_place() -> None:
    check_choice_is_blind(persons.bound)


def test_keeping_the_first_rows_of_a_sorted_file_is_caught(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def by_place(key: bytes, start: int, count: int) -> Any:
        return np.arange(start, start + count, dtype=np.uint64)

    monkeypatch.setattr(persons, "priorities", by_place)
    with pytest.raises(AssertionError):
        check_choice_is_blind(persons.bound)


def test_priorities_do_not_depend_on_how_rows_are_batched() -> None:
    key = b"k" * 32
    whole = persons.priorities(key, 0, 200_000)
    parts = [persons.priorities(key, start, 50_000) for start in range(0, 200_000, 50_000)]
    np.testing.assert_array_equal(whole, np.concatenate(parts))
    assert len(set(whole.tolist())) == len(whole)
    assert not np.array_equal(whole[:10], persons.priorities(b"l" * 32, 0, 10))


def test_one_person_more_leaves_everybody_elses_rows_alone() -> None:
    data = frame(500, 80)
    more = pd.concat([data, pd.DataFrame({"who": ["new"] * 9, "value": [5] * 9, "kind": "a"})])
    before, after = (table(d, 2).bound(bytes(32)) for d in (data, more))
    frames = [
        t.to_pandas().assign(who=owners(t)).sort_values(["who", "value", "kind"])
        for t in (before, after)
    ]
    others = frames[1][frames[1]["who"] != "new"]
    pd.testing.assert_frame_equal(frames[0].reset_index(drop=True), others.reset_index(drop=True))
    assert len(frames[1]) - len(others) == 2


def check_parts_share_nobody(data: pd.DataFrame) -> None:
    rest, held_out = table(data).split(0.3, 0)
    assert rest.num_rows + held_out.num_rows == len(data)
    assert not set(owners(rest)) & set(owners(held_out))
    assert rest.shared_persons(held_out) == 0


def test_persons_are_parted_not_rows() -> None:
    check_parts_share_nobody(frame(2000, 150))


def test_a_split_by_row_is_caught(monkeypatch: pytest.MonkeyPatch) -> None:
    def by_row(source: Any, unit: str, seed: int, fraction: float) -> Any:
        low = subsets.row_hashes(seed, 0, source.num_rows) < np.uint64(fraction * 2**64)
        return persons.Kept.of(source, ~low), persons.Kept.of(source, low)

    monkeypatch.setattr(persons, "held_out", by_row)
    with pytest.raises(AssertionError):
        check_parts_share_nobody(frame(2000, 150))


def test_one_person_more_moves_nobody_to_the_other_side() -> None:
    data = frame(2000, 150)
    more = pd.concat([pd.DataFrame({"who": ["new"], "value": [5], "kind": ["a"]}), data])
    sides = [set(owners(table(d).split(0.3, 4)[1])) - {"new"} for d in (data, more)]
    assert sides[0] == sides[1]


def test_persons_in_two_tables_are_counted() -> None:
    data = frame(300, 40)
    first, second = table(data.iloc[:200]), table(data.iloc[200:])
    both = set(data["who"].iloc[:200]) & set(data["who"].iloc[200:])
    assert first.shared_persons(second) == len(both) > 0


@pytest.mark.parametrize("nobody", ["", "  ", "NA", None, float("nan")])
def test_a_row_of_nobody_is_named(nobody: Any) -> None:
    data = frame(50, 5).astype({"who": object})
    data.loc[7, "who"] = nobody
    with pytest.raises(InputError, match="row 8"):
        table(data).bound(bytes(32))


@pytest.mark.parametrize(
    "ids",
    [
        pa.array([1, 1, 2]),
        pa.array([1.0, 1.0, 2.0]),
        pa.array(["1", " 1 ", "2"]),
        pa.array(["1", "1", "2"]).dictionary_encode(),
        pa.array(["1", "1", "2"], pa.large_string()),
    ],
    ids=["int", "float", "blanks", "dictionary", "large"],
)
def test_ids_of_every_type_name_persons(ids: pa.Array) -> None:
    rows = pa.table({"who": ids, "value": [1, 2, 3], "kind": ["a", "b", "a"]})
    assert Table.from_arrow(rows, SCHEMA).bound(bytes(32)).num_rows == 2


@pytest.mark.parametrize("kind", ["csv", "parquet"])
def test_files_are_bounded_as_a_stream(kind: str, tmp_path: Path) -> None:
    data, file = frame(70_000, 900), tmp_path / f"d.{kind}"
    if kind == "csv":
        data.to_csv(file, index=False)
    else:
        data.to_parquet(file)
    opened = Table.open(file, SCHEMA.with_unit("who", 3))
    kept = opened.bound(b"k" * 32)
    assert kept.num_rows == sum(min(3, n) for n in Counter(data["who"]).values())
    small = table(data, 3).bound(b"k" * 32)
    pd.testing.assert_frame_equal(kept.to_pandas(), small.to_pandas())


def test_codes_that_are_known_are_kept_with_their_rows() -> None:
    data = frame(500, 80)
    read, unread = table(data, 2), table(data, 2)
    read.codes()  # keeps them
    pd.testing.assert_frame_equal(
        read.bound(bytes(32)).to_pandas(), unread.bound(bytes(32)).to_pandas()
    )


def test_the_unit_is_in_no_row_that_leaves(tmp_path: Path) -> None:
    kept = table(frame(100, 20)).bound(bytes(32))
    assert kept.to_arrow().column_names == ["value", "kind"]
    kept.save(tmp_path)
    assert "who" not in (tmp_path / "schema.yaml").read_text()
    assert Table.open(tmp_path / "data.parquet", Schema.load(tmp_path / "schema.yaml")).num_rows


def test_a_schema_keeps_its_unit_in_yaml() -> None:
    for schema in (SCHEMA, SCHEMA.with_unit("who", 4)):
        assert Schema.from_yaml(schema.to_yaml()) == schema


@pytest.mark.parametrize(
    ("change", "problem"),
    [
        ({"unit": "value"}, "the unit, which is never released"),
        ({"unit": None, "rows_per_unit": 2}, "no unit is named"),
        ({"rows_per_unit": 0}, "rows_per_unit is 0"),
        ({"unit": ""}, "unit is ''"),
        ({"drop": ("who",)}, "the unit"),
    ],
)
def test_a_unit_that_cannot_be_is_refused(change: dict[str, Any], problem: str) -> None:
    from dataclasses import replace

    with pytest.raises(InputError, match=problem):
        replace(SCHEMA, **change)


def test_a_unit_is_taken_out_of_the_columns_but_is_no_target() -> None:
    schema = Schema((Categorical("who", ("x",)), *SCHEMA.columns), target="kind")
    assert schema.with_unit("who").names == ("value", "kind")
    with pytest.raises(InputError, match="is the target"):
        schema.with_unit("kind")
    assert SCHEMA.without_unit().drop == ("who",)


def test_codes_without_persons_are_refused() -> None:
    with pytest.raises(InputError, match="whom a row is of"):
        Table.from_codes({"value": np.array([1]), "kind": np.array([0])}, SCHEMA)


def test_a_sample_of_rows_is_of_nobody() -> None:
    some = table(frame(500, 80), 2).bound(bytes(32)).sample(40, 0)
    assert some.num_rows == 40
    assert some.schema.unit is None


def test_persons_have_numbers_across_batches() -> None:
    """Equal ids have one number wherever they stand, other ids another."""
    names = [f" p{k % 7}" if k < 5000 else f"p{k % 11}" for k in range(10_000)]
    source = persons.Kept.of(
        sources.ArrowSource(
            pa.concat_tables([pa.table({"who": names[:4000]}), pa.table({"who": names[4000:]})])
        ),
        np.arange(10_000) % 3 > 0,
    )
    found = persons.numbers(source, "who")
    kept = [name.strip() for k, name in enumerate(names) if k % 3]
    pairs = set(zip(kept, found.tolist(), strict=True))
    assert len(pairs) == len(set(kept)) == len(set(found.tolist())) == 11


def test_a_person_whose_number_has_gaps_beside_it_in_one_file_is_one_person(tmp_path: Path) -> None:
    """pandas writes whole numbers as 7.0 where some are missing; that is no second person."""
    for name, who in (("1.csv", ["7", "8"]), ("2.csv", ["7.0", "80"])):
        rows = pd.DataFrame({"who": who, "value": [1, 2], "kind": ["a", "b"]})
        rows.to_csv(tmp_path / name, index=False)
    kept = Table.open(tmp_path / "*.csv", SCHEMA).bound(bytes(32))
    assert sorted(owners(kept)) == ["7", "8", "80"]


def test_ids_are_single_values() -> None:
    rows = pa.table({"who": pa.array([{"a": 1}]), "value": [1], "kind": ["a"]})
    with pytest.raises(InputError, match=r"column 'who' holds struct.*not ids"):
        Table.from_arrow(rows, SCHEMA).bound(bytes(32))
