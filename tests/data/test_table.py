from __future__ import annotations

import resource

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from sfumato.data import (
    Axis,
    Categorical,
    ImageSchema,
    Numeric,
    Schema,
    Table,
    load_released,
    writing,
)
from sfumato.data import rows as rows_module
from sfumato.data.sources import ParquetSource
from sfumato.data.subsets import Head, Subset
from sfumato.errors import InputError

SCHEMA = Schema(
    (
        Numeric("age", 0, 90, 1, integer=True),
        Numeric("height", 0.5, 2.5, 0.01, missing=True),
        Categorical("city", ("Bonn", "Köln", "Ulm"), missing=True),
        Categorical("kids", ("0", "1", "2"), dtype="int64"),
        Categorical("ill", ("false", "true"), dtype="bool"),
    ),
    target="ill",
)


def frame(rows=400, seed=0):
    rng = np.random.default_rng(seed)
    return pd.DataFrame(
        {
            "age": rng.integers(0, 91, rows),
            "height": np.where(
                rng.random(rows) < 0.1, np.nan, rng.uniform(0.5, 2.5, rows).round(2)
            ),
            "city": rng.choice(["Bonn", "Köln", "Ulm", None], rows),
            "kids": rng.integers(0, 3, rows),
            "ill": rng.random(rows) < 0.3,
        }
    )


@pytest.fixture(params=["pandas", "arrow", "parquet", "csv", "codes", "large parquet", "large csv"])
def table(request, tmp_path, monkeypatch):
    """The same rows from every kind of source; "large" ones keep nothing in memory."""
    data = frame()
    if request.param.startswith("large"):
        monkeypatch.setattr(rows_module, "_KEPT_CELLS", 0)
    if request.param == "pandas":
        return Table.from_pandas(data, SCHEMA)
    if request.param == "arrow":
        return Table.from_arrow(pa.Table.from_pandas(data), SCHEMA)
    if request.param == "codes":
        return Table.from_codes(Table.from_pandas(data, SCHEMA).codes(), SCHEMA)
    if "parquet" in request.param:
        data.to_parquet(tmp_path / "a.parquet", row_group_size=150)
        return Table.open(tmp_path / "a.parquet", SCHEMA)
    data.to_csv(tmp_path / "a.csv", index=False)
    return Table.open(tmp_path / "a.csv", SCHEMA)


def expected_codes(data):
    return {
        "age": data["age"].to_numpy(),
        "height": np.where(
            data["height"].isna(), 201, (data["height"].fillna(1) - 0.5) * 100
        ).round(),
        "city": data["city"].map({"Bonn": 0, "Köln": 1, "Ulm": 2}).fillna(3).to_numpy(),
        "kids": data["kids"].to_numpy(),
        "ill": data["ill"].to_numpy().astype(int),
    }


def test_codes_are_the_same_from_every_source(table):
    codes = table.codes()
    assert list(codes) == list(SCHEMA.names)
    for name, values in expected_codes(frame()).items():
        assert codes[name].dtype == np.int64
        assert (codes[name] == values).all(), name
    assert table.num_rows == len(table) == 400
    assert list(table.codes(["city"])) == ["city"]


def test_batches_cover_all_rows_in_order(table):
    parts = list(table.codes_batches(rows=130))
    assert max(len(part["age"]) for part in parts) <= 130
    joined = np.concatenate([part["age"] for part in parts])
    assert (joined == frame()["age"]).all()
    assert sum(batch.num_rows for batch in table.batches(130)) == 400


def test_rows_come_back_in_the_input_types(table):
    data = table.to_pandas()
    pd.testing.assert_frame_equal(data.astype(frame().dtypes), frame())
    types = {field.name: str(field.type) for field in table.to_arrow().schema}
    assert types == {
        "age": "int64",
        "height": "double",
        "city": "string",
        "kids": "int64",
        "ill": "bool",
    }


def test_a_file_that_grows_too_large_is_told_as_the_system_tells_it(tmp_path):
    """What closes the file must not hide why it could not be written."""
    schema = Schema((Numeric("a", 0, 10**6, 1),))
    rng = np.random.default_rng(0)
    batches = ({"a": rng.integers(0, 10**6, writing.GROUP)} for _ in range(4))
    least, most = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1 << 20, most))
    try:
        with pytest.raises(OSError, match="File too large"):
            writing.write(tmp_path / "a.parquet", schema, batches)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (least, most))


def test_a_saved_table_is_read_back_the_same(table, tmp_path):
    table.save(tmp_path / "out")
    again = load_released(tmp_path / "out", "table")
    assert again.schema == SCHEMA
    for name, codes in table.codes().items():
        assert (again.codes()[name] == codes).all()
    metadata = pq.read_metadata(tmp_path / "out" / "data.parquet").metadata or {}
    assert b"pandas" not in metadata


def brute_force(data, axes):
    """Counts by a plain loop over rows."""
    codes, shape = expected_codes(data), tuple(axis.size(SCHEMA[axis.column]) for axis in axes)
    counts = np.zeros(shape, np.int64)
    for row in range(len(data)):
        place = []
        for axis in axes:
            column, code = SCHEMA[axis.column], int(codes[axis.column][row])
            if axis.bins and code < column.cardinality:
                edges = axis.edges(column)
                code = next(i for i in range(len(edges) - 1) if edges[i] <= code < edges[i + 1])
            elif axis.bins:
                code = axis.groups(column)
            place.append(code)
        counts[tuple(place)] += 1
    return counts


@pytest.mark.parametrize(
    "axes",
    [
        [Axis("city")],
        [Axis("age")],
        [Axis("height", 7)],
        [Axis("height", 7), Axis("city"), Axis("ill")],
        [Axis("age", 10), Axis("kids")],
        [Axis("age", 1000)],
    ],
    ids=str,
)
def test_counts_agree_with_a_loop_over_rows(table, axes):
    assert (table.counts(axes) == brute_force(frame(), axes)).all()


def test_many_counts_are_the_single_ones(table):
    lists = [["city", "ill"], [Axis("height", 5), "ill"], ["kids"]]
    for many, axes in zip(table.many_counts(lists), lists, strict=True):
        assert (many == table.counts(axes)).all()
        assert many.sum() == 400


def test_large_files_are_counted_in_one_pass_over_the_columns_asked_for(tmp_path, monkeypatch):
    frame().to_parquet(tmp_path / "a.parquet")
    monkeypatch.setattr(rows_module, "_KEPT_CELLS", 0)
    table, passes = Table.open(tmp_path / "a.parquet", SCHEMA), []
    read = ParquetSource.batches

    def noted(self, columns, *rest):
        passes.append(set(columns))
        return read(self, columns, *rest)

    monkeypatch.setattr(ParquetSource, "batches", noted)
    counted = table.many_counts([["city", Axis("height", 3)], ["city"], ["kids", "city"]])
    assert [table.sum() for table in counted] == [400] * 3
    assert passes == [{"city", "height", "kids"}]


POLICIES = {
    "error": Numeric("x", 0, 10, 1),
    "clamp": Numeric("x", 0, 10, 1, outside="clamp"),
    "clamp or missing": Numeric("x", 0, 10, 1, missing=True, outside="clamp"),
    "missing": Numeric("x", 0, 10, 1, missing=True, outside="missing"),
}


@pytest.mark.parametrize("policy", POLICIES)
@pytest.mark.parametrize(
    "values",
    [
        [1.0, 9.5, 4.5, 10.0],
        [1.0, 12.0, -3.0],
        [1.0, None],
        [1.0, float("nan")],
        [1.0, float("inf")],
        ["1", "+2.5", " 3 "],
        ["1", "old"],
        [1, 2, 3],
    ],
    ids=str,
)
def test_the_engine_and_the_stream_treat_values_outside_alike(
    tmp_path, monkeypatch, policy, values
):
    schema = Schema((POLICIES[policy],))
    pq.write_table(pa.table({"x": values}), tmp_path / "a.parquet")

    def counted():
        try:
            return Table.open(tmp_path / "a.parquet", schema).counts(["x"]).tolist()
        except InputError as error:
            return str(error)

    in_memory = counted()
    monkeypatch.setattr(rows_module, "_KEPT_CELLS", 0)
    assert counted() == in_memory


def test_the_engine_and_the_stream_treat_undeclared_levels_alike(tmp_path, monkeypatch):
    monkeypatch.setattr(rows_module, "_KEPT_CELLS", 0)
    pq.write_table(pa.table({"x": ["a", "b", "z", "?", None]}), tmp_path / "a.parquet")
    lenient = Categorical("x", ("a", "b"), missing=True, outside="missing")
    path = tmp_path / "a.parquet"
    assert Table.open(path, Schema((lenient,))).counts(["x"]).tolist() == [1, 1, 3]
    strict = Schema((Categorical("x", ("a", "b", "z"), missing=True),), na_values=("?",))
    assert Table.open(path, strict).counts(["x"]).tolist() == [1, 1, 1, 2]
    with pytest.raises(InputError, match="'z' in row 3"):
        Table.open(path, Schema((Categorical("x", ("a", "b"), missing=True),))).counts(["x"])


def test_axes_that_do_not_fit_are_refused():
    table = Table.from_pandas(frame(), SCHEMA)
    with pytest.raises(InputError, match="without axes"):
        table.counts([])
    with pytest.raises(InputError, match="no column 'agee'"):
        table.counts(["agee"])
    with pytest.raises(InputError, match="cannot be cut into 2 bins"):
        table.counts([Axis("city", 2)])
    with pytest.raises(InputError, match="0 bins"):
        table.counts([Axis("age", 0)])
    with pytest.raises(InputError, match="cells"):
        table.counts(["height"] * 4)


def test_an_axis_in_bins_covers_every_code_once():
    column = Numeric("x", 0, 10, 1, missing=True)
    for bins in range(1, 12):
        axis = Axis("x", bins)
        edges = axis.edges(column)
        index = axis.index(np.arange(column.size), column)
        assert (np.bincount(index[:-1]) == np.diff(edges)).all()
        assert index[-1] == axis.groups(column) == axis.size(column) - 1
        assert np.diff(edges).max() - np.diff(edges).min() <= 1


@pytest.mark.parametrize("large", [False, True])
@pytest.mark.parametrize("kind", ["csv", "parquet", "pandas"])
@pytest.mark.parametrize(
    ("column", "value", "problem"),
    [
        ("age", 91, "column 'age': 91 in row 301"),
        ("age", None, "column 'age': no value in row 301"),
        ("height", float("inf"), "column 'height': inf in row 301"),
        ("city", "Paris", "column 'city': 'Paris' in row 301"),
        ("kids", 3, "column 'kids': '?3'? in row 301"),
    ],
)
def test_validation_names_the_first_offending_value(
    tmp_path, monkeypatch, large, kind, column, value, problem
):
    if large:
        monkeypatch.setattr(rows_module, "_KEPT_CELLS", 0)
    data = frame()
    values = [*data[column].iloc[:300], value, *data[column].iloc[301:]]
    data[column] = pd.Series(values, dtype="Int64" if column in ("age", "kids") else None)
    if kind == "pandas":
        table = Table.from_pandas(data, SCHEMA)
    elif kind == "parquet":
        data.to_parquet(tmp_path / "a.parquet", row_group_size=90)
        table = Table.open(tmp_path / "a.parquet", SCHEMA)
    else:
        data.to_csv(tmp_path / "a.csv", index=False)
        table = Table.open(tmp_path / "a.csv", SCHEMA)
        problem = problem.replace("91", "'91'").replace("inf", "'inf'")
    with pytest.raises(InputError, match=problem) as error:
        table.validate(SCHEMA)
    assert "\n" not in str(error.value)


def test_a_row_number_counts_over_batches(tmp_path, monkeypatch):
    monkeypatch.setattr(rows_module, "_KEPT_CELLS", 0)
    column = Schema((Numeric("x", 0, 1, 1),))
    pq.write_table(pa.table({"x": [0] * 70_000 + [5]}), tmp_path / "a.parquet")
    with pytest.raises(InputError, match="5 in row 70001"):
        Table.open(tmp_path / "a.parquet", column).validate(column)


def test_validation_passes_whole_data_and_checks_the_public_facts(table):
    table.validate(SCHEMA)
    table.validate(SCHEMA.with_records(400).with_target("age"))
    with pytest.raises(InputError, match="declares 401 records, the table has 400"):
        table.validate(SCHEMA.with_records(401))
    with pytest.raises(InputError, match="opened under another schema"):
        table.validate(SCHEMA.select("age", "city"))
    with pytest.raises(InputError, match="against images' facts"):
        table.validate(ImageSchema(1, 2, 2, ("a",)))


def test_missing_tokens_of_csv_are_those_declared(tmp_path):
    def codes(text, column, na_values=None):
        (tmp_path / "a.csv").write_text(f"x,y\n{text},1\n")
        schema = Schema((column, Numeric("y", 0, 1, 1)), na_values=na_values)
        return Table.open(tmp_path / "a.csv", schema).codes()["x"].tolist()

    word = Categorical("x", ("a",), missing=True)
    assert codes("", word) == codes("NA", word) == codes('""', word) == [1]
    with pytest.raises(InputError, match=r"'\?' in row 1"):
        codes("?", word)
    assert codes("?", word, ("?",)) == [1]
    with pytest.raises(InputError, match="'NA' in row 1"):
        codes("NA", word, ("?",))
    namibia = Categorical("x", ("DE", "NA"), missing=True)
    assert codes("NA", namibia) == [1]
    number = Numeric("x", 0, 5, 1, missing=True)
    assert codes("?", number, ("?",)) == [6]


def test_texts_outside_csv_mean_missing_only_where_that_is_declared():
    arrow = pa.table({"x": ["NA", "a"]})
    column = Categorical("x", ("a",), missing=True)
    with pytest.raises(InputError, match="'NA' in row 1"):
        Table.from_arrow(arrow, Schema((column,))).codes()
    declared = Schema((column,), na_values=("NA",))
    assert Table.from_arrow(arrow, declared).codes()["x"].tolist() == [1, 0]


@pytest.mark.parametrize("fraction", [0.2, 0.5, 0.75])
def test_a_split_parts_the_rows_the_same_way_every_time(table, fraction):
    rest, held_out = table.split(fraction, seed=1)
    assert (rest.num_rows, held_out.num_rows) == (400 - 400 * fraction, 400 * fraction)
    both = pd.concat([rest.to_pandas(), held_out.to_pandas()])
    order = list(SCHEMA.names)
    whole = table.to_pandas().sort_values(order, ignore_index=True)
    assert both.sort_values(order, ignore_index=True).equals(whole)
    # The parts depend on seed and place alone, not on where the rows come from.
    again = Table.from_pandas(frame(), SCHEMA).split(fraction, seed=1)[1]
    assert (held_out.codes()["height"] == again.codes()["height"]).all()
    other = table.split(fraction, seed=2)[1]
    assert (other.codes()["height"] != held_out.codes()["height"]).any()


def test_splits_and_heads_of_files_stay_on_file(tmp_path):
    frame().to_parquet(tmp_path / "a.parquet")
    table = Table.open(tmp_path / "a.parquet", SCHEMA)
    rest, held_out = table.split(0.5, seed=0)
    assert isinstance(rest.source, Subset)
    twice = rest.split(0.5, seed=0)
    assert [part.num_rows for part in twice] == [100, 100]
    first = held_out.head(10)
    assert isinstance(first.source, Head)
    assert held_out.counts(["city"]).sum() == 200
    assert (first.codes()["age"] == held_out.codes()["age"][:10]).all()


def test_a_declared_number_of_records_does_not_outlive_a_split():
    table = Table.from_pandas(frame(), SCHEMA.with_records(400))
    rest, held_out = table.split(0.5, seed=0)
    assert rest.schema.records is held_out.schema.records is table.head(3).schema.records is None


def test_a_split_of_one_row_is_refused():
    with pytest.raises(InputError, match="too few"):
        Table.from_pandas(frame(1), SCHEMA).split(0.5, seed=0)


def test_heads_are_the_first_rows(table):
    assert (table.head(7).codes()["age"] == frame()["age"][:7]).all()
    assert table.head(10_000).num_rows == 400
    with pytest.raises(InputError, match="first 0 rows"):
        table.head(0)


def test_another_target_keeps_the_rows():
    table = Table.from_pandas(frame(), SCHEMA).with_target("age")
    assert table.schema.target == "age"
    assert table.num_rows == 400
    assert "target='age'" in repr(table)


@pytest.mark.parametrize(
    ("codes", "problem"),
    [
        ({"x": [0, 1]}, "lacks column 'y'|lack column 'y'"),
        ({"x": [0, 1], "y": [0], "z": [0]}, "column 'z'"),
        ({"x": [0, 1], "y": [0]}, "different lengths"),
        ({"x": [], "y": []}, "no row"),
        ({"x": [0.0, 1.0], "y": [0, 0]}, "no row of integers"),
        ({"x": [0, 3], "y": [0, 0]}, "codes of 'x' reach 0..3"),
        ({"x": [-1, 1], "y": [0, 0]}, "codes of 'x' reach -1..1"),
        ({"x": [[0, 1]], "y": [0]}, "no row of integers"),
    ],
)
def test_codes_that_do_not_fit_are_refused(codes, problem):
    schema = Schema((Categorical("x", ("a", "b"), missing=True), Categorical("y", ("c",))))
    with pytest.raises(InputError, match=problem):
        Table.from_codes({name: np.array(values) for name, values in codes.items()}, schema)


def test_codes_are_copied():
    codes = {"x": np.array([0, 1])}
    table = Table.from_codes(codes, Schema((Categorical("x", ("a", "b")),)))
    codes["x"][:] = 0
    assert table.codes()["x"].tolist() == [0, 1]
    table.codes()["x"][:] = 0
    assert table.codes()["x"].tolist() == [0, 1]


def test_frames_that_cannot_be_used_are_refused():
    with pytest.raises(InputError, match="has no rows"):
        Table.from_pandas(frame()[:0], SCHEMA)
    doubled = pd.concat([frame(), frame()[["age"]]], axis=1)
    with pytest.raises(InputError, match="has the column 'age' twice"):
        Table.from_pandas(doubled, SCHEMA)
    with pytest.raises(InputError, match="lacks column 'city'"):
        Table.from_pandas(frame().drop(columns="city"), SCHEMA)
    with pytest.raises(InputError, match="has column 'id'"):
        Table.from_pandas(frame().assign(id=1), SCHEMA)


def test_dropped_columns_are_left_out():
    schema = Schema(SCHEMA.columns, target="ill", drop=("id", "name"))
    table = Table.from_pandas(frame().assign(id=range(400)), schema)
    assert table.to_arrow().column_names == list(SCHEMA.names)


def test_columns_of_mixed_types_are_read_by_what_they_spell():
    schema = Schema((Categorical("x", ("1", "a"), missing=True), Numeric("y", 0, 9, 1)))
    data = pd.DataFrame({"x": ["a", 1, None], "y": [1, "2", 3.0]})
    assert Table.from_pandas(data, schema).codes()["x"].tolist() == [1, 0, 2]
    assert Table.from_pandas(data, schema).codes()["y"].tolist() == [1, 2, 3]


def test_categories_of_pandas_are_read_by_their_values():
    schema = Schema((Categorical("x", ("a", "b"), missing=True),))
    data = pd.DataFrame({"x": pd.Categorical(["b", None, "a"], categories=["b", "a"])})
    assert Table.from_pandas(data, schema).codes()["x"].tolist() == [1, 2, 0]
