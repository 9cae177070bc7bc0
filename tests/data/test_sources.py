from __future__ import annotations

import gzip

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from sfumato.data import Categorical, Numeric, Schema, Table
from sfumato.data import sources as sources_module
from sfumato.data.sources import file_source
from sfumato.data.subsets import Head, Subset, row_hashes, split_threshold
from sfumato.errors import InputError

SCHEMA = Schema((Numeric("age", 0, 90, 1, integer=True), Categorical("city", ("Köln", "Ulm"))))
ROWS = "age,city\n1,Köln\n2,Ulm\n"


def write(path, text, encoding="utf-8"):
    path.write_bytes(text.encode(encoding))
    return path


def ages(table):
    return table.codes()["age"].tolist()


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "latin-1", "cp1252", "utf-16"])
def test_csv_is_read_in_its_declared_encoding(tmp_path, encoding):
    path = write(tmp_path / "a.csv", ROWS, encoding)
    table = Table.open(path, SCHEMA, encoding=encoding)
    assert table.codes()["city"].tolist() == [0, 1]
    assert table.num_rows == 2


def test_a_byte_order_mark_is_no_part_of_the_first_name(tmp_path):
    assert ages(Table.open(write(tmp_path / "a.csv", ROWS, "utf-8-sig"), SCHEMA)) == [1, 2]


@pytest.mark.parametrize(
    "text", [ROWS, ROWS.replace("city", "cité"), ROWS.replace("Köln", "Koeln") + "3,Köln\n" * 9]
)
def test_wrong_encoding_names_the_file_and_advises(tmp_path, text):
    path = write(tmp_path / "a.csv", text, "latin-1")
    with pytest.raises(InputError, match=r"a\.csv is not utf-8.*encoding: latin-1") as error:
        Table.open(path, SCHEMA).validate(SCHEMA)
    assert "\n" not in str(error.value)


def test_utf16_read_as_utf8_is_a_wrong_encoding(tmp_path):
    path = write(tmp_path / "a.csv", ROWS, "utf-16-le")
    with pytest.raises(InputError, match="is not utf-8"):
        Table.open(path, SCHEMA)


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("", "is empty"),
        ("\n", "has no header"),
        ("age,city\n", "has no rows"),
        ("age,city", "has no rows"),
        ("age,city,age\n1,Ulm,2\n", "has the column 'age' twice"),
        ("age,city,\n1,Ulm,2\n", "a column without a name"),
        ("age\n1\n", "lacks column 'city'"),
        ("x,y\n1,2\n", "lacks columns 'age', 'city'"),
        (
            "age;city\n1;Ulm\n",
            "as one column, 'age;city'. Name its delimiter: delimiter: \";\"",
        ),
        ("age,city,pay\n1,Ulm,2\n", "has column 'pay', which the schema does not declare.*drop:"),
        ("age,city\n1,Ulm\n2\n", "line 3 has 1 values, the header names 2"),
        ("age,city\n1,Ulm,5\n", "line 2 has 3 values, the header names 2"),
        ('age,city\n1,"Ulm\n', "is no readable CSV|has 1 values|'Ulm"),
        ('"age,city\n1,Ulm\n', "is no readable CSV|lacks"),
    ],
)
def test_a_csv_that_cannot_be_used_is_refused(tmp_path, text, problem):
    path = write(tmp_path / "a.csv", text)
    with pytest.raises(InputError, match=problem) as error:
        Table.open(path, SCHEMA).validate(SCHEMA)
    assert "\n" not in str(error.value)


def test_values_may_hold_delimiters_quotes_and_line_ends(tmp_path):
    schema = Schema((Categorical("a", ('x, "y"', "two\nlines")), Numeric("b", 0, 9, 1)))
    path = write(tmp_path / "a.csv", 'a,b\n"x, ""y""",1\n"two\nlines",2\n')
    assert Table.open(path, schema).codes()["a"].tolist() == [0, 1]


def test_a_declared_delimiter_and_gzip_are_read(tmp_path):
    text = ROWS.replace(",", ";")
    (tmp_path / "a.csv.gz").write_bytes(gzip.compress(text.encode()))
    schema = Schema(SCHEMA.columns, delimiter=";")
    assert ages(Table.open(tmp_path / "a.csv.gz", schema)) == [1, 2]
    write(tmp_path / "b.csv.gz", "no gzip")
    with pytest.raises(InputError, match="no readable CSV"):
        Table.open(tmp_path / "b.csv.gz", schema)


def parquet(path, **columns):
    pq.write_table(pa.table(columns), path)
    return path


def test_a_truncated_parquet_is_refused(tmp_path):
    path = parquet(tmp_path / "a.parquet", age=list(range(90)), city=["Ulm"] * 90)
    whole = path.read_bytes()
    for length in (4, len(whole) // 2, len(whole) - 1):
        path.write_bytes(whole[:length])
        with pytest.raises(InputError, match=r"a\.parquet is not whole Parquet") as error:
            Table.open(path, SCHEMA)
        assert "\n" not in str(error.value)
    path.write_bytes(b"")
    with pytest.raises(InputError, match="is empty"):
        Table.open(path, SCHEMA)


def test_a_parquet_with_damaged_pages_is_refused(tmp_path):
    rng = np.random.default_rng(0)
    path = tmp_path / "a.parquet"
    table = pa.table({"age": rng.integers(0, 90, 5000), "city": ["Ulm"] * 5000})
    pq.write_table(table, path, compression="zstd")
    data = bytearray(path.read_bytes())
    data[20:400] = bytes(380)
    path.write_bytes(data)
    with pytest.raises(InputError, match="is not whole Parquet"):
        Table.open(path, SCHEMA).validate(SCHEMA)


def test_a_parquet_without_rows_or_with_double_names_is_refused(tmp_path):
    path = tmp_path / "a.parquet"
    pq.write_table(
        pa.table({"age": pa.array([], pa.int64()), "city": pa.array([], pa.string())}), path
    )
    with pytest.raises(InputError, match="has no rows"):
        Table.open(path, SCHEMA)
    pq.write_table(pa.Table.from_arrays([pa.array([1])] * 2, names=["age", "age"]), path)
    with pytest.raises(InputError, match="has the column 'age' twice"):
        Table.open(path, SCHEMA)


def test_files_of_a_folder_or_glob_are_read_in_order_of_name(tmp_path):
    parquet(tmp_path / "b.parquet", city=["Ulm"], age=[2])
    parquet(tmp_path / "a.parquet", age=[1], city=["Ulm"])
    for place in (tmp_path, tmp_path / "*.parquet"):
        table = Table.open(place, SCHEMA)
        assert (ages(table), table.num_rows) == ([1, 2], 2)


@pytest.mark.parametrize("kind", ["csv", "parquet"])
def test_files_with_different_columns_are_refused(tmp_path, kind):
    if kind == "csv":
        write(tmp_path / "a.csv", ROWS)
        write(tmp_path / "b.csv", ROWS.replace("city", "town"))
    else:
        parquet(tmp_path / "a.parquet", age=[1], city=["Ulm"])
        parquet(tmp_path / "b.parquet", age=[1], town=["Ulm"])
    with pytest.raises(InputError, match=r"have different (columns|headers)"):
        Table.open(tmp_path, SCHEMA)


def test_paths_that_name_no_table_are_refused(tmp_path):
    with pytest.raises(InputError, match="there is no file"):
        file_source(tmp_path / "none.csv", "utf-8", ",")
    with pytest.raises(InputError, match="there is no file"):
        file_source(tmp_path / "*.csv", "utf-8", ",")
    with pytest.raises(InputError, match=r"holds no \.csv or \.parquet"):
        file_source(tmp_path, "utf-8", ",")
    write(tmp_path / "a.txt", ROWS)
    with pytest.raises(InputError, match=r"a\.txt is not \.csv or \.parquet"):
        file_source(tmp_path / "a.txt", "utf-8", ",")


def test_row_hashes_are_the_same_everywhere_and_spread_evenly():
    assert row_hashes(0, 0, 2).tolist() == row_hashes(0, 0, 5).tolist()[:2]
    assert row_hashes(3, 7, 4).tolist() == row_hashes(3, 0, 11).tolist()[7:]
    assert row_hashes(1, 0, 4).tolist() != row_hashes(2, 0, 4).tolist()
    assert len(np.unique(row_hashes(0, 0, 100_000))) == 100_000

    # Each of 64 bits of 100,000 hashes is set half of the time: off by 6.5 standard deviations
    # with probability 64 * 8e-11 < 1e-8, were hashes random; the numbers themselves fail.
    def evenness(words):
        bits = (words[:, None] >> np.arange(64, dtype=np.uint64)) & np.uint64(1)
        return np.abs(bits.mean(axis=0) - 0.5).max() * 2 * np.sqrt(len(words))

    assert evenness(row_hashes(0, 0, 100_000)) < 6.5
    assert evenness(np.arange(100_000, dtype=np.uint64)) > 6.5


@pytest.mark.parametrize(("rows", "fraction"), [(2, 0.5), (10, 0.2), (1000, 0.3), (7, 0.9)])
def test_the_threshold_holds_out_exactly_the_fraction(rows, fraction):
    held_out = row_hashes(5, 0, rows) < np.uint64(split_threshold(5, rows, fraction))
    assert held_out.sum() == round(rows * fraction)


def test_very_large_tables_are_split_without_sorting_their_hashes():
    assert split_threshold(0, 10_000_001, 0.25) == 2**62


@pytest.mark.parametrize(
    ("rows", "fraction"), [(1, 0.5), (2, 0.1), (10, 0.99), (10, 0.0), (10, 1.0)]
)
def test_a_split_with_an_empty_part_is_refused(rows, fraction):
    with pytest.raises(InputError):
        split_threshold(0, rows, fraction)


def test_subset_and_head_keep_the_rows_they_say(tmp_path):
    path = parquet(tmp_path / "a.parquet", age=list(range(90)), city=["Ulm"] * 90)
    whole = file_source(path, "utf-8", ",")
    kept = Subset(whole, 1, split_threshold(1, 90, 0.5), below=True)
    rest = Subset(whole, 1, split_threshold(1, 90, 0.5), below=False)
    rows = [
        sorted(x for batch in part.batches(["age"], 7) for x in batch.column(0).to_pylist())
        for part in (kept, rest)
    ]
    assert sorted(rows[0] + rows[1]) == list(range(90))
    low = row_hashes(1, 0, 90) < np.uint64(split_threshold(1, 90, 0.5))
    assert rows[0] == np.flatnonzero(low).tolist()
    assert [len(part) for part in rows] == [kept.num_rows, rest.num_rows] == [45, 45]
    first = Head(kept, 10)
    assert first.num_rows == sum(b.num_rows for b in first.batches(["age"], 3)) == 10
    assert first.names == kept.names == ("age", "city")


def test_a_csv_row_longer_than_a_block_is_an_error_not_a_traceback(tmp_path, monkeypatch):
    path = write(tmp_path / "a.csv", "age,city\n1," + "x" * (6 << 20) + "\n")
    with pytest.raises(InputError):
        Table.open(path, SCHEMA).validate(SCHEMA)
    assert sources_module.ROWS == 65536


@pytest.mark.parametrize(
    ("second", "said"),
    [
        ("AGE,city\n1,Ulm\n", "the former lacks 'age'"),
        ("7,Ulm\n8,Ulm\n", "the former lacks 'age', 'city'"),  # a row, which is not named
        ("city,age\nUlm,1\n", "their order is not the same"),
        ("age,city,street\n1,Ulm,x\n", "the former has 3 columns, the latter 2"),
    ],
)
def test_files_whose_headers_differ_are_told_apart(tmp_path, second, said):
    write(tmp_path / "1.csv", ROWS)
    write(tmp_path / "2.csv", second)
    with pytest.raises(InputError, match=rf"2\.csv and .*1\.csv have .*: {said}\. Give all"):
        Table.open(tmp_path / "*.csv", SCHEMA)


def test_a_header_that_is_nearly_the_schemas_is_named(tmp_path):
    path = write(tmp_path / "a.csv", " Age ,city\n1,Ulm\n")
    with pytest.raises(InputError, match=r"lacks column 'age'\. It has column ' Age ': write"):
        Table.open(path, SCHEMA)


def test_a_row_that_duckdb_stumbles_over_is_not_shown(tmp_path):
    from sfumato.data.load import load_data

    path = write(tmp_path / "a.csv", ROWS + "44,Ulm,Schmidt\n")
    with pytest.raises(InputError, match="CSV Error on Line: 4") as told:
        load_data(path, schema=SCHEMA, engine="duckdb").validate(SCHEMA)
    assert "Schmidt" not in str(told.value)
