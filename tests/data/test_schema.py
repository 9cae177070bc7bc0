from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sfumato.data import Categorical, Numeric, Ordinal, Schema
from sfumato.errors import InputError

COLUMNS = (
    Numeric("age", 0, 90, 1, integer=True, provenance="public: census top code"),
    Numeric("height", 0.5, 2.5, 0.01, missing=True, outside="clamp"),
    Categorical("answer", ("yes", "no", "~", "1e3", "012", "a: b", "ü, #", " x ", "")),
    Categorical("flag", ("false", "true"), dtype="bool", missing=True, outside="missing"),
    Ordinal("school", tuple(f"{i} years of school or of training" for i in range(20))),
    Categorical("code", ("0", "1"), dtype="int64", provenance="ledger:" + "ab" * 32),
)
SCHEMA = Schema(
    COLUMNS,
    target="answer",
    records=100,
    drop=("id",),
    na_values=("?", ""),
    encoding="cp1252",
    delimiter=";",
)

YAML = """
sfumato_schema: 1
target: sex
columns:
  age: {type: integer, lower: 0, upper: 90}
  sex:
    type: categorical
    levels: [f, m]
"""


def test_yaml_gives_back_the_same_schema():
    assert Schema.from_yaml(SCHEMA.to_yaml()) == SCHEMA


def test_a_schema_file_gives_back_the_same_schema(tmp_path):
    SCHEMA.save(tmp_path / "schema.yaml")
    assert Schema.load(tmp_path / "schema.yaml") == SCHEMA


@given(st.lists(st.text(max_size=30), min_size=1, max_size=8, unique=True), st.text(min_size=1))
def test_any_text_survives_as_name_and_level(levels, name):
    usable = [level for level in levels if level.isprintable()]
    column = Categorical(name if name.isprintable() else "x", (*usable, "level"))
    schema = Schema((column,)) if len(set(column.levels)) == len(column.levels) else None
    assert schema is None or Schema.from_yaml(schema.to_yaml()) == schema


def test_yaml_is_read_by_what_a_field_means():
    schema = Schema.from_yaml(YAML.replace("[f, m]", "[no, 012, 1e3, ~, null]"))
    assert schema["sex"].levels == ("no", "012", "1e3", "~", "null")
    assert schema["age"] == Numeric("age", 0, 90, 1, integer=True)
    assert schema.target == "sex"


def test_every_column_of_a_written_schema_says_where_its_facts_come_from():
    assert SCHEMA.to_yaml().count("provenance:") == len(COLUMNS)


@pytest.mark.parametrize(
    ("old", "new", "problem"),
    [
        ("target: sex", "target: gender", "target 'gender' is not a column"),
        ("target: sex", "targt: sex", "unknown key 'targt'.*Did you mean 'target'"),
        ("target: sex", "target: sex\nnoise: 3", "unknown key 'noise'"),
        ("lower: 0", "minimum: 0", "column 'age': unknown key 'minimum'"),
        ("lower: 0, ", "", "column 'age': lower is not declared"),
        ("lower: 0", "lower: '?'", "column 'age': lower is left open"),
        ("lower: 0", "lower: ", "column 'age': lower is left open"),
        ("lower: 0", "lower: zero", "column 'age': lower is 'zero'"),
        ("lower: 0", "lower: nan", "column 'age': lower is nan"),
        ("lower: 0", "lower: 90", "column 'age': lower 90 is not below upper 90"),
        ("upper: 90", "upper: 90, granularity: 7", "column 'age': granularity 7 does not divide"),
        ("upper: 90", "upper: 90, granularity: 0", "column 'age': granularity is 0"),
        ("upper: 90", "upper: 90, missing: maybe", "column 'age': missing is 'maybe'"),
        ("upper: 90", "upper: 90, levels: [a]", "column 'age': unknown key 'levels'"),
        ("type: integer", "type: day", "column 'age': type is 'day'"),
        ("type: integer", "type: '?'", "column 'age': type is left open"),
        ("type: integer", "type: number", "column 'age': granularity is not declared"),
        ("type: categorical", "type: integer", "column 'sex': unknown key 'levels'"),
        ("[f, m]", "[f, f]", "column 'sex': level 'f' is there twice"),
        ("[f, m]", "f", "column 'sex': levels is 'f'"),
        ("[f, m]", "['?']", "column 'sex': levels is left open"),
        ("[f, m]", "[[f], m]", "column 'sex': levels is"),
        ("  sex:", "  age:", "line 6: 'age' is there twice"),
        ("  age: {", "  age: [", "line 5 is not YAML"),
        ("sfumato_schema: 1", "sfumato_schema: 2", "lacks 'sfumato_schema: 1'"),
        ("sfumato_schema: 1", "sfumato_schema: 1\nrecords: 0", "records is 0"),
        ("sfumato_schema: 1", "sfumato_schema: 1\nrecords: 1.5", "records is '1.5'"),
        ("sfumato_schema: 1", "sfumato_schema: 1\ndelimiter: ab", "delimiter is 'ab'"),
        (
            "sfumato_schema: 1",
            "sfumato_schema: 1\nencoding: utf-99",
            "encoding 'utf-99' is unknown",
        ),
        ("sfumato_schema: 1", "sfumato_schema: 1\ndrop: [age]", "'age' is declared and dropped"),
        ("sfumato_schema: 1", "sfumato_schema: 1\nclasses: [a]", "describes images"),
    ],
)
def test_a_wrong_schema_file_is_refused_by_what_is_wrong_in_it(old, new, problem):
    assert old in YAML
    with pytest.raises(InputError, match=problem) as error:
        Schema.from_yaml(YAML.replace(old, new, 1))
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    "text",
    ["", "- a", "just text", "sfumato_schema: 1", "sfumato_schema: 1\ncolumns: {a: }", "\x00"],
)
def test_what_is_no_schema_is_refused(text):
    with pytest.raises(InputError):
        Schema.from_yaml(text)


def test_an_open_fact_is_refused_with_advice_that_keeps_to_public_knowledge():
    with pytest.raises(InputError, match="never from the data"):
        Schema.from_yaml(YAML.replace("upper: 90", 'upper: "?"'))


def test_a_file_that_cannot_be_read_is_named(tmp_path):
    with pytest.raises(InputError, match=r"cannot read .*none\.yaml"):
        Schema.load(tmp_path / "none.yaml")
    (tmp_path / "latin.yaml").write_bytes(YAML.replace("f,", "ü,").encode("latin-1"))
    with pytest.raises(InputError, match=r"latin\.yaml is not UTF-8"):
        Schema.load(tmp_path / "latin.yaml")


def test_columns_are_found_by_name_and_a_slip_is_corrected():
    assert SCHEMA["age"].upper == 90
    assert "age" in SCHEMA
    assert [c.name for c in SCHEMA.features] == ["age", "height", "flag", "school", "code"]
    assert len(SCHEMA) == len(list(SCHEMA)) == 6
    with pytest.raises(InputError, match=r"no column 'agee'\. Did you mean 'age'"):
        SCHEMA["agee"]
    with pytest.raises(InputError, match="Columns: age, height"):
        SCHEMA["zzz"]


@pytest.mark.parametrize(
    "settings",
    [
        {"columns": ()},
        {"columns": (COLUMNS[0], COLUMNS[0])},
        {"columns": COLUMNS, "target": "none"},
        {"columns": COLUMNS, "records": True},
        {"columns": COLUMNS, "drop": ("age",)},
    ],
)
def test_a_schema_that_contradicts_itself_is_refused(settings):
    with pytest.raises(InputError):
        Schema(**settings)


def test_a_numeric_target_is_allowed():
    assert SCHEMA.with_target("age").target == "age"
    assert SCHEMA.with_target(None).features == COLUMNS
    with pytest.raises(InputError, match="target 'nobody'"):
        SCHEMA.with_target("nobody")


def test_selecting_columns_drops_the_others():
    part = SCHEMA.select("code", "age")
    assert part.names == ("code", "age")
    assert part.target is None
    assert set(part.drop) == {"id", "height", "answer", "flag", "school"}


def test_schemas_encode_alike_whatever_their_provenance_and_target():
    other = Schema.from_yaml(SCHEMA.to_yaml().replace("census top code", "hearsay"))
    assert other != SCHEMA
    assert other.with_target(None).encodes_like(SCHEMA)
    wider = Schema((Numeric("age", 0, 91, 1, integer=True), *COLUMNS[1:]))
    assert not wider.encodes_like(SCHEMA)


def test_facts_name_every_column_with_its_provenance():
    facts = {fact.name: fact for fact in SCHEMA.as_facts()}
    assert facts["bounds of age"].provenance == "public: census top code"
    assert facts["bounds of age"].value["upper"] == 90
    assert facts["levels of code"].provenance.startswith("ledger:")
    assert facts["records"].value == 100
    assert facts["target"].value == "answer"
    assert len(facts) == len(COLUMNS) + 2


def test_long_lists_of_levels_are_stated_by_their_digest():
    levels = tuple(str(i) for i in range(500))
    (fact,) = Schema((Categorical("zip", levels),)).as_facts()
    assert fact.value["count"] == 500
    assert len(fact.value["sha256"]) == 64
    (other,) = Schema((Categorical("zip", levels[::-1]),)).as_facts()
    assert other.value["sha256"] != fact.value["sha256"]
