"""Tables as people have them: each is read right, or refused in words that help.

One row a case: what the file holds, what the schema says, and what comes of it: the values that are
read, or words of the error and of its advice.
"""

from __future__ import annotations

import datetime
import gzip
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from sfumato.data import Categorical, Date, Numeric, Reading, Schema, Table
from sfumato.errors import InputError

NAN = float("nan")
DAY = datetime.date.fromisoformat


def number(name: str = "x", **more: Any) -> Numeric:
    facts: dict[str, Any] = {"lower": -2_000_000, "upper": 2_000_000, "granularity": 0.01}
    return Numeric(name, **{**facts, **more})


def whole(name: str = "x", **more: Any) -> Numeric:
    return number(name, **{"granularity": 1, "integer": True, **more})


def levels(name: str, *names: str, **more: Any) -> Categorical:
    return Categorical(name, names, **more)


def truth(name: str = "x", **more: Any) -> Categorical:
    return Categorical(name, ("false", "true"), dtype="bool", **more)


def reads(column: Any, **how: Any) -> Any:
    from dataclasses import replace

    return replace(column, reading=Reading(**how))


@dataclass(frozen=True)
class Case:
    """One file and what becomes of it.

    Args:
        name: What is messy.
        content: The file.
        columns: The declared columns.
        read: Values of each column, in order; None if the file is refused.
        refused: Words of the error.
        advice: Words of its remedy.
        schema: Other facts.
        suffix: Of the file.
    """

    name: str
    content: bytes
    columns: tuple[Any, ...]
    read: tuple[list[Any], ...] | None = None
    refused: str = ""
    advice: str = ""
    schema: dict[str, Any] = field(default_factory=dict)
    suffix: str = "csv"

    def __str__(self) -> str:
        return self.name


def text(*lines: str, encoding: str = "utf-8", end: str = "\n") -> bytes:
    return "".join(line + end for line in lines).encode(encoding)


TOWN = levels("x", "Köln", "Ulm")
EURO = dict(decimal=",", thousands=".", strip="€%")  # noqa: C408
CASES = (
    # -- encodings and lines
    Case("a byte order mark", b"\xef\xbb\xbf" + text("x", "1"), (whole(),), ([1],)),
    Case(
        "latin-1",
        text("x", "Köln", "Ulm", encoding="latin-1"),
        (TOWN,),
        (["Köln", "Ulm"],),
        schema={"encoding": "latin-1"},
    ),
    Case(
        "cp1252 with its euro sign",
        text("x", "12 €", encoding="cp1252"),
        (reads(whole(), strip="€"),),
        ([12],),
        schema={"encoding": "cp1252"},
    ),
    Case(
        "utf-16 with its mark",
        text("x", "Köln", encoding="utf-16"),
        (TOWN,),
        (["Köln"],),
        schema={"encoding": "utf-16"},
    ),
    Case(
        "latin-1 that is declared utf-8",
        text("x", "Köln", encoding="latin-1"),
        (TOWN,),
        refused="is not utf-8",
        advice="encoding: latin-1",
    ),
    Case(
        "utf-16 that is declared utf-8",
        text("x", "Ulm", encoding="utf-16"),
        (TOWN,),
        refused="is not utf-8",
        advice="utf-16",
    ),
    Case("windows line ends", text("x,y", "1,2", end="\r\n"), (whole("x"), whole("y")), ([1], [2])),
    Case("no line end at the end", b"x\n1\n2", (whole(),), ([1, 2],)),
    Case(
        "quoted newlines, commas and quotes",
        b'x,y\n"a\nb, ""c""",1\n',
        (levels("x", 'a\nb, "c"'), whole("y")),
        (['a\nb, "c"'], [1]),
    ),
    Case(
        "a delimiter at the end of every line",
        text("x,y,", "1,2,"),
        (whole("x"), whole("y")),
        refused="a column without a name",
        advice="Name every column",
    ),
    Case(
        "a delimiter at the end of the rows alone",
        text("x,y", "1,2,"),
        (whole("x"), whole("y")),
        refused="line 2 has 3 values, the header names 2",
    ),
    Case(
        "semicolons and decimal commas",
        text("x;y", "1,5;a"),
        (reads(number(), decimal=","), levels("y", "a")),
        ([1.5], ["a"]),
        schema={"delimiter": ";"},
    ),
    Case(
        "tabs in a compressed file",
        gzip.compress(text("x\ty", "1\ta")),
        (whole(), levels("y", "a")),
        ([1], ["a"]),
        schema={"delimiter": "\t"},
        suffix="csv.gz",
    ),
    # -- headers
    Case("a column twice", text("x,x", "1,2"), (whole(),), refused="'x' twice", advice="Rename"),
    Case(
        "names with odd characters",
        text('"größe, in ""cm"" (%)",$y.z/1', "1,2"),
        (whole('größe, in "cm" (%)'), whole("$y.z/1")),
        ([1], [2]),
    ),
    Case(
        "a column that nobody declared",
        text("x,y", "1,2"),
        (whole(),),
        refused="'y', which the schema does not declare",
        advice="drop:",
    ),
    Case(
        "columns in another order",
        text("y,x", "1,2"),
        (whole("x"), whole("y")),
        ([2], [1]),
    ),
    Case("an empty file", b"", (whole(),), refused="is empty"),
    Case("zero rows", text("x"), (whole(),), refused="no rows", advice="with rows"),
    Case("one row", text("x", "1"), (whole(),), ([1],)),
    # -- numbers
    Case(
        "thousands separators",
        text("x", '"1,234.5"', '"-1,234,567"', "12"),
        (reads(number(), thousands=","),),
        ([1234.5, -1234567.0, 12.0],),
    ),
    Case(
        "thousands separators nobody declared",
        text("x", '"1,234"'),
        (number(),),
        refused="'1,234' in row 1 is not a number",
    ),
    Case(
        "separators at the wrong place",
        text("x", '"12,34"'),
        (reads(number(), thousands=","),),
        refused="'12,34",
    ),
    Case(
        "blanks between thousands",
        text("x", '"1 234,5"', "1\u00a0234", "1\u202f234"),
        (reads(number(), thousands=" ", decimal=","),),
        ([1234.5, 1234.0, 1234.0],),
    ),
    Case(
        "a decimal point where commas are declared",
        text("x", "1.5"),
        (reads(number(), decimal=","),),
        refused="'1.5",
    ),
    Case(
        "percent and currency signs",
        text("x", '"1.234,50 €"', '"€ 3"', '"-12,5 %"', '"- 7"'),
        (reads(number(), **EURO),),
        ([1234.5, 3.0, -12.5, -7.0],),
    ),
    Case("signs nobody declared", text("x", "$5"), (number(),), refused="'\\$5' in row 1 is not"),
    Case("infinity", text("x", "1", "inf"), (number(),), refused="'inf' in row 2"),
    Case("infinity, clamped", text("x", "-Inf"), (number(outside="clamp"),), ([-2_000_000.0],)),
    Case("NaN", text("x", "NaN"), (number(),), refused="NaN in row 1", advice="missing: true"),
    Case(
        "NaN and nothing, as missing",
        text("x,y", "nan,1", ",2"),
        (number(missing=True), whole("y")),
        ([NAN, NAN], [1, 2]),
    ),
    Case(
        "NaN among decimal commas",
        text("x", "NaN", '"1,5"'),
        (reads(number(missing=True), decimal=","),),
        ([NAN, 1.5],),
    ),
    Case(
        "an integer beyond what floats hold",
        text("x", "9007199254740993"),
        (whole(),),
        refused="'9007199254740993' in row 1",
    ),
    Case("exponents and pluses", text("x", "+1e3", "1.5E2"), (number(),), ([1000.0, 150.0],)),
    # -- dates
    Case(
        "dates in ISO, with and without a time",
        text("x", "2020-02-29", "2020-03-01T10:00:00Z", " 2020-03-02 11:12 "),
        (Date("x", "2020-01-01", "2020-12-31"),),
        ([DAY("2020-02-29"), DAY("2020-03-01"), DAY("2020-03-02")],),
    ),
    Case(
        "dates in a declared format",
        text("x,y", "29.02.2020,1", "1.3.2020,2", ",3"),
        (
            reads(
                Date("x", "2020-01-01", "2020-12-31", missing=True), how="date", format="%d.%m.%Y"
            ),
            whole("y"),
        ),
        ([DAY("2020-02-29"), DAY("2020-03-01"), None], [1, 2, 3]),
    ),
    Case(
        "dates in another format than declared",
        text("x", "02/03/2020"),
        (Date("x", "2020-01-01", "2020-12-31"),),
        refused="'02/03/2020",
    ),
    Case(
        "a day that there is not",
        text("x", "2020-02-30"),
        (Date("x", "2020-01-01", "2020-12-31"),),
        refused="'2020-02-30",
    ),
    Case(
        "days without dates",
        text("x", "18321"),
        (Date("x", "2020-01-01", "2020-12-31"),),
        refused="'18321",
    ),
    Case(
        "a date out of its bounds, clamped",
        text("x", "1999-12-31"),
        (Date("x", "2020-01-01", "2020-12-31", outside="clamp"),),
        ([DAY("2020-01-01")],),
    ),
    Case(
        "an age from a birthday, and its month",
        text("born", "2000-02-29", "2000-03-01"),
        (
            reads(whole("age"), of="born", how="age", at="2024-02-29"),
            reads(levels("month", "2", "3", dtype="int64"), of="born", how="month"),
        ),
        ([24, 23], [2, 3]),
    ),
    Case(
        "a derived column that is there as well",
        text("born,age", "2000-02-29,3"),
        (reads(whole("age"), of="born", how="age", at="2024-02-29"),),
        refused="'age', which the schema derives from another column",
    ),
    Case(
        "a derived column without its source",
        text("x", "1"),
        (reads(whole("age"), of="born", how="age", at="2024-02-29"),),
        refused="lacks column 'born'",
    ),
    # -- truth values and levels
    Case(
        "truth values in many spellings",
        text("x", "yes", "NO", "T", "f", "1", "0", "on", "Off", " true ", "FALSE", "y", "N", "1.0"),
        (truth(),),
        ([True, False] * 6 + [True],),
    ),
    Case(
        "a truth value in another language",
        text("x", "ja"),
        (truth(),),
        refused="'ja' in row 1 is none of its 2 declared levels",
    ),
    Case("an unseen level", text("x", "Bonn"), (TOWN,), refused="'Bonn'", advice="declare"),
    Case(
        "an unseen level, as missing",
        text("x", "Bonn", "Ulm"),
        (levels("x", "Köln", "Ulm", missing=True, outside="missing"),),
        ([None, "Ulm"],),
    ),
    Case(
        "an e-mail among levels",
        text("x", "a.b@example.org"),
        (TOWN,),
        refused="none of its 2 declared levels",
        advice="contact details and free text are not published",
    ),
    Case(
        "free text among levels",
        text("x", "the patient said that it had hurt for weeks"),
        (TOWN,),
        refused="none of its 2",
        advice="free text",
    ),
    Case(
        "NA that means missing",
        text("x,y", "NA,NA"),
        (levels("x", "a", missing=True), whole("y", missing=True)),
        ([None], [None]),
    ),
    Case("NA that is a level", text("x", "NA", "b"), (levels("x", "NA", "b"),), (["NA", "b"],)),
    Case(
        "other words for missing",
        text("x,y", "-,?", "a,1"),
        (levels("x", "a", missing=True), whole("y", missing=True)),
        ([None, "a"], [None, 1]),
        schema={"na_values": ("-", "?")},
    ),
    Case(
        "an all-missing column",
        text("x,y", ",1", ",2"),
        (whole("x", missing=True), whole("y")),
        ([None, None], [1, 2]),
    ),
    Case("a constant column", text("x", "a", "a"), (levels("x", "a"),), (["a", "a"],)),
    Case(
        "ten thousand levels",
        text("x", *(f"code {i}" for i in range(10_000))),
        (levels("x", *(f"code {i}" for i in range(10_000))),),
        ([f"code {i}" for i in range(10_000)],),
    ),
)


@pytest.mark.parametrize("case", CASES, ids=str)
def test_a_messy_file_is_read_right_or_refused(case: Case, tmp_path: Path) -> None:
    file = tmp_path / f"mess.{case.suffix}"
    file.write_bytes(case.content)
    schema = Schema(case.columns, **case.schema)
    if case.read is None:
        with pytest.raises(InputError, match=case.refused) as error:
            Table.open(file, schema).validate(schema)
        assert case.advice in error.value.remedy
        return
    table = Table.open(file, schema)
    table.validate(schema)
    found = table.to_arrow()
    assert found.column_names == list(schema.names)
    for name, wanted in zip(schema.names, case.read, strict=True):
        values = found.column(name).to_pylist()
        spelt = [None if x != x else x for x in wanted]
        assert values == spelt
        assert [type(v) for v in values] == [type(x) for x in spelt]
    # What was read is written with its own types and reads back the same, by its facts alone.
    table.save(tmp_path / "saved")
    again = Table.open(tmp_path / "saved/data.parquet", Schema.load(tmp_path / "saved/schema.yaml"))
    assert again.to_arrow().equals(found)
    # And the schema survives its file.
    assert Schema.from_yaml(schema.to_yaml()) == schema


def test_every_case_has_a_name_of_its_own() -> None:
    assert len({case.name for case in CASES}) == len(CASES)


@pytest.mark.parametrize(
    ("array", "column", "wanted"),
    [
        (pa.array([datetime.datetime(2020, 3, 1, 23, 59)]), "date", DAY("2020-03-01")),
        (pa.array([datetime.date(2020, 3, 1)]), "date", DAY("2020-03-01")),
        (pa.array(["2020-03-01"]).dictionary_encode(), "date", DAY("2020-03-01")),
        (
            pa.array([datetime.datetime(2020, 3, 1, 23, 30)], pa.timestamp("us", "UTC")).cast(
                pa.timestamp("us", "Europe/Berlin")
            ),
            "date",
            DAY("2020-03-02"),
        ),
        (pa.array([None], pa.null()), "date", None),
        (pa.array([True]), "truth", True),
        (pa.array([1], pa.int8()), "truth", True),
        (pa.array([0.0]), "truth", False),
    ],
)
def test_typed_values_of_parquet_are_read_as_they_are_typed(
    array: pa.Array, column: str, wanted: Any, tmp_path: Path
) -> None:
    columns = {"date": Date("x", "2020-01-01", "2020-12-31", missing=True), "truth": truth()}
    pq.write_table(pa.table({"x": array}), tmp_path / "t.parquet")
    table = Table.open(tmp_path / "t.parquet", Schema((columns[column],)))
    assert table.to_arrow().column("x").to_pylist() == [wanted]


def test_dates_are_counted_alike_in_memory_and_as_a_stream(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from sfumato.data import Axis
    from sfumato.data import rows as rows_module

    days = pd.to_datetime("2020-01-01") + pd.to_timedelta(np.arange(500) % 366, "D")
    pd.DataFrame({"x": days}).to_parquet(tmp_path / "t.parquet")
    schema = Schema((Date("x", "2020-01-01", "2020-12-31"),))
    small = Table.open(tmp_path / "t.parquet", schema).counts([Axis("x", 12)])
    monkeypatch.setattr(rows_module, "_KEPT_CELLS", 0)
    large = Table.open(tmp_path / "t.parquet", schema).counts([Axis("x", 12)])
    np.testing.assert_array_equal(small, large)
    assert small.sum() == 500


@pytest.mark.parametrize(
    ("make", "problem"),
    [
        (lambda: whole(lower=2**60, upper=2**60 + 5), "beyond 2\\^53"),
        (lambda: levels("x", "ann@example.org"), "e-mail address"),
        (lambda: Date("x", "2020-13-01", "2020-12-31"), "'2020-13-01' is no date"),
        (lambda: reads(whole(), how="age"), "as is 'age' and at is None"),
        (lambda: reads(whole(), decimal=".", thousands="."), "decimal is '.' and thousands"),
        (lambda: reads(levels("x", "a"), decimal=","), "levels are texts"),
        (lambda: reads(whole(), how="date"), "Make the type date|dates are days"),
        (lambda: reads(whole(), format="%Y"), "is of no date"),
        (lambda: reads(whole(), how="length"), "is read as 'length'"),
        (lambda: reads(whole(), strip="1"), "is a part of numbers"),
    ],
)
def test_facts_that_cannot_be_meant_are_refused(make: Callable[[], Any], problem: str) -> None:
    with pytest.raises(InputError, match=problem):
        make()


@pytest.mark.parametrize("kind", ["text", "identifier", "name", "email", "id", "string"])
def test_free_text_and_identifiers_are_refused_with_advice(kind: str) -> None:
    with pytest.raises(InputError, match="not published") as error:
        Schema.from_yaml(f"sfumato_schema: 1\ncolumns:\n  x: {{type: {kind}}}\n")
    assert "under drop:" in error.value.remedy


def test_a_draft_leaves_out_names_ids_and_free_text(tmp_path: Path) -> None:
    from sfumato.data.draft import draft

    file = tmp_path / "d.csv"
    file.write_text("patient_id,Last Name,e-mail,age,comments,width,paid\n", encoding="utf-8")
    made = draft(file, target="paid")
    assert list(made.columns) == ["age", "width", "paid"]
    assert made.top["drop"] == ["patient_id", "Last Name", "e-mail", "comments"]
    page = made.to_yaml()
    assert "'patient_id': an identifier, by its name; if a person may have several rows" in page
    assert "'comments': free text, by its name" in page
    kept = draft(file, types={"comments": "categorical"}, unit="patient_id")
    assert "comments" in kept.columns
    assert kept.top["unit"] == "patient_id"


def test_a_paid_draft_is_paid_for_by_the_person(tmp_path: Path) -> None:
    from sfumato.data.draft import draft
    from sfumato.privacy.ledger import Ledger

    rng = np.random.default_rng(0)
    who = rng.integers(900, size=5000)
    data = pd.DataFrame({"who": who, "age": rng.integers(20, 40, size=5000), "note": who})
    data.loc[data["who"] == 0, "age"] = 90  # one person with many rows of one kind
    data = pd.concat([data, pd.DataFrame({"who": [0] * 2000, "age": 90, "note": 0})])
    data["note"] = [f"text {i}" for i in range(len(data))]
    data.to_csv(tmp_path / "d.csv", index=False)
    ledger = Ledger.in_memory()
    made = draft(
        tmp_path / "d.csv",
        epsilon=1.0,
        delta=1e-6,
        ledger=ledger,
        unit="who",
        types={"age": "integer", "note": "categorical"},
    )
    assert made.entry is not None
    assert made.entry.guarantee["unit"] == "who"
    assert made.columns["age"]["upper"] == 50  # two thousand rows of one person do not stand out
    assert "'note': no value is frequent enough to be named" in made.to_yaml()


@pytest.mark.parametrize("engine", ["auto", "duckdb"])
@pytest.mark.parametrize(
    ("array", "column", "refused"),
    [
        (pa.array([{"a": 1, "b": "x"}]), Categorical("x", ("x",)), "holds struct.*not levels"),
        (pa.array([{"a": 1, "b": "x"}]), Date("x", "2020-01-01", "2020-12-31"), "holds struct"),
        (pa.array([[1, 2]]), Categorical("x", ("1",)), "holds list.*its parts.*drop:"),
        (pa.array([[1, 2]]), Numeric("x", 0, 9, 1), "holds list.*not numbers"),
        (
            pa.array([datetime.time(3, 4)], pa.time64("us")),
            Categorical("x", ("3:04",)),
            "'03:04:00.000000'.* is none of",
        ),
        (pa.array([datetime.date(2020, 3, 1)]), Categorical("x", ("1.3.",)), "'2020-03-01'.* none"),
    ],
)
def test_typed_values_that_do_not_fit_are_told_in_one_line(
    engine: str, array: pa.Array, column: Any, refused: str, tmp_path: Path
) -> None:
    from sfumato.data.load import load_data

    pq.write_table(pa.table({"x": array}), tmp_path / "t.parquet")
    schema = Schema((column,))
    with pytest.raises(InputError, match=f"column 'x'.*{refused}"):
        load_data(tmp_path / "t.parquet", schema=schema, engine=engine).validate(schema)
