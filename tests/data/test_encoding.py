"""The fast way to codes is :meth:`Column.encode`, value by value."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
from hypothesis import given, settings
from hypothesis import strategies as st

from sfumato.data import Categorical, Numeric
from sfumato.data.encoding import blank, narrow
from sfumato.errors import InputError

COLUMNS = [
    Numeric("x", 0, 10, 1, integer=True),
    Numeric("x", -3, 12, 1, missing=True),
    Numeric("x", 0, 10, 0.5, missing=True, outside="missing"),
    Numeric("x", 0, 300, 1, outside="clamp"),
    Categorical("x", ("1", "2", "x"), missing=True),
    Categorical("x", ("1", "2"), dtype="int64"),
    Categorical("x", ("false", "true"), dtype="bool", missing=True, outside="missing"),
]
KINDS = {
    "int": (st.integers(-5, 15), pa.int64()),
    "small": (st.integers(0, 15), pa.uint8()),
    "float": (st.sampled_from([0.0, 1.0, 2.5, float("nan"), 40.0]), pa.float64()),
    "text": (st.sampled_from(["1", "2", "x", "?", " 2", "true", "TRUE"]), pa.string()),
    "large": (st.sampled_from(["1", "2", "x", "?"]), pa.large_string()),
    "bool": (st.booleans(), pa.bool_()),
}


@st.composite
def arrays(draw):
    values, kind = KINDS[draw(st.sampled_from(sorted(KINDS)))]
    some = draw(st.lists(values | st.none() if draw(st.booleans()) else values, max_size=6))
    array = pa.array(some * draw(st.integers(1, 9)), kind)
    return array.dictionary_encode() if draw(st.booleans()) else array


@settings(max_examples=400, deadline=None)
@given(arrays(), st.sampled_from(COLUMNS), st.sampled_from([(), ("?",)]), st.none() | st.just(7))
def test_codes_and_errors_are_those_of_the_column(array, column, tokens, first_row):
    def outcome(work):
        try:
            return work().astype(np.int64).tolist()
        except InputError as error:
            return str(error)

    true = outcome(lambda: column.encode(blank(array, column, tokens), first_row=first_row))
    assert outcome(lambda: narrow(column, array, tokens, first_row=first_row)) == true


def test_codes_take_no_more_bytes_than_they_need():
    array = pa.array([0, 1, 2] * 9)
    assert narrow(Numeric("x", 0, 9, 1), array).dtype == np.uint8
    assert narrow(Numeric("x", 0, 300, 1), array).dtype == np.uint16
    assert narrow(Categorical("x", ("0", "1", "2")), array).dtype == np.uint8
