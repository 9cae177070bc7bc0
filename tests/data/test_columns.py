from __future__ import annotations

import datetime

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sfumato.data import Categorical, Date, Numeric, Ordinal
from sfumato.data.columns import narrowest
from sfumato.data.reading import Reading
from sfumato.errors import InputError

AGE = Numeric("age", 0, 90, 1, integer=True)
SEX = Categorical("sex", ("Female", "Male"), missing=True)


@pytest.mark.parametrize(
    ("facts", "problem"),
    [
        ({"lower": 5, "upper": 5}, "lower 5 is not below upper 5"),
        ({"lower": 6, "upper": 5}, "lower 6 is not below upper 5"),
        ({"granularity": 0}, "granularity is 0"),
        ({"granularity": -1}, "granularity is -1"),
        ({"granularity": 0.4}, "does not divide 0..1"),
        ({"granularity": 2}, "does not divide 0..1"),
        ({"granularity": 1e-12}, "grid has 1e"),
        ({"lower": float("nan")}, "lower is nan"),
        ({"upper": float("inf")}, "upper is inf"),
        ({"upper": "1"}, "upper is '1'"),
        ({"upper": True}, "upper is True"),
        ({"granularity": 0.5, "integer": True}, "the type is integer"),
        ({"outside": "drop"}, "outside is 'drop'"),
        ({"outside": "missing"}, "no missing level"),
        ({"missing": 1}, "missing is 1"),
        ({"provenance": "measured"}, "provenance is 'measured'"),
        ({"provenance": "public:"}, "provenance is 'public:'"),
        ({"name": ""}, "a column is named ''"),
    ],
)
def test_numeric_facts_that_contradict_each_other_are_refused(facts, problem):
    values = {"name": "x", "lower": 0, "upper": 1, "granularity": 1} | facts
    with pytest.raises(InputError, match=problem.replace(".", r"\.")) as error:
        Numeric(**values)
    assert error.value.remedy
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("facts", "problem"),
    [
        ({"levels": ()}, "has no levels"),
        ({"levels": ("a", "a")}, "'a' is there twice"),
        ({"levels": ("a", 1)}, "level 1 is no text"),
        ({"outside": "clamp"}, "no nearest one"),
        ({"dtype": "date"}, "dtype is 'date'"),
        ({"levels": ("01",), "dtype": "int64"}, "does not spell a value of int64"),
        ({"levels": ("yes",), "dtype": "bool"}, "does not spell a value of bool"),
    ],
)
def test_categorical_facts_that_contradict_each_other_are_refused(facts, problem):
    with pytest.raises(InputError, match=problem):
        Categorical(**({"name": "x", "levels": ("a", "b")} | facts))


def test_sizes_count_the_missing_level():
    assert (AGE.cardinality, AGE.size) == (91, 91)
    assert (SEX.cardinality, SEX.size) == (2, 3)
    assert Numeric("x", 0, 0.3, 0.1).cardinality == 4
    assert narrowest(256) is np.uint8
    assert narrowest(257) is np.uint16
    assert narrowest(65537) is np.uint32


def test_numbers_are_rounded_to_the_public_grid_halves_upwards():
    column = Numeric("x", 0, 10, 0.5)
    assert column.encode(pa.array([0.0, 0.24, 0.25, 9.99, 10.0])).tolist() == [0, 0, 1, 20, 20]


@pytest.mark.parametrize(
    "array",
    [
        pa.array([1, 90, 45], pa.int8()),
        pa.array([1, 90, 45], pa.uint64()),
        pa.array([1.0, 90.0, 45.0], pa.float32()),
        pa.array(["1", " 90 ", "+45.0"]),
        pa.array(["1", "90", "4.5e1"], pa.large_string()),
        pa.array([1, 90, 45]).dictionary_encode(),
        pa.chunked_array([[1], [90, 45]]),
    ],
    ids=lambda array: str(array.type),
)
def test_numbers_of_any_arrow_type_encode_alike(array):
    assert AGE.encode(array).tolist() == [1, 90, 45]


@pytest.mark.parametrize(
    ("values", "shown", "fault"),
    [
        ([1, 91], "91", r"not within the declared 0\.\.90"),
        ([1, -1], "-1", r"not within the declared 0\.\.90"),
        ([1.0, float("inf")], "inf", "not within"),
        ([1.0, float("-inf")], "-inf", "not within"),
        (["1", "91"], "'91'", "not within"),
        (["1", "old"], "'old'", "not a number"),
        (["1", "inf"], "'inf'", "not within"),
        (["1", "1_0"], "'1_0'", "not a number"),
    ],
)
def test_the_first_number_outside_is_named_with_its_row_and_fault(values, shown, fault):
    with pytest.raises(InputError, match=f"column 'age': {shown} in row 102 is {fault}"):
        AGE.encode(pa.array(values), first_row=100)


@pytest.mark.parametrize(
    ("facts", "text", "fault"),
    [
        ({}, "2022-05-01", r"'2022-05-01' in row 1 is not within the declared 2023-01-01\.\.2023-"),
        ({}, "01.05.2023", "'01.05.2023' in row 1 is not a date.*format"),
        (
            {"reading": Reading(how="date", format="%d.%m.%Y")},
            "2023-05-01",
            "'2023-05-01' in row 1",
        ),
    ],
)
def test_a_date_that_does_not_fit_is_named_as_a_date(facts, text, fault):
    column = Date("when", "2023-01-01", "2023-12-31", **facts)
    with pytest.raises(InputError, match=fault):
        column.encode(column.reading.read(pa.array([text])))


def test_a_date_of_no_calendar_is_named_too():
    column = Date("when", "2023-01-01", "2023-12-31")
    with pytest.raises(InputError, match=r"'\+?29349-01-26' in row 1 is not within"):
        column.encode(pa.array([10_000_000]))


def test_an_age_from_no_date_and_a_number_written_otherwise_are_named_as_they_stand():
    age = Numeric("age", 0, 90, 1, reading=Reading(how="age", at="2024-01-01"))
    with pytest.raises(InputError, match=r"'1\.5\.1990' in row 1 is not a date"):
        age.encode(age.reading.read(pa.array(["1.5.1990"])))
    cost = Numeric("cost", 0, 90, 1, reading=Reading(decimal=","))
    with pytest.raises(InputError, match=r"'1\.5' in row 1 is not a number.*decimal"):
        cost.encode(cost.reading.read(pa.array(["1.5"])))


def test_missing_numbers_are_a_level_or_an_error():
    column = Numeric("x", 0, 1, 1, missing=True)
    assert column.encode(pa.array([0.0, None, float("nan"), 1.0])).tolist() == [0, 2, 2, 1]
    with pytest.raises(InputError, match="NaN in row 2"):
        AGE.encode(pa.array([1.0, float("nan")]))
    with pytest.raises(InputError, match="no value in row 2"):
        AGE.encode(pa.array([1, None]))


def test_values_outside_are_clamped_or_missing_where_that_is_declared():
    values = pa.array([-5.0, 0.5, 99.0, float("inf")])
    assert Numeric("x", 0, 1, 0.5, outside="clamp").encode(values).tolist() == [0, 1, 2, 2]
    lost = Numeric("x", 0, 1, 0.5, missing=True, outside="missing")
    assert lost.encode(values).tolist() == [3, 1, 3, 3]


def test_text_that_spells_no_number_is_never_clamped_to_a_bound():
    text = pa.array(["7", "n/a"])
    with pytest.raises(InputError, match="'n/a' in row 2"):
        Numeric("x", 0, 5, 1, outside="clamp").encode(text)
    assert Numeric("x", 0, 5, 1, missing=True, outside="clamp").encode(text).tolist() == [5, 6]


def test_a_value_at_a_bound_that_floats_cannot_hold_is_inside():
    assert Numeric("x", 0, 0.3, 0.1).encode(pa.array([0.1 + 0.2])).tolist() == [3]


def test_other_types_are_refused_as_numbers():
    with pytest.raises(InputError, match=r"holds date32\[day\], not numbers"):
        AGE.encode(pa.array([datetime.date(2020, 1, 1)]))


def test_decoded_numbers_have_the_declared_type_and_precision():
    assert AGE.decode(np.array([0, 90])).equals(pa.array([0, 90], pa.int64()))
    tenths = Numeric("x", 0, 1, 0.1, missing=True)
    assert tenths.decode(np.array([3, 11])).to_pylist() == [0.3, None]
    assert np.isnan(tenths.values(np.array([11]))).all()
    hundreds = Numeric("x", -200, 200, 100, integer=True)
    assert hundreds.decode(np.array([0, 4])).to_pylist() == [-200, 200]


@pytest.mark.parametrize("codes", [[-1], [91], [0.5]])
def test_codes_that_stand_for_nothing_are_refused(codes):
    with pytest.raises(InputError, match="codes are not integers from 0 to 90"):
        AGE.decode(np.array(codes))


def test_levels_encode_to_their_place_and_missing_after_them():
    assert SEX.encode(pa.array(["Male", None, "Female"])).tolist() == [1, 2, 0]
    words = pa.array(["Male", None, "Female"]).dictionary_encode()
    assert SEX.encode(words).tolist() == [1, 2, 0]
    assert SEX.encode(pa.array(["Male"], pa.large_string())).tolist() == [1]
    assert SEX.encode(pa.array(["Male"], pa.string_view())).tolist() == [1]
    assert SEX.encode(pa.chunked_array([], pa.string())).tolist() == []
    assert SEX.encode(pa.chunked_array([words, words])).tolist() == [1, 2, 0, 1, 2, 0]


def test_an_undeclared_level_is_named_with_its_row():
    with pytest.raises(InputError, match="column 'sex': 'male' in row 12 is none of its 2"):
        SEX.encode(pa.array(["Male", "male"]), first_row=10)
    with pytest.raises(InputError, match="no value in row 1"):
        Categorical("x", ("a",)).encode(pa.array([None, "a"], pa.string()))
    long = "x" * 500
    with pytest.raises(InputError) as error:
        SEX.encode(pa.array([long]))
    assert len(str(error.value)) < 250


def test_an_undeclared_level_is_missing_where_that_is_declared():
    column = Categorical("x", ("a", "b"), missing=True, outside="missing")
    assert column.encode(pa.array(["c", "b", None])).tolist() == [2, 1, 2]


@pytest.mark.parametrize(
    ("dtype", "levels", "array"),
    [
        ("int64", ("0", "2"), pa.array([2, 0, None])),
        ("int64", ("0", "2"), pa.array([2.0, 0.0, float("nan")])),
        ("int64", ("0", "2"), pa.array(["2", "0", None])),
        ("bool", ("false", "true"), pa.array([True, False, None])),
        ("bool", ("false", "true"), pa.array(["TRUE", "False", None])),
        ("bool", ("false", "true"), pa.array([1.0, 0.0, None])),
        ("bool", ("false", "true"), pa.array([1, 0, None])),
        ("float64", ("0.5", "2.0"), pa.array([2.0, 0.5, float("nan")])),
    ],
    ids=str,
)
def test_levels_of_other_types_decode_to_the_input_type(dtype, levels, array):
    column = Categorical("x", levels, missing=True, dtype=dtype)
    codes = column.encode(array)
    assert codes.tolist() == [1, 0, 2]
    values = column.decode(codes).to_pylist()
    assert values == [column.decode(np.array([1]))[0].as_py(), values[1], None]
    assert str(column.decode(codes).type) == {"float64": "double"}.get(dtype, dtype)


@pytest.mark.parametrize(("dtype", "value"), [("bool", 2), ("int64", 1.5), ("int64", 7)])
def test_numbers_that_are_no_level_are_refused(dtype, value):
    levels = ("false", "true") if dtype == "bool" else ("0", "1")
    with pytest.raises(InputError, match=f"{value} in row 1 is none of its 2"):
        Categorical("x", levels, dtype=dtype).encode(pa.array([value]))


def test_an_ordinal_is_a_categorical_with_an_order():
    school = Ordinal("school", ("none", "some", "all"))
    assert school.ordered
    assert not SEX.ordered
    assert isinstance(school, Categorical)


@given(
    st.integers(-50, 50),
    st.integers(1, 400),
    st.sampled_from([0.001, 0.01, 0.25, 0.5, 1.0, 3.0, 10.0]),
    st.booleans(),
)
def test_decoding_then_encoding_gives_every_code_back(start, steps, granularity, missing):
    lower = start * granularity
    column = Numeric("x", lower, lower + steps * granularity, granularity, missing=missing)
    codes = np.arange(column.size)
    assert (column.encode(column.decode(codes)) == codes).all()


@pytest.mark.parametrize(
    ("value", "remedy"),
    [
        ("N/A", "none, list it under na_values: in the schema, beside"),
        (" ", "none, list it under na_values"),
        ("Zu\u0308rich", "It is 'Zürich' but for blanks, case or the form of its letters"),
        (" bern ", "It is 'Bern' but for"),
        ("Ulm", "declare the level, or declare outside: missing.$"),
    ],
)
def test_a_value_that_is_nearly_a_level_or_means_nothing_says_so(value: str, remedy: str) -> None:
    with pytest.raises(InputError, match=remedy):
        Categorical("city", ("Zürich", "Bern")).encode(pa.array([value]))


@pytest.mark.parametrize("value", ["n/a", "-", "?"])
def test_a_number_that_means_nothing_says_so(value: str) -> None:
    with pytest.raises(InputError, match=r"is not a number.*list it under na_values"):
        Numeric("age", 0, 9, 1).encode(pa.array([value]))
    with pytest.raises(InputError, match=r"outside: missing\.$"):
        Numeric("age", 0, 9, 1).encode(pa.array(["nine"]))
